"""
The one who sends letters: over SMTP, to the mail server that the administrator has named.

That server is his choice and nobody else's, so no policy stands before it, unlike before the addresses that users
choose. A letter has one recipient, and whatever is put into its headers stays in its header. Of what the server says,
a code is told at most: everybody who administers a repository may read it.

Source: RFC 5321 (SMTP), 3207 (STARTTLS), 4954 (AUTH), 3834 (automatic letters).
"""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any, Final

import attrs
from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet import ssl
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectError, ConnectingCancelledError, ConnectionClosed, DNSLookupError
from twisted.internet.protocol import connectionDone
from twisted.mail import smtp
from twisted.protocols.basic import FileSender
from twisted.python.failure import Failure

from quay.config.values import MAIL_ADDRESS
from quay.egress.policy import EgressFailed, EgressRefused

TIMEOUT_S: Final = 10.0
GOODBYE_S: Final = 1.0
"""How long the server may take to end the connection when it has the letter."""
LIMIT: Final = FileSender.CHUNK_SIZE
"""Bytes of a letter: what is sent in one piece, since Twisted sees no line that begins with a dot across two."""


@attrs.frozen(kw_only=True)
class Server:
    """
    Where letters go. Without `tls`, nothing is encrypted; with it, nothing is sent unless it is. `sender` is what
    stands in From: an address, or `Name <address>`.
    """

    host: str
    port: int
    tls: bool
    username: str | None
    password: str | None = attrs.field(repr=False)
    sender: str


class Mail:
    """Sends letters through `server`. `trust` gives the CAs that are believed, None for those of the machine."""

    def __init__(self, reactor: Any, server: Server, trust: Callable[[], Any] = lambda: None) -> None:
        self._reactor = reactor
        self._server = server
        self._trust = trust

    async def send(self, to: str, subject: str, text: str, *, uuid: str) -> None:
        """
        Hand one letter to the mail server, within ten seconds. `uuid` names it: who gets it twice can tell. Raises
        `EgressRefused` for what is no letter, `EgressFailed` if the server did not take it.
        """
        letter = compose(self._server.sender, to, subject, text, uuid=uuid, now_s=self._reactor.seconds())
        sending = Deferred.fromCoroutine(self._hand_over(letter, to))
        await sending.addTimeout(TIMEOUT_S, self._reactor, _late)

    async def _hand_over(self, letter: EmailMessage, to: str) -> None:
        taken: Deferred[Any] = Deferred()
        try:
            sender = await self._endpoint().connect(self._factory(letter, to, taken))
            try:
                await taken
                await sender.gone.addTimeout(GOODBYE_S, self._reactor, lambda *_: None)
            finally:
                sender.hang_up()
        except Exception as error:
            raise _translated(error) from None  # what lies below may quote the conversation

    def _endpoint(self) -> Any:
        return HostnameEndpoint(self._reactor, self._server.host, self._server.port, timeout=TIMEOUT_S)

    def _factory(self, letter: EmailMessage, to: str, taken: Deferred[Any]) -> Any:
        server = self._server
        secure = ssl.optionsForClientTLS(server.host, trustRoot=self._trust()) if server.tls else None
        factory = smtp.ESMTPSenderFactory(
            (server.username or "").encode(),
            (server.password or "").encode(),
            letter["From"].addresses[0].addr_spec,
            to,
            io.BytesIO(bytes(letter)),
            taken,
            retries=0,
            contextFactory=secure,
            requireAuthentication=server.username is not None,
            requireTransportSecurity=server.tls,
            heloFallback=True,
        )
        factory.protocol = _Sender
        return factory


class _Sender(smtp.ESMTPSender):
    """One conversation with the mail server."""

    transport: Any
    debug = False  # else the password would be in its log, and that in its errors

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.gone: Deferred[None] = Deferred()

    def esmtpState_starttls(self, code: int, resp: bytes) -> None:
        """What came in the clear after the server's consent is not part of what is protected."""
        self.clearLineBuffer()
        super().esmtpState_starttls(code, resp)

    def sendError(self, exc: Exception) -> None:
        if self.factory.sendFinished:
            self.transport.loseConnection()
        else:
            super().sendError(exc)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self.factory.clientConnectionLost(None, reason)  # no connector does it: an endpoint has connected
        if not self.gone.called:
            self.gone.callback(None)

    def hang_up(self) -> None:
        """End it, however far it has come."""
        self.factory.sendFinished = True
        self.transport.abortConnection()


def compose(sender: str, to: str, subject: str, text: str, *, uuid: str, now_s: float) -> EmailMessage:
    """The letter. Raises `EgressRefused` if the address is none, or something would break out of its header."""
    if MAIL_ADDRESS.fullmatch(to) is None:
        raise EgressRefused(f"{to[:80]!r} is not an address to which a letter can go.")
    if not f"{subject}{uuid}".isprintable():
        raise EgressRefused("A header of the letter would have line breaks or the like in it: remove them.")
    letter = EmailMessage()
    letter["From"] = sender
    letter["To"] = to
    letter["Subject"] = subject
    letter["Message-ID"] = f"<{uuid}@{letter['From'].addresses[0].domain}>"
    letter["Date"] = format_datetime(datetime.fromtimestamp(now_s, UTC))
    letter["Auto-Submitted"] = "auto-generated"
    letter.set_content(text)
    if len(bytes(letter)) > LIMIT:
        raise EgressRefused(f"The letter has more than {LIMIT} bytes: say less.")
    return letter


def _late(result: object, timeout: float) -> None:
    if isinstance(result, Failure):
        raise EgressFailed(f"The mail server did not take the letter within {timeout:.0f} seconds.")


_CREDENTIALS: Final = (smtp.AUTHDeclinedError, smtp.AuthenticationError, smtp.AUTHRequiredError, smtp.EHLORequiredError)


def _translated(error: Exception) -> Exception:
    """What went wrong, in a sentence that has nothing in it that the server has said, but for a code."""
    cause = error.__cause__ if isinstance(error, smtp.SMTPConnectError) else error
    if isinstance(cause, CancelledError | ConnectingCancelledError):
        return CancelledError()
    if isinstance(cause, SSL.Error | VerificationError):
        return EgressFailed(
            "No secure connection to the mail server could be made: its certificate must be valid, for the name in "
            "MAIL_SERVER, and issued by a CA that this registry knows (EGRESS_CA)."
        )
    if isinstance(cause, smtp.TLSRequiredError | smtp.TLSError):
        return EgressFailed("The mail server does not offer STARTTLS, and nothing is sent without it (MAIL_USE_TLS).")
    if isinstance(cause, _CREDENTIALS):
        return EgressFailed(
            "The mail server did not let this registry log in: an administrator should look at MAIL_USERNAME and "
            "MAIL_PASSWORD."
        )
    if isinstance(error, smtp.SMTPClientError) and error.code > 0:
        return EgressFailed(f"The mail server did not take the letter: it answered {error.code}.")
    if isinstance(error, ConnectError | DNSLookupError | ValueError):
        return EgressFailed("No connection to the mail server could be made.")
    if isinstance(error, smtp.SMTPClientError | ConnectionClosed):
        return EgressFailed("The mail server ended the connection without taking the letter.")
    return error
