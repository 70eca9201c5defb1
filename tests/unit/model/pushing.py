"""A client for tests of the model: makes blobs and manifests, and pushes them in a transaction."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import attrs
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPICursor

from quay.database import Transaction
from quay.model.blob import link_blob
from quay.model.content import Pushed, put_manifest
from quay.model.reachability import lock
from quay.model.repository import Repository
from quay.oci.manifest import Manifest, parse
from quay.oci.media_types import OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, OCI_MANIFEST
from quay.oci.reference import Digest, Tag

HOUR = 3600


def image(
    name: str,
    *,
    layers: Sequence[str] = (),
    subject: Manifest | None = None,
    artifact_type: str | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Manifest:
    """An image manifest whose config and layers are the texts `name` and `layers`."""
    body: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": _descriptor(OCI_CONFIG, name.encode()),
        "layers": [_descriptor(OCI_LAYER_GZIP, layer.encode()) for layer in layers],
    }
    return _finish(body, subject, artifact_type, annotations)


def index(*children: Manifest, subject: Manifest | None = None, name: str = "") -> Manifest:
    """An index of these children."""
    manifests = [{"mediaType": child.media_type, "digest": child.digest, "size": len(child.raw)} for child in children]
    body: dict[str, object] = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}
    return _finish(body, subject, None, {"name": name})


def _descriptor(media_type: str, data: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": Digest.of(data), "size": len(data)}


def _finish(
    body: dict[str, object],
    subject: Manifest | None,
    artifact_type: str | None,
    annotations: Mapping[str, str] | None,
) -> Manifest:
    if subject is not None:
        body["subject"] = {"mediaType": subject.media_type, "digest": subject.digest, "size": len(subject.raw)}
    if artifact_type is not None:
        body["artifactType"] = artifact_type
    if annotations:
        body["annotations"] = annotations
    return parse(json.dumps(body).encode(), str(body["mediaType"]))


@attrs.frozen
class Client:
    """Pushes to one repository, in one transaction."""

    txn: Transaction
    repository: Repository

    @property
    def at(self) -> tuple[Transaction, int]:
        """The first two arguments of most functions of the model."""
        return self.txn, self.repository.id

    def upload(self, text: str, *, lease_s: int = HOUR) -> Digest:
        digest = Digest.of(text.encode())
        link_blob(self.txn, self.repository.id, digest, len(text), "local", lease_s=lease_s)
        return digest

    def put(
        self,
        manifest: Manifest,
        tag: str | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        expires_after_s: int | None = None,
        sparse: bool = False,
    ) -> Pushed:
        """Put the manifest alone."""
        return put_manifest(
            self.txn,
            self.repository,
            manifest,
            tag=None if tag is None else Tag(tag),
            labels=labels or {},
            expires_after_s=expires_after_s,
            temp_tag_s=HOUR,
            sparse=sparse,
        )

    def push(self, manifest: Manifest, tag: str | None = None, *, expires_after_s: int | None = None) -> Pushed:
        """Put the manifest after its blobs."""
        lock(*self.at)
        for blob in manifest.blobs():
            link_blob(self.txn, self.repository.id, blob.digest, blob.size, "local", lease_s=HOUR)
        return self.put(manifest, tag, expires_after_s=expires_after_s)

    def later(self, seconds: float) -> None:
        """Let time pass."""
        self.txn.now_ms += int(seconds * 1000)


class _Overheard:
    """A cursor of the driver, which notes what it executes."""

    def __init__(self, cursor: Any, sent: list[tuple[str, object]]) -> None:
        self._cursor = cursor
        self._sent = sent

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def execute(self, statement: str, parameters: object) -> None:
        self._sent.append((statement, parameters))
        self._cursor.execute(statement, parameters)

    def executemany(self, statement: str, parameters: Sequence[object]) -> None:
        self._sent.append((statement, parameters[0]))
        self._cursor.executemany(statement, parameters)


@contextmanager
def statements(txn: Transaction) -> Iterator[list[tuple[str, object]]]:
    """What is sent to the engine meanwhile, with its parameters; many executions of one statement count once."""
    with unprepared(txn) as sent:
        txn._driver.cursor = cast("DBAPICursor", _Overheard(txn.connection.connection.cursor(), sent))
        try:
            yield sent
        finally:
            txn._driver.cursor = None


@contextmanager
def unprepared(txn: Transaction) -> Iterator[list[tuple[str, object]]]:
    """Of `statements`, those that go by way of SQLAlchemy."""
    sent: list[tuple[str, object]] = []

    def note(_c: object, _cursor: object, statement: str, parameters: object, _context: object, _many: bool) -> None:
        sent.append((statement, parameters))

    event.listen(txn.connection, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(txn.connection, "before_cursor_execute", note)


def plans(txn: Transaction, work: Callable[[], object]) -> str:
    """How the engine answers what `work` asks, with fresh statistics; on PostgreSQL as if tables were very large."""
    txn.execute(sa.text("ANALYZE"))
    if txn.dialect == "postgresql":
        txn.execute(sa.text("SET LOCAL enable_seqscan = off"))
    with statements(txn) as sent:
        work()
    explain = "EXPLAIN " if txn.dialect == "postgresql" else "EXPLAIN QUERY PLAN "
    lines = [
        str(row[-1])
        for statement, parameters in sent
        for row in txn.connection.exec_driver_sql(explain + statement, parameters)  # type: ignore[arg-type]
    ]
    return "\n".join(lines)


def assert_constant_cost(plan: str) -> None:
    """Neither a sort nor a table read from end to end."""
    for costly in ("TEMP B-TREE", "Sort", "Seq Scan"):
        assert costly not in plan, plan
    assert not any(line.startswith("SCAN ") and "USING" not in line for line in plan.splitlines()), plan
