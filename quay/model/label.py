"""
Labels of manifests: what came with the image, and what users add to it afterwards.

What came with the image belongs to it and stays; what was added can be taken away. Source: Quay's manifest labels.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, Literal
from uuid import uuid4

import attrs
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.schema import label
from quay.model.content import LABEL_KEY_LIMIT, LABEL_LIMIT
from quay.model.reachability import lock

Source = Literal["manifest", "api", "internal"]
MediaType = Literal["text/plain", "application/json"]

VALUE_LIMIT: Final = 64 * 1024
"""Characters of the value of a label that is added."""

_KEY: Final = re.compile(r"[A-Za-z0-9/][A-Za-z0-9/_.-]*[A-Za-z0-9]")


class LabelInvalid(Exception):
    """A label that cannot be added, or not be taken away."""


@attrs.frozen
class Label:
    """A label of one manifest; `source` says whether it came with the image or was added."""

    uuid: str
    key: str
    value: str
    media_type: MediaType
    source: Source


_SELECT: Final = sa.select(*(label.c[field.name] for field in attrs.fields(Label)))


def labels(txn: Transaction, manifest_id: int, *, prefix: str = "") -> list[Label]:
    """The labels of the manifest whose keys begin with `prefix`, in the order in which they came."""
    begins = sa.func.substr(label.c.key, 1, len(prefix)) == prefix
    rows = txn.execute(_SELECT.where(label.c.manifest_id == manifest_id, begins).order_by(label.c.id))
    return [Label(**row._mapping) for row in rows]


def find(txn: Transaction, manifest_id: int, uuid: str) -> Label | None:
    """The label of this manifest with this uuid."""
    row = txn.execute(_SELECT.where(label.c.manifest_id == manifest_id, label.c.uuid == uuid)).first()
    return None if row is None else Label(**row._mapping)


def add(
    txn: Transaction, repository_id: int, manifest_id: int, key: str, value: str, media_type: MediaType | None
) -> Label:
    """
    Add a label; without a `media_type` it is plain text. Raises `LabelInvalid`; `NameUnknown` if the repository has
    been deleted.
    """
    _check(key, value, media_type)
    lock(txn, repository_id)
    if _count(txn, manifest_id) >= LABEL_LIMIT:
        raise LabelInvalid(f"The manifest has {LABEL_LIMIT} labels, and can have no more.")
    made = Label(str(uuid4()), key, value, media_type or "text/plain", "api")
    values: dict[str, Any] = attrs.asdict(made) | {"repository_id": repository_id, "manifest_id": manifest_id}
    txn.execute(sa.insert(label), values)
    return made


def remove(txn: Transaction, manifest_id: int, uuid: str) -> Label | None:
    """Take a label away that was added; None if there is none. Raises `LabelInvalid` for one of the image."""
    found = find(txn, manifest_id, uuid)
    if found is None:
        return None
    if found.source != "api":
        raise LabelInvalid(f"The label {found.key} came with the image, and can only be changed by a new image.")
    txn.execute(sa.delete(label).where(label.c.uuid == uuid))
    return found


def _check(key: str, value: str, media_type: MediaType | None) -> None:
    if len(key) > LABEL_KEY_LIMIT or _KEY.fullmatch(key) is None:
        raise LabelInvalid(
            f"{key[:80]!r} cannot be the key of a label: use 2 to {LABEL_KEY_LIMIT} of A-Z, a-z, 0-9, '/', '.', '_' "
            "and '-', with a letter or digit at the end."
        )
    if len(value) > VALUE_LIMIT:
        raise LabelInvalid(f"The value of a label has {VALUE_LIMIT} characters at most.")
    if media_type == "application/json" and not _is_json(value):
        raise LabelInvalid("The value of the label is not JSON, and its media type says that it is.")


def _is_json(value: str) -> bool:
    try:
        json.loads(value)
    except (ValueError, RecursionError):
        return False
    return True


def _count(txn: Transaction, manifest_id: int) -> int:
    count = sa.select(sa.func.count()).where(label.c.manifest_id == manifest_id)
    return int(txn.execute(count).scalar_one())
