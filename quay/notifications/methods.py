"""
The ways to tell somebody: each `INotificationMethod` that there is, and why some of Quay's are not.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from quay.config.values import MAIL_ADDRESS
from quay.database import Database, Transaction
from quay.egress import Egress, EgressError, EgressRefused
from quay.interfaces import INotice, INotificationMethod
from quay.model import account, bell, namespace, permission, repository
from quay.model.notification import NotificationInvalid
from quay.model.repository import Repository
from quay.notifications.notice import EVENTS, tags_of

ABSENT: Final[Mapping[str, str]] = {
    "email": "This registry sends no e-mail (MAIL_SERVER): use webhook, slack or quay_notification.",
    "flowdock": "Flowdock was shut down in 2023: use webhook or slack.",
    "hipchat": "HipChat was shut down in 2019: use webhook or slack.",
}
"""Quay's methods that are not offered, and what is said to those who ask for them."""

SLACK_BLUE: Final = "#4C99D5"
TAGS: Final = 50
"""So many are named in a letter."""


class NotDelivered(Exception):
    """Somebody could not be told; the message is a sentence, without a secret."""


@implementer(INotificationMethod)
class Webhook:
    """
    POSTs the payload as JSON, signed as Standard Webhooks have it: `webhook-signature` is the HMAC-SHA-256 over
    `webhook-id`, `webhook-timestamp` and the body, joined by dots, so a receiver can tell who sent it, and refuse what
    is old or what it has seen.
    """

    signs = True

    def __init__(self, egress: Egress, now: Callable[[], float]) -> None:
        self._egress = egress
        self._now = now

    def check(self, repository_id: int, config: Mapping[str, Any]) -> Deferred[dict[str, Any]]:
        if config.get("template"):
            return fail(NotificationInvalid("A webhook sends what Quay sends by default: leave the template out."))
        return _checked_url(self._egress, config)

    def deliver(self, notice: INotice, config: Mapping[str, Any], secret: bytes) -> Deferred[str]:
        body = json.dumps(notice.payload).encode()
        headers = {
            "Content-Type": "application/json",
            "X-Quay-Event": notice.event,
            **signature(secret, notice.uuid, int(self._now()), body),
        }
        return Deferred.fromCoroutine(_post(self._egress, config["url"], body, headers))


