"""
The words by which a search finds a repository: those of its name, of its namespace and of its description.

`quay.model.repository` keeps them up to date in the transaction that changes any of these.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import sqlalchemy as sa

from quay.database import Transaction
from quay.database.schema import repository, repository_word
from quay.model.removal import GONE

OF_THE_NAME: Final = 2
ELSEWHERE: Final = 1
"""Weights: a word of the name tells more than one of the namespace or of the description."""

WEIGHTS: Final = (OF_THE_NAME, ELSEWHERE)

WORD_LIMIT: Final = 64
"""Characters of a word that count."""

WORDS_LIMIT: Final = 200
"""Different words of one repository that are kept."""

_WORD: Final = re.compile(r"[^\W_]+")


def words_of(text: str) -> Iterator[str]:
    """The words of `text`, in lower case and in order: letters and digits of any script."""
    return (found[0].lower()[:WORD_LIMIT] for found in _WORD.finditer(text))


def index(txn: Transaction, repository_id: int) -> None:
    """Let the repository be found by the words that it has now."""
    row = txn.execute(_TEXTS.where(repository.c.id == repository_id)).first()
    txn.execute(sa.delete(repository_word).where(repository_word.c.repository_id == repository_id))
    if row is not None:
        _insert(txn, [row])


def index_namespace(txn: Transaction, namespace_id: int) -> None:
    """Let every repository of the namespace be found by the words that it has now."""
    mine = sa.select(repository.c.id).where(repository.c.namespace_id == namespace_id)
    txn.execute(sa.delete(repository_word).where(repository_word.c.repository_id.in_(mine)))
    _insert(txn, txn.execute(_TEXTS.where(repository.c.namespace_id == namespace_id)).all())


def index_missing(txn: Transaction, most: int) -> int:
    """Index at most `most` repositories that have no words at all, from before there was a search; says how many."""
    wordless = ~sa.exists().where(repository_word.c.repository_id == repository.c.id)
    unknown = _TEXTS.where(wordless, repository.c.name < GONE)
    rows = txn.execute(unknown.order_by(repository.c.id).limit(most)).all()
    _insert(txn, rows)
    return len(rows)


_TEXTS: Final = sa.select(repository.c.id, repository.c.name, repository.c.path, repository.c.description)


def _insert(txn: Transaction, rows: Sequence[sa.Row[Any]]) -> None:
    words = [
        {"word": word, "repository_id": row.id, "weight": weight}
        for row in rows
        for word, weight in _weighed(row.name.partition("/")[0], row.path, row.description).items()
    ]
    if words:
        txn.execute(sa.insert(repository_word), words)


def _weighed(namespace: str, path: str, description: str) -> dict[str, int]:
    weights = dict.fromkeys(words_of(path), OF_THE_NAME)
    for word in (*words_of(namespace), *words_of(description)):
        if len(weights) == WORDS_LIMIT:
            break
        weights.setdefault(word, ELSEWHERE)
    return weights
