"""
The shortest way of a pull: from the bytes of a head to the bytes of an answer, with no request object in between.

Whatever is the least unusual — another header than those that every client sends, a body, more than one request in the
segment, something that is not in memory — is left to the ordinary way, which gives the same answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from twisted.web.server import version

from quay.registry import Registry
from quay.web.guard import Guard
from quay.web.today import Today
from quay.web.v2.call import understood
from quay.web.v2.recall import Recalled, recall

HEAD_LIMIT: Final = 8 * 1024

_HEAD: Final = re.compile(
    rb"(GET|HEAD) /v2/([a-z0-9._/-]{1,255})/manifests/([A-Za-z0-9._:-]{1,140}) HTTP/1\.1\r\n"
    rb"((?:(?i:Host|User-Agent|Accept|Accept-Encoding|Authorization):[ \t]*[!-~][ -~]*\r\n)+)\r\n"
)
_ANSWER: Final = (
    b"HTTP/1.1 200 OK\r\nServer: %s\r\nDate: %s\r\nDocker-Distribution-API-Version: registry/2.0\r\n"
    b'Content-Type: %s\r\nDocker-Content-Digest: %s\r\nVary: Accept\r\nETag: "%s"\r\nContent-Length: %d\r\n\r\n'
)


class Express:
    """
    Answers manifests that are in memory to bearers whose tokens are. `answered` and `sent` count requests and bytes.
    """

    def __init__(self, registry: Registry, guard: Guard, now: Callable[[], float]) -> None:
        self._registry = registry
        self._guard = guard
        self._today = Today(now)
        self.answered = 0
        self.sent = 0

    def __call__(self, data: bytes, peer: str) -> bytes | None:
        """The whole answer to `data`, which came from `peer`, if that is one request that can be answered at once."""
        found = _HEAD.fullmatch(data) if len(data) <= HEAD_LIMIT else None
        fields = _fields(found[4]) if found is not None else None
        if found is None or fields is None:
            return None
        agent = fields.get(b"user-agent", b"").decode()
        known = self._guard.bearer(fields.get(b"authorization", b""), peer, agent)
        if known is None:
            return None
        accept = fields.get(b"accept")
        accepted = understood([accept.decode()] if accept is not None else [], agent)
        recalled = recall(self._registry, known, found[2].decode(), found[3].decode(), accepted)
        if recalled is None:
            return None
        is_pull = found[1] == b"GET"
        if is_pull:
            self._registry.manifests.pulled(known[0], recalled.repository, recalled.reference, recalled.stored.digest)
        return self._answer(recalled, is_pull)

    def _answer(self, recalled: Recalled, is_pull: bool) -> bytes:
        stored = recalled.stored
        digest = stored.digest.encode()
        head = _ANSWER % (version, self._today(), stored.media_type.encode(), digest, digest, len(stored.content))
        answer = head + stored.content if is_pull else head
        self.answered += 1
        self.sent += len(answer)
        return answer


def _fields(lines: bytes) -> dict[bytes, bytes] | None:
    """The headers, in lower case; several `Accept` joined. None if another is given twice, or there is no `Host`."""
    fields: dict[bytes, bytes] = {}
    for line in lines.split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        name, value = name.lower(), value.strip(b" \t")
        if name in fields:
            if name != b"accept":
                return None
            value = fields[name] + b", " + value
        fields[name] = value
    return fields if b"host" in fields else None