def signature(secret: bytes, uuid: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers that sign a webhook. Source: Standard Webhooks 1.0 "Signature scheme"."""
    signed = hmac.new(secret, f"{uuid}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": uuid,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
    }


@implementer(INotificationMethod)
class Slack:
    """A message in a channel of Slack, or of anything that takes Slack's incoming webhooks, such as Mattermost."""

    signs = False

    def __init__(self, egress: Egress) -> None:
        self._egress = egress

    def check(self, repository_id: int, config: Mapping[str, Any]) -> Deferred[dict[str, Any]]:
        return _checked_url(self._egress, config)

    def deliver(self, notice: INotice, config: Mapping[str, Any], secret: bytes) -> Deferred[str]:
        name, text = _escaped(notice.payload["repository"]), _escaped(notice.text)
        linked = text.replace(name, f"<{notice.payload['homepage']}|{name}>", 1)
        attachment = {"fallback": notice.text, "text": linked, "color": SLACK_BLUE, "mrkdwn_in": ["text"]}
        body = json.dumps({"text": "", "attachments": [attachment]}).encode()
        headers = {"Content-Type": "application/json"}
        return Deferred.fromCoroutine(_post(self._egress, config["url"], body, headers))


def _escaped(text: str) -> str:
    """As text and nothing else to Slack. Source: Slack, "Formatting text: escaping"."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _checked_url(egress: Egress, config: Mapping[str, Any]) -> Deferred[dict[str, Any]]:
    url = config.get("url")
    if not isinstance(url, str) or not url:
        return fail(NotificationInvalid("This method needs a url in its config."))
    try:
        egress.check(url)
    except EgressRefused as refused:
        return fail(NotificationInvalid(str(refused)))
    return succeed({"url": url})


async def _post(egress: Egress, url: str, body: bytes, headers: Mapping[str, str]) -> str:
    """POST, and take nothing of the answer but its status: whatever else it says is not for our log."""
    try:
        answer = await egress.request("POST", url, headers=headers, body=body, limit=0)
    except EgressError as error:
        raise NotDelivered(str(error)) from error
    if not answer.succeeded:
        raise NotDelivered(f"The receiver answered {answer.status}, and not 200.")
    return f"The receiver answered {answer.status}."


@implementer(INotificationMethod)
class Bell:
    """Rings the bell in the console, for a user who may see the repository, its organization, or a team of that."""

    signs = False

    def __init__(self, database: Database) -> None:
        self._database = database

    def check(self, repository_id: int, config: Mapping[str, Any]) -> Deferred[dict[str, Any]]:
        target = config.get("target")
        kind, name = (target.get("kind"), target.get("name")) if isinstance(target, dict) else (None, None)
        if kind not in ("user", "org", "team") or not isinstance(name, str):
            return fail(
                NotificationInvalid("This method needs a target in its config: a kind (user, org, team), and a name.")
            )
        kept = {"target": {"kind": kind, "name": name}}
        found: Deferred[bell.Audience] = self._database.read(_audience, repository_id, kind, name)
        return found.addCallback(lambda _: kept)

    def deliver(self, notice: INotice, config: Mapping[str, Any], secret: bytes) -> Deferred[str]:
        def ring(txn: Transaction) -> str:
            target = config["target"]
            heard = _audience(txn, notice.repository_id, target["kind"], target["name"])
            bell.ring(txn, notice.event, notice.payload, heard)
            return f"The bell rang for {target['name']}."

        ringing: Deferred[str] = self._database.write(ring)
        return ringing.addErrback(_not_delivered)


def _audience(txn: Transaction, repository_id: int, kind: str, name: str) -> bell.Audience:
    place = repository.by_id(txn, repository_id)
    found = None if place is None else bell.audience(txn, place, kind, name)
    if found is None:
        raise NotificationInvalid(
            f"There is no {kind} {name[:80]!r} who may hear of this repository: users need the right to pull from it, "
            "and only its own organization and teams of that can be told."
        )
    return found


def _not_delivered(failure: Failure) -> str:
    failure.trap(NotificationInvalid)
    raise NotDelivered(str(failure.value)) from failure.value


class SendLetter(Protocol):
    """Sends one letter, or raises `EgressError`. See `quay.egress.mail.Mail`."""

    def __call__(self, to: str, subject: str, text: str, *, uuid: str) -> Awaitable[None]: ...


@implementer(INotificationMethod)
class Email:
    """
    A letter to somebody who has to do with the repository anyway: nobody else can be made to get letters from here,
    and that one may read a public repository is not enough. It is looked at again whenever a letter is sent.
    """

    signs = False

    def __init__(self, database: Database, send: SendLetter) -> None:
        self._database = database
        self._send = send

    def check(self, repository_id: int, config: Mapping[str, Any]) -> Deferred[dict[str, Any]]:
        email = config.get("email")
        if not isinstance(email, str) or MAIL_ADDRESS.fullmatch(email) is None:
            return fail(NotificationInvalid("This method needs an email in its config, as name@example.org."))
        checking: Deferred[None] = self._database.read(_check_addressee, repository_id, email)
        return checking.addCallback(lambda _: {"email": email})

    def deliver(self, notice: INotice, config: Mapping[str, Any], secret: bytes) -> Deferred[str]:
        return Deferred.fromCoroutine(self._deliver(notice, config["email"]))

    async def _deliver(self, notice: INotice, email: str) -> str:
        try:
            await self._database.read(_check_addressee, notice.repository_id, email)
            await self._send(email, _subject(notice), _letter(notice), uuid=notice.uuid)
        except (NotificationInvalid, EgressError) as error:
            raise NotDelivered(str(error)) from error
        return "The mail server took the letter."


def _check_addressee(txn: Transaction, repository_id: int, email: str) -> None:
    place = repository.by_id(txn, repository_id)
    if place is None or not _hears(txn, place, email):
        raise NotificationInvalid(
            f"No letters about this repository go to {email[:80]!r}: it must be the verified address of a user who has "
            "been given a right to the repository, or the address of its organization."
        )


def _hears(txn: Transaction, place: Repository, email: str) -> bool:
    found = namespace.find_by_email(txn, email)
    if found is None or not found.enabled:
        return False
    if found.kind != "user":
        return found.id == place.namespace_id
    return account.standing(txn, found.id).verified and bool(permission.roles(txn, place, found.id))


def _subject(notice: INotice) -> str:
    return f"Repository {notice.payload['repository']} {EVENTS.get(notice.event, notice.event)}"


def _letter(notice: INotice) -> str:
    payload, tags = notice.payload, tags_of(notice.payload)
    more = f" and {len(tags) - TAGS} more" if len(tags) > TAGS else ""
    lines = [
        f"{_subject(notice)}.",
        "",
        *([f"Tags: {', '.join(tags[:TAGS])}{more}"] if tags else []),
        f"Repository: {payload['docker_url']}",
        f"See {payload['homepage']}",
        "",
        "This letter comes because somebody who administers the repository has asked for it in its settings.",
    ]
    return "\n".join(lines) + "\n"


@implementer(INotificationMethod)
class Memory:
    """For tests: remembers what was delivered, or fails with the sentence that it is told."""

    def __init__(self, *, signs: bool = False) -> None:
        self.signs = signs
        self.delivered: list[tuple[INotice, Mapping[str, Any], bytes]] = []
        self.fails = ""

    def check(self, repository_id: int, config: Mapping[str, Any]) -> Deferred[dict[str, Any]]:
        if "to" not in config:
            return fail(NotificationInvalid("This method needs to know to whom."))
        return succeed({"to": config["to"]})

    def deliver(self, notice: INotice, config: Mapping[str, Any], secret: bytes) -> Deferred[str]:
        if self.fails:
            return fail(NotDelivered(self.fails))
        self.delivered.append((notice, config, secret))
        return succeed("It is remembered.")
