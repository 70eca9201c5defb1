"""Letters, against a real mail server on the loopback: what is sent, what never is, and what is said of failures."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from twisted.internet import reactor as running
from twisted.internet import ssl
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import TestCase

from quay.egress import EgressError, EgressFailed, EgressRefused, mail
from quay.egress.mail import LIMIT, Mail, Server, compose
from tests.mailserver import PASSWORD, USERNAME, MailServer
from tests.unit.egress.test_egress import certificate

reactor: Any = running
SENDER = "Quay <quay@registry.example>"
TO = "dev@example.org"


class MailCase(TestCase):
    """A mail server with TLS and a password, and a registry that knows both."""

    timeout = 20

    def setUp(self) -> None:
        self.certificate = certificate("localhost")
        self.server = self.serve(context=self.certificate.options(), login=True)

    def serve(self, **options: Any) -> MailServer:
        server = MailServer(reactor, **options)
        self.addCleanup(lambda: Deferred.fromCoroutine(server.stop()))
        return server

    def mail(self, **changes: Any) -> Mail:
        described: dict[str, Any] = {
            "host": "localhost",
            "port": self.server.port,
            "tls": True,
            "username": USERNAME,
            "password": PASSWORD,
            "sender": SENDER,
        }
        trust = ssl.trustRootFromCertificates([changes.pop("believed", self.certificate)])
        return Mail(reactor, Server(**described | changes), lambda: trust)

    async def send(self, client: Mail, **changes: str) -> None:
        letter = {"to": TO, "subject": "Pushed", "text": "Repository a/b\n", "uuid": "uuid-1"} | changes
        await client.send(letter.pop("to"), letter.pop("subject"), letter.pop("text"), uuid=letter["uuid"])

    async def fails(self, client: Mail, sentence: str) -> None:
        with self.assertRaises(EgressFailed) as caught:
            await self.send(client)
        assert sentence in str(caught.exception), caught.exception
        assert str(caught.exception).endswith(".")
        assert PASSWORD not in str(caught.exception)
        assert caught.exception.__cause__ is None
        assert self.server.letters == []


class SendingTests(MailCase):
    async def test_letter(self) -> None:
        """A letter comes as it was written, under TLS, from the sender, with the headers of an automatic one."""
        text = "Repository devtable/simple\n.a line with a dot\n.\nüber alles\n"
        await self.send(self.mail(), subject="Größe", text=text)
        (letter,) = self.server.letters
        assert self.server.envelopes == [("quay@registry.example", TO)]
        assert (letter["From"], letter["To"], letter["Subject"]) == (SENDER, TO, "Größe")
        assert letter["Message-ID"] == "<uuid-1@registry.example>"
        assert abs(parsedate_to_datetime(letter["Date"]).timestamp() - reactor.seconds()) < 60
        assert letter["Auto-Submitted"] == "auto-generated"
        assert letter.get_content() == text
        assert b"STARTTLS" in self.server.said
        assert self.server.said[-1] == b"QUIT"

    async def test_dots(self) -> None:
        """A line with nothing but a dot does not end a letter of plain text."""
        text = ".\n..\n.a\n" + "x\n.\n" * 1000
        await self.send(self.mail(), text=text)
        assert self.server.letters[0].get_content() == text

    async def test_plain(self) -> None:
        """Without TLS and a name, a letter goes to a server that wants neither."""
        self.server = self.serve()
        await self.send(self.mail(tls=False, username=None, password=None))
        assert len(self.server.letters) == 1
        assert not any(line.startswith((b"AUTH", b"STARTTLS")) for line in self.server.said)


class FailingTests(MailCase):
    async def test_wrong_password(self) -> None:
        """A password that the server does not take is told to the administrator, and not shown."""
        await self.fails(self.mail(password=f"{PASSWORD}!"), "MAIL_PASSWORD")

    async def test_no_login(self) -> None:
        """A server that takes no password gets no letter from a registry that has one."""
        self.server = self.serve(context=self.certificate.options())
        await self.fails(self.mail(), "MAIL_PASSWORD")

    async def test_no_tls(self) -> None:
        """Neither a password nor a letter goes to a server without TLS."""
        self.server = self.serve(login=True)
        await self.fails(self.mail(), "STARTTLS")
        assert not any(line.startswith((b"AUTH", b"MAIL")) for line in self.server.said)

    async def test_unknown_authority(self) -> None:
        """A certificate of nobody who is known is no TLS."""
        await self.fails(self.mail(believed=certificate("localhost")), "EGRESS_CA")
        assert not any(line.startswith((b"AUTH", b"MAIL")) for line in self.server.said)

    async def test_wrong_name(self) -> None:
        """A certificate for another name is no TLS."""
        self.certificate = certificate("other.example")
        self.server = self.serve(context=self.certificate.options(), login=True)
        await self.fails(self.mail(), "EGRESS_CA")

    async def test_refused(self) -> None:
        """Of a refusal, the code is told and nothing else."""
        self.server.refused = {TO}
        await self.fails(self.mail(), "did not take the letter: it answered 550.")

    async def test_away(self) -> None:
        """A server that is not there, or hangs up, is a failure."""
        self.server.ends = True
        await self.fails(self.mail(), "ended the connection")
        await self.server.stop()
        await self.fails(self.mail(), "No connection")

    async def test_no_such_name(self) -> None:
        """What is no name of a server is a failure."""
        await self.fails(self.mail(host="no such host"), "No connection")

    async def test_silent(self) -> None:
        """A server that says nothing is not waited for."""
        self.patch(mail, "TIMEOUT_S", 0.3)
        self.server.silent = True
        await self.fails(self.mail(), "within 0 seconds")

    async def test_cancelled(self) -> None:
        """Who stops waiting is told that and nothing else."""
        self.server.silent = True
        sending = Deferred.fromCoroutine(self.send(self.mail()))
        reactor.callLater(0.1, sending.cancel)
        with self.assertRaises(CancelledError):
            await sending


@pytest.mark.parametrize(
    "changes",
    [
        {"to": "dev@example.org\r\nBcc: all@example.org"},
        {"to": "dev@example.org\nBcc: all@example.org"},
        {"to": "dev@example.org,all@example.org"},
        {"to": "Dev <dev@example.org>"},
        {"to": "<dev@example.org>"},
        {"to": "dev@example.org> SIZE=1"},
        {"to": '"dev x"@example.org'},
        {"to": "dév@example.org"},
        {"to": "dev"},
        {"to": ""},
        {"subject": "Pushed\r\nBcc: all@example.org"},
        {"subject": "Pushed\nBcc: all@example.org"},
        {"subject": "Pushed\r"},
        {"text": "x" * LIMIT},
    ],
)
def test_no_letter(changes: dict[str, str]) -> None:
    """What would reach somebody else, say something else, or break the conversation, is refused."""
    letter = {"to": TO, "subject": "Pushed", "text": "Repository a/b"} | changes
    with pytest.raises(EgressRefused) as refused:
        compose(SENDER, letter["to"], letter["subject"], letter["text"], uuid="uuid-1", now_s=0)
    assert str(refused.value).endswith(".") and isinstance(refused.value, EgressError)


def test_server_keeps_its_password() -> None:
    """The password is in no representation of the server."""
    assert "s3cr3t" not in repr(Server(host="h", port=1, tls=True, username="u", password="s3cr3t", sender=SENDER))
