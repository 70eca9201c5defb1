"""A real mail server on the loopback, in the test's own reactor, that keeps the letters it takes."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Factory
from twisted.mail import smtp
from twisted.mail.imap4 import LOGINCredentials, PLAINCredentials
from zope.interface import implementer

USERNAME, PASSWORD = "quay", "s3cr3t-password"


@implementer(IRealm, smtp.IMessageDelivery)
class MailServer(Factory):  # type: ignore[misc]
    """
    Takes letters for everybody but `refused`, in the clear, or under TLS if it has the `context` of a certificate. With
    `login`, only from those who know the password. `ends` makes it hang up on whoever comes, `silent` say nothing.
    """

    def __init__(self, reactor: Any, *, context: Any = None, login: bool = False) -> None:
        self.letters: list[EmailMessage] = []
        self.envelopes: list[tuple[str, str]] = []
        self.said: list[bytes] = []
        self.refused: set[str] = set()
        self.ends = self.silent = False
        self._context = context
        self._login = login
        self._open: list[Any] = []
        self._port = reactor.listenTCP(0, self, interface="127.0.0.1")
        self.port: int = self._port.getHost().port

    async def stop(self) -> None:
        """Nobody is there any more."""
        for conversation in self._open:
            conversation.transport.abortConnection()
        stopped: Deferred[None] | None = self._port.stopListening()
        if stopped is not None:
            await stopped

    def buildProtocol(self, addr: object) -> Any:
        logins = {b"LOGIN": LOGINCredentials, b"PLAIN": PLAINCredentials} if self._login else {}
        conversation = _Conversation(logins, self._context)
        conversation.factory = self
        if self._login:
            known = InMemoryUsernamePasswordDatabaseDontUse(**{USERNAME: PASSWORD.encode()})
            conversation.portal = Portal(self, [known])
        else:
            conversation.delivery = self
        self._open.append(conversation)
        return conversation

    def requestAvatar(self, avatarId: object, mind: object, *interfaces: object) -> Any:
        return smtp.IMessageDelivery, self, lambda: None

    def receivedHeader(self, helo: object, origin: object, recipients: object) -> bytes:
        return b"Received: by tests.mailserver"

    def validateFrom(self, helo: object, origin: Any) -> Any:
        return origin

    def validateTo(self, user: Any) -> Any:
        if str(user.dest) in self.refused:
            raise smtp.SMTPBadRcpt(user)
        self.envelopes.append((str(user.orig), str(user.dest)))
        return lambda: _Letter(self)


class _Conversation(smtp.ESMTP):
    def connectionMade(self) -> None:
        if self.factory.silent:
            return
        if self.factory.ends:
            self.transport.abortConnection()
        else:
            super().connectionMade()

    def lineReceived(self, line: bytes) -> Any:
        self.factory.said.append(line)
        return super().lineReceived(line)


@implementer(smtp.IMessage)
class _Letter:
    def __init__(self, server: MailServer) -> None:
        self._server = server
        self._lines: list[bytes] = []

    def lineReceived(self, line: bytes) -> None:
        self._lines.append(line)

    def eomReceived(self) -> Deferred[None]:
        self._server.letters.append(message_from_bytes(b"\n".join([*self._lines, b""]), policy=policy.default))
        return succeed(None)

    def connectionLost(self) -> None:
        """The letter was not finished, and is not kept."""
