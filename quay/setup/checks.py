"""
Whether answers will do, found out by trying: each refusal is a sentence. Everything here waits.
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from uuid import uuid4

import attrs

from quay.config import Endpoint
from quay.coordination import probe as redis_probe
from quay.coordination.probe import RedisUnfit
from quay.database import probe as database_probe
from quay.database.probe import DatabaseUnfit
from quay.setup.answers import Keeping, Names

LEAST_FREE: Final = 256 * 1024 * 1024
SLOW_S: Final = 0.1
SAMPLE: Final = 1024 * 1024


@attrs.frozen
class Tested:
    """What the tests found that is good to know: one sentence each."""

    remarks: tuple[str, ...]


def names(answer: Names, bound: Collection[int]) -> Iterator[str]:
    """Why the registry could not be reached like this; `bound` are the ports that this server has already."""
    for name in answer.called:
        if not _is_name(name):
            yield f"others: {name[:80]!r} is neither a host name nor an address; write each without a port."
    for endpoint in (*answer.listen, *answer.plain):
        why = refusal(endpoint) if endpoint.port not in bound else ""
        if why:
            yield f"listen: this server cannot listen on {endpoint}: {why}"
    if not answer.listen:
        yield "listen: is empty; name an address and a port, such as 0.0.0.0:8443."
    if set(answer.listen) & set(answer.plain):
        yield "plain: is an address that is also to speak TLS; take another port, such as 0.0.0.0:8080, or none."
    if answer.tls == "proxy" and not answer.proxies:
        yield "proxies: is empty; name the network of the proxy, such as 10.0.0.5, or every client would seem to be it."


def keeping(answer: Keeping, data: Path) -> Tested:
    """Try the database, Redis and the directory. Raises `CheckFailed` with what does not work."""
    problems: list[str] = []
    remarks: list[str] = []
    for check in (_database, _redis, _blobs):
        try:
            remarks += check(answer, data)
        except (DatabaseUnfit, RedisUnfit, DirectoryUnfit) as unfit:
            problems.append(str(unfit))
    if problems:
        raise CheckFailed(*problems)
    return Tested(tuple(remarks))


class CheckFailed(Exception):
    """Something that was tried does not work; `problems` are sentences."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class DirectoryUnfit(Exception):
    """Blobs cannot be kept in a directory."""


def _database(answer: Keeping, data: Path) -> Iterator[str]:
    if answer.database == "kept":
        yield "The database stays the one in which this registry runs now."
        return
    if answer.database == "sqlite":
        yield f"The database is the file {data / 'quay.db'}."
        return
    found = database_probe.probe(answer.uri())
    yield f"PostgreSQL {found.version} at {answer.host} answers, and the database {answer.name} can be used."
    if found.in_use:
        yield "That database holds a registry already: it will be used as it is, with its users."


def _redis(answer: Keeping, data: Path) -> Iterator[str]:
    redis = answer.redis
    if redis is None:
        return
    if answer.database == "sqlite":
        raise RedisUnfit("Redis is for several nodes, and SQLite serves one: choose PostgreSQL, or leave Redis out.")
    password = "" if redis.password is None else redis.password.reveal()
    redis_probe.probe(redis.host, int(redis.port), password=password, tls=redis.ssl, database=int(redis.db))
    yield f"Redis at {redis.host}:{int(redis.port)} answers."


def _blobs(answer: Keeping, data: Path) -> Iterator[str]:
    if answer.blobs is None:
        yield "Blobs stay where this registry keeps them now."
        return
    directory = data / answer.blobs
    seconds, free = _written(directory)
    if free < LEAST_FREE:
        raise DirectoryUnfit(f"{directory} has {free >> 20} MiB free, which is no room for images: take another disk.")
    yield f"{directory} can be written, with {free / 2**30:.1f} GiB free."
    if seconds > SLOW_S:
        yield f"A write takes {seconds * 1000:.0f} ms to be safe on that disk: pushes will be slow."


def _written(directory: Path) -> tuple[float, int]:
    """How many seconds a megabyte takes to be safe in the directory, and how many bytes are free there."""
    probe = directory / f".probe-{uuid4().hex}"
    made = not directory.exists()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        began = time.perf_counter()
        with probe.open("xb") as file:
            file.write(bytes(SAMPLE))
            file.flush()
            os.fsync(file.fileno())
        return time.perf_counter() - began, shutil.disk_usage(directory).free
    except OSError as error:
        raise DirectoryUnfit(
            f"Blobs cannot be kept in {directory}: {error.strerror}. {_WAYS.get(error.errno or 0, _WAY)}, or choose "
            "another directory."
        ) from error
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
            if made:  # it was only tried: the storage makes it when it is there for good
                directory.rmdir()


_WAY: Final = "Let the user of this server write there"
_WAYS: Final = {errno.EROFS: "Let the service write there, as root (`quay install --writable DIRECTORY`)"}
"""systemd shows a service everything read-only that its unit does not name."""


def _is_name(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        labels = name.rstrip(".").split(".")
        return len(name) <= 253 and all(_is_label(label) for label in labels)
    return True


def _is_label(label: str) -> bool:
    plain = label.replace("-", "").replace("_", "")
    return 0 < len(label) <= 63 and plain.isascii() and plain.isalnum() and not label.startswith("-")


def refusal(endpoint: Endpoint) -> str:
    """Why nobody could listen there; "" if that is possible."""
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((endpoint.host, endpoint.port))
        except OSError as error:
            return _REFUSALS.get(error.errno or 0, f"{error.strerror}.")
    return ""


_REFUSALS: Final = {
    errno.EACCES: (
        "ports below 1024 are for root, or for who has the capability CAP_NET_BIND_SERVICE; take 8443, say."
    ),
    errno.EADDRINUSE: "another program listens there; stop it, or take another port.",
    errno.EADDRNOTAVAIL: "this machine has no such address; 0.0.0.0 stands for all of its IPv4 addresses.",
}
