"""Announcements between nodes: how one is written, and who has acknowledged it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

import attrs
from twisted.internet.defer import Deferred


@attrs.frozen
class Announcement:
    """One message on its way: `<origin> <number> <channel>`, a newline, and whatever the message is."""

    origin: str
    number: int
    channel: str
    message: bytes

    def encode(self) -> bytes:
        """Its bytes. Raises `ValueError` if the channel is not one line."""
        if "\n" in self.channel:
            raise ValueError(f"{self.channel!r} cannot be the name of a channel: it must be one line.")
        return f"{self.origin} {self.number} {self.channel}\n".encode() + self.message

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The announcement that `data` spells. Raises `ValueError`."""
        head, _, message = data.partition(b"\n")
        origin, number, channel = head.decode().split(" ", 2)
        return cls(origin, int(number), channel, message)


@attrs.frozen
class Receipt:
    """That `node` has called its listeners for the announcement `number` of the node that this is sent to."""

    number: int
    node: str

    def encode(self) -> bytes:
        return f"{self.number} {self.node}".encode()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The receipt that `data` spells. Raises `ValueError`."""
        number, node = data.decode().split(" ")
        return cls(int(number), node)


class Receipts:
    """Who has acknowledged an announcement, and who must: either may be known first. `complete` fires when all have."""

    def __init__(self, announcer: str) -> None:
        self._here = {announcer}
        self._expected: set[str] | None = None
        self.complete: Deferred[None] = Deferred()

    @property
    def missing(self) -> set[str]:
        """Those who must still acknowledge it."""
        return (self._expected or set()) - self._here

    def expect(self, nodes: Iterable[str]) -> None:
        """These must acknowledge it."""
        self._expected = set(nodes)
        self._check()

    def take(self, node: str) -> None:
        """This one has."""
        self._here.add(node)
        self._check()

    def _check(self) -> None:
        if self._expected is not None and not self.missing and not self.complete.called:
            self.complete.callback(None)
