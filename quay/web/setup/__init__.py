"""
The setup console: four screens below `/setup/`, each an address, each to be come back to.

The first one needs the token that the start of the server printed, and makes the administrator; from then on it is he
who goes on, and the token is worthless. What is answered is judged by `quay.setup`, and nothing here decides anything.
Source: OWASP Session Management (tokens in addresses); RFC 6265bis.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final
from urllib.parse import parse_qs

import attrs
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from quay import authority
from quay.auth.passwords import check_new
from quay.auth.throttle import Throttle
from quay.authority import Unfit
from quay.interfaces import IPool
from quay.model import founding, namespace
from quay.model.namespace import Namespace, NamespaceInvalid, NamespaceTaken
from quay.oci.errors import InvalidRequest, RegistryError, TooManyRequests, Unauthorized
from quay.setup.answers import SSL_MODES
from quay.setup.certificates import CertificateFiles
from quay.setup.plan import Plan
from quay.setup.steps import KEEPING, NAMES, TESTED, Founder, Refused, Steps, found, super_users
from quay.web.api import RestAPI
from quay.web.api.call import Means
from quay.web.api.errors import BadRequest
from quay.web.api.identity import CsrfRefused, Identifier, Identity
from quay.web.pages import Pages
from quay.web.request import RegistryRequest
from quay.web.respond import run_handler, send_empty
from quay.web.setup import forms
from quay.web.setup.forms import Fields

COOKIE: Final = b"setup"
FORM_LIMIT: Final = 256 * 1024
CLIENTS: Final = ("docker", "podman", "containerd", "kubernetes")

Handler = Callable[[RegistryRequest], Coroutine[Any, Any, None]]


class _NotYours(RegistryError):
    """Whoever asks is neither an administrator nor somebody with the token."""

    code, status = "DENIED", 403


@attrs.frozen
class _Visit:
    """Who is here: an administrator, in a session."""

    identity: Identity
    csrf: str


class Setup(Resource):
    """
    Everything below `/setup/`. `steps` are called in `pool`. `restart`, where the server can do it by itself, makes it
    start anew, with what was written.
    """

    isLeaf = True

    def __init__(
        self,
        means: Means,
        api: RestAPI,
        identifier: Identifier,
        pages: Pages,
        steps: Steps,
        pool: IPool,
        restart: Callable[[], object] | None = None,
    ) -> None:
        super().__init__()
        self._means = means
        self._api = api
        self._identifier = identifier
        self._pages = pages
        self._steps = steps
        self._pool = pool
        self._restart = restart
        self._throttle = Throttle(means.clock.seconds, what="wrong tokens of the setup from this address")
        self._handlers: Mapping[tuple[bytes, bytes], Handler] = {
            (b"GET", b""): self._begin,
            (b"GET", b"administrator"): self._show_administrator,
            (b"POST", b"administrator"): self._make_administrator,
            (b"GET", b"names"): self._show_names,
            (b"POST", b"names"): self._take_names,
            (b"GET", b"request.csr"): self._send_request,
            (b"GET", b"storage"): self._show_keeping,
            (b"POST", b"storage"): self._take_keeping,
            (b"GET", b"summary"): self._show_summary,
            (b"POST", b"apply"): self._apply,
            (b"POST", b"restart"): self._start_anew,
        }

    def render(self, request: RegistryRequest) -> int:
        method = b"GET" if request.method == b"HEAD" else request.method
        handler = self._handlers.get((method, b"/".join(request.postpath or []).rstrip(b"/")), self._nothing)
        run_handler(request, handler(request), refuse=self._refuse)
        return NOT_DONE_YET

    def _refuse(self, request: RegistryRequest, error: RegistryError) -> None:
        for name, value in error.headers.items():
            request.setHeader(name, value)
        template = "setup/closed.html" if isinstance(error, _NotYours) else "setup/problem.html"
        sentence = f"{error.message} {error.advice}".strip()
        self._pages.send(request, template, status=error.status, sentence=sentence)

    async def _nothing(self, request: RegistryRequest) -> None:
        raise BadRequest("There is no such step of the setup: begin at /setup/.")

    # --- who is here

    async def _begin(self, request: RegistryRequest) -> None:
        """Take the token out of the address, or lead on to the first step that is not done."""
        token = _query(request, b"token")
        if token:
            await self._check(request, token)
            self._set_cookie(request, token, founding.LIFETIME_S)
            _redirect(request, "/setup/administrator")
            return
        if await self._administrator(request) is None:
            await self._check_cookie(request)
            _redirect(request, "/setup/administrator")
            return
        answers = await self._pool.run(self._steps.answers)
        _redirect(request, "/setup/" + next((step for step in (NAMES, KEEPING) if step not in answers), "summary"))

    async def _check_cookie(self, request: RegistryRequest) -> str:
        """The token in the cookie. Raises `_NotYours` if it is not, or no longer, the right one."""
        token = (request.getCookie(COOKIE) or b"").decode("latin-1")
        if not token:
            raise await self._not_yours()
        await self._check(request, token)
        return token

    async def _check(self, request: RegistryRequest, token: str) -> None:
        """Raises `_NotYours`, or `TooManyRequests` after too many wrong ones."""
        try:
            with self._throttle.attempt(self._means.addresses.client_address(request)):
                if not await self._means.database.read(founding.is_token, token, self._super_users):
                    raise Unauthorized("wrong")
        except TooManyRequests:
            raise
        except Unauthorized:
            raise await self._not_yours() from None

    async def _not_yours(self) -> _NotYours:
        if not await self._means.database.read(founding.is_open, self._super_users):
            return _NotYours("This registry has an administrator. Who is one goes on with the setup after signing in.")
        return _NotYours(
            "This address of the setup is not, or no longer, good. Start the server again, or type `quay setup url` on "
            "its machine: both print a new one."
        )

    @property
    def _super_users(self) -> tuple[str, ...]:
        return super_users(self._means.config)

    def _set_cookie(self, request: RegistryRequest, token: str, seconds: int) -> None:
        secure = self._means.addresses.external_url(request).startswith("https:")
        request.addCookie(
            COOKIE, token, path="/setup", max_age=str(seconds), secure=secure, httpOnly=True, sameSite="lax"
        )

    async def _administrator(self, request: RegistryRequest) -> _Visit | None:
        identity = await self._identifier.identify(request)
        if identity.session is None or not identity.principal.superuser:
            return None
        return _Visit(identity, self._means.sessions.csrf_token(identity.session))

    async def _only_administrator(self, request: RegistryRequest) -> _Visit:
        visit = await self._administrator(request)
        if visit is None:
            await self._check_cookie(request)
            raise BadRequest("Make the administrator first, at /setup/administrator.")
        return visit

    # --- first: the administrator

    async def _show_administrator(self, request: RegistryRequest) -> None:
        if await self._administrator(request) is not None:
            _redirect(request, "/setup/names")
            return
        await self._check_cookie(request)
        self._show(request, None, "administrator", name="", email="")

    async def _make_administrator(self, request: RegistryRequest) -> None:
        fields = await self._fields(request)
        token = await self._check_cookie(request)
        try:
            made = await self._made(request, fields, token)
        except (NamespaceInvalid, NamespaceTaken, InvalidRequest) as error:
            said = error.message if isinstance(error, InvalidRequest) else str(error)
            typed = {"name": forms.text(fields, "name"), "email": forms.text(fields, "email")}
            self._show(request, None, "administrator", problems=[said], **typed)
            return
        if made is None:
            raise await self._not_yours()
        self._set_cookie(request, "", 0)
        await self._means.sign_in.enter(request, made)
        _redirect(request, "/setup/names")

    async def _made(self, request: RegistryRequest, fields: Fields, token: str) -> Namespace | None:
        password = fields.get("password", [""])[-1]
        check_new(password)
        if password != fields.get("repeated", [""])[-1]:
            raise InvalidRequest("The two passwords are not the same.")
        hashed = await self._means.passwords.hash(password)
        founder = Founder(forms.text(fields, "name"), forms.text(fields, "email") or None, hashed)
        ip = self._means.addresses.client_address(request)
        return await self._means.database.write(found, founder, self._means.config, token, ip)

    # --- second: names and TLS

    async def _show_names(self, request: RegistryRequest) -> None:
        visit = await self._only_administrator(request)
        answers = (await self._pool.run(self._steps.answers)).get(NAMES)
        await self._show_names_again(request, visit, answers)

    async def _show_names_again(
        self, request: RegistryRequest, visit: _Visit, answers: Any, problems: tuple[str, ...] = ()
    ) -> None:
        base = self._means.addresses.external_url(request)
        values = await self._pool.run(forms.shown_names, answers, self._means.config, base)
        asked = await self._pool.run(self._steps.certificates.request)
        waiting = None if asked is None else asked.decode("ascii")
        present = await self._pool.run(_present, self._steps.certificates)
        self._show(request, visit, "names", problems=problems, values=values, request_pem=waiting, present=present)

    async def _take_names(self, request: RegistryRequest) -> None:
        visit, fields = await self._meant(request)
        if visit is None:
            return
        answers = forms.names(fields)
        try:
            taken = await self._pool.run(self._steps.name_it, answers)
        except Refused as refused:
            await self._show_names_again(request, visit, answers, refused.problems)
            return
        _redirect(request, "/setup/names" if taken.tls == "request" else "/setup/storage")

    async def _send_request(self, request: RegistryRequest) -> None:
        await self._only_administrator(request)
        asked = await self._pool.run(self._steps.certificates.request)
        if asked is None:
            raise BadRequest("There is no request for a certificate: choose that at /setup/names.")
        request.setHeader("Content-Type", "application/pkcs10")
        request.setHeader("Content-Disposition", 'attachment; filename="registry.csr"')
        request.setHeader("Content-Length", str(len(asked)))
        request.setHeader("X-Content-Type-Options", "nosniff")
        request.write(asked)
        request.finish()

    # --- third: database and storage

    async def _show_keeping(self, request: RegistryRequest) -> None:
        visit = await self._only_administrator(request)
        answers = (await self._pool.run(self._steps.answers)).get(KEEPING)
        await self._show_keeping_again(request, visit, answers)

    async def _show_keeping_again(
        self, request: RegistryRequest, visit: _Visit, answers: Any, problems: tuple[str, ...] = ()
    ) -> None:
        in_use = await self._means.database.read(founding.is_in_use)
        config = self._means.config
        uri = config.database_uri
        places = {"database": uri.place, "is_sqlite": uri.is_sqlite, "blobs": _blobs_of(config)}
        values = forms.shown_keeping(answers)
        about = {"in_use": in_use, "places": places, "values": values, "modes": SSL_MODES}
        self._show(request, visit, KEEPING, problems=problems, **about)

    async def _take_keeping(self, request: RegistryRequest) -> None:
        visit, fields = await self._meant(request)
        if visit is None:
            return
        if await self._means.database.read(founding.is_in_use):
            fields = {"database": ["kept"]}  # what is there stays where it is
        before = (await self._pool.run(self._steps.answers)).get(KEEPING, {})
        answers = forms.keeping(fields, before)
        try:
            await self._pool.run(self._steps.keep_it, answers)
        except Refused as refused:
            await self._show_keeping_again(request, visit, answers, refused.problems)
            return
        _redirect(request, "/setup/summary")

    # --- last: what becomes of it

    async def _show_summary(self, request: RegistryRequest) -> None:
        visit = await self._only_administrator(request)
        await self._show_summary_again(request, visit)

    async def _show_summary_again(
        self, request: RegistryRequest, visit: _Visit, problems: tuple[str, ...] = ()
    ) -> None:
        made: Plan | None = None
        try:
            made = await self._pool.run(self._steps.plan)
        except Refused as refused:
            problems = (*problems, *refused.problems)
        answers = await self._pool.run(self._steps.answers)
        client = _query(request, b"client")
        self._show(
            request,
            visit,
            "summary",
            problems=problems,
            plan=made,
            remarks=answers.get(TESTED, {}).get("remarks", []),
            file=str(self._steps.file),
            needs_restart=made is not None and self._steps.needs_restart(made),
            moves=made is not None and made.config.database_url != self._means.config.database_url,
            can_restart=self._restart is not None,
            clients=CLIENTS,
            client=client if client in CLIENTS else CLIENTS[0],
            me=visit.identity.principal.name,
            **_reached(made),
        )

    async def _apply(self, request: RegistryRequest) -> None:
        visit, fields = await self._meant(request)
        if visit is None:
            return
        session = visit.identity.session
        assert session is not None, "an administrator is in one"
        hashed = await self._means.database.read(namespace.password_hash, session.user.id)
        founder = Founder(session.user.name, session.user.email, hashed) if hashed else None
        in_use = await self._means.database.read(founding.is_in_use)
        try:
            made = await self._pool.run(self._steps.finish, founder, in_use=in_use)
        except Refused as refused:
            await self._show_summary_again(request, visit, refused.problems)
            return
        if forms.text(fields, "restart") and self._restart is not None:
            self._say_goodbye(request, made)
        else:
            _redirect(request, "/setup/summary")

    async def _start_anew(self, request: RegistryRequest) -> None:
        visit, _ = await self._meant(request)
        if visit is None:
            return
        if self._restart is None:
            raise BadRequest("This server cannot start itself anew: restart it as you started it.")
        self._say_goodbye(request, await self._pool.run(self._steps.plan))

    def _say_goodbye(self, request: RegistryRequest, made: Plan) -> None:
        assert self._restart is not None, "the callers have looked"
        self._pages.send(request, "setup/restarting.html", **_reached(made))
        self._restart()

    # --- what the screens share

    def _show(
        self, request: RegistryRequest, visit: _Visit | None, step: str, *, problems: Any = (), **values: Any
    ) -> None:
        csrf = "" if visit is None else visit.csrf
        status = 400 if problems else 200
        said = [forms.spoken(problem) for problem in problems]
        about = {"csrf": csrf, "step": step, "problems": said, "signed_in": visit is not None}
        self._pages.send(request, f"setup/{step}.html", status=status, **about, **values)

    async def _meant(self, request: RegistryRequest) -> tuple[_Visit | None, Fields]:
        """
        The form of an administrator who means it, and has shown his password lately; without a visit, he has been asked
        for it. Raises `CsrfRefused`, and what `_only_administrator` does.
        """
        fields = await self._fields(request)
        visit = await self._only_administrator(request)
        session = visit.identity.session
        if session is None or not self._means.sessions.is_csrf_token(session, forms.text(fields, "_csrf_token")):
            raise CsrfRefused("This form is not of your present session: load the page again, and repeat it.")
        if await self._is_fresh(request, visit, fields):
            return visit, fields
        where = request.path.decode("latin-1")
        about = {"layout": "setup/frame.html", "signed_in": True, "step": "", "problems": ()}
        self._pages.send(request, "fresh.html", fields=fields, where=where, back="/setup/", **about)
        return None, fields

    async def _is_fresh(self, request: RegistryRequest, visit: _Visit, fields: Fields) -> bool:
        timeout_s = float(self._means.config.fresh_login_timeout)
        if visit.identity.is_fresh(self._means.clock.seconds(), timeout_s):
            return True
        password, code = fields.get("_password", [""])[-1], forms.text(fields, "_totp")
        if not password:
            return False
        body = {"password": password, **({"totp": code} if code else {})}
        await self._api.invoke(request, visit.identity, "verifyUser", {}, body=body)
        return True

    async def _fields(self, request: RegistryRequest) -> Fields:
        origin: str | None = request.getHeader("Origin")
        if origin not in (None, self._means.addresses.external_url(request)):
            raise CsrfRefused("This form was sent by another site, and nothing was done.")
        raw: bytes = await request.body.read(FORM_LIMIT)
        try:
            return parse_qs(raw.decode("utf-8"), keep_blank_values=True, max_num_fields=100)
        except ValueError:
            raise BadRequest("The form cannot be read.") from None


def _reached(made: Plan | None) -> dict[str, Any]:
    """How clients reach the registry once it runs as planned."""
    if made is None:
        return {"host": "", "scheme": "https", "own": False, "plain_port": None}
    config = made.config
    return {
        "host": str(config.hostname),
        "scheme": config.scheme,
        "own": config.tls_certificate is not None,
        "plain_port": config.plain_listen[0].port if config.plain_listen else None,
    }


def _present(files: CertificateFiles) -> dict[str, Any] | None:
    """What is said of the certificate that is there already, if there is one."""
    try:
        pair = files.current()
    except Unfit:
        return None
    if pair is None:
        return None
    found = pair.certificate
    names = ", ".join(authority.names_of(found))
    return {"names": names, "issuer": found.issuer.rfc4514_string(), "ends": found.not_valid_after_utc.date()}


def _blobs_of(config: Any) -> str:
    return ", ".join(location.options["storage_path"] for location in config.storage.values())


def _query(request: RegistryRequest, name: bytes) -> str:
    text: str = request.args.get(name, [b""])[0].decode("utf-8", "replace")
    return text


def _redirect(request: RegistryRequest, where: str) -> None:
    send_empty(request, 303, {"Location": where, "Cache-Control": "no-store"})
