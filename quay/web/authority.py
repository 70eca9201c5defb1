"""
`/ca`: the certificate of the registry's own authority, for clients that are to trust it, with what to do with it; or
those of two, while one takes over from the other.

It is public, and worth the same over plain HTTP: whoever takes it compares the fingerprint. A browser gets a page, and
everything else the certificate itself.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET

from quay import authority
from quay.interfaces import IPool
from quay.oci.errors import NameUnknown, RegistryError
from quay.setup import CertificateFiles
from quay.web.console.qr import qr_code
from quay.web.pages import Pages
from quay.web.request import RegistryRequest
from quay.web.respond import Addresses, run_handler, send_empty

PEM: Final = "application/x-pem-file"
DER: Final = "application/pkix-cert"
FILES: Final = {b"quay-ca.crt": (PEM, 0), b"quay-ca.cer": (DER, 0), b"quay-ca-2.cer": (DER, 1)}
"""
What can be downloaded: PEM for most, of all authorities that are to be trusted; DER for Windows and for telephones, of
the first or, while one takes over from the other, of the second.
"""


class AuthorityPage(Resource):
    """
    The certificate in `files`, read in `pool` whenever somebody asks. `plain_port` is where plain HTTP hands it out.
    """

    isLeaf = True

    def __init__(
        self,
        files: CertificateFiles,
        pool: IPool,
        clock: IReactorTime,
        pages: Pages,
        addresses: Addresses,
        plain_port: int | None,
    ) -> None:
        super().__init__()
        self._clock = clock
        self._files = files
        self._pool = pool
        self._pages = pages
        self._addresses = addresses
        self._plain_port = plain_port

    def render_GET(self, request: RegistryRequest) -> int:
        run_handler(request, self._answer(request), refuse=self._refuse)
        return NOT_DONE_YET

    def _refuse(self, request: RegistryRequest, error: RegistryError) -> None:
        sentence = f"{error.message} {error.advice}".strip()
        heading = "There is no authority here"
        self._pages.send(request, "problem.html", status=error.status, heading=heading, sentence=sentence)

    async def _answer(self, request: RegistryRequest) -> None:
        now = datetime.fromtimestamp(self._clock.seconds(), UTC)
        found = await self._pool.run(self._files.authorities, now)
        name = b"/".join(request.postpath or []).rstrip(b"/")
        if not found or (name and (name not in FILES or FILES[name][1] >= len(found))):
            raise NameUnknown(
                "This registry has no authority of its own.",
                advice="Its certificate comes from another one, or a proxy in front has it: ask whoever runs it.",
            )
        if not name and b"text/html" in (request.getHeader(b"Accept") or b""):
            self._show(request, found)
        else:
            _send(request, found, name or b"quay-ca.crt")

    def _show(self, request: RegistryRequest, found: tuple[x509.Certificate, ...]) -> None:
        mark = authority.fingerprint(found[0])
        host = self._addresses.hostname or self._addresses.external_url(request).partition("://")[2]
        self._pages.send(
            request,
            "authority.html",
            host=str(host),
            plain_port=self._plain_port,
            authorities=[
                {
                    "name": authority.called(each),
                    "ends": each.not_valid_after_utc.date(),
                    "fingerprint": authority.fingerprint(each),
                }
                for each in found
            ],
            qr=qr_code(mark),
        )


def _send(request: RegistryRequest, found: tuple[x509.Certificate, ...], name: bytes) -> None:
    kind, number = FILES[name]
    if kind == DER:
        body = found[number].public_bytes(serialization.Encoding.DER)
    else:
        body = b"".join(map(authority.pem_of, found))
    request.setHeader("Content-Type", kind)
    request.setHeader("Content-Disposition", f'attachment; filename="{name.decode()}"')
    request.setHeader("Content-Length", str(len(body)))
    request.setHeader("X-Content-Type-Options", "nosniff")
    request.write(body)
    request.finish()


class PlainFront(Resource):
    """What plain HTTP answers beside TLS: `/ca` and the looks of its page; all else is sent on to `https://host`."""

    def __init__(self, ca: IResource, static: IResource, addresses: Addresses) -> None:
        super().__init__()
        self.putChild(b"ca", ca)
        self.putChild(b"static", static)
        self._addresses = addresses

    def getChild(self, path: bytes, request: RegistryRequest) -> IResource:
        onward: IResource = _Onward(self._addresses)
        return onward


class _Onward(Resource):
    """Sends a browser on; a client that would send something is only told where to, before it has sent a password."""

    isLeaf = True

    def __init__(self, addresses: Addresses) -> None:
        super().__init__()
        self._addresses = addresses

    def render(self, request: RegistryRequest) -> int:
        run_handler(request, self._answer(request))
        return NOT_DONE_YET

    async def _answer(self, request: RegistryRequest) -> None:
        where = f"{self._addresses.external_url(request)}{request.uri.decode('latin-1')}"
        if request.method in (b"GET", b"HEAD") and request.getHeader(b"Authorization") is None:
            send_empty(request, 308, {"Location": where})
        else:
            raise NameUnknown("This registry speaks TLS.", advice=f"Use {self._addresses.external_url(request)}.")
