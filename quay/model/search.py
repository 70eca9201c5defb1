"""
Searches: repositories by their words, and people, organizations, teams and robots by the beginnings of their names.

Nobody finds what he may not see, nor how much of it there is: what he may see is a condition of the query. A search
looks at ranges of indexes and takes what comes first, up to a bound, so its cost does not grow with what there is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from itertools import islice
from math import log1p
from typing import Any, Final

import attrs
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.schema import namespace, repository, repository_word, star, team, team_member
from quay.model import activity, listing
from quay.model.listing import Listed
from quay.model.namespace import COLUMNS, Namespace
from quay.model.permission import readable
from quay.model.words import WEIGHTS, words_of

CANDIDATES: Final = 200
"""So many repositories are ranked at most; those that have a word in their names come first."""

FEW: Final = 10_000
"""Up to so many words are counted to find out which term of a query is the rarest."""

TERMS: Final = 5
"""So many different words of a query count."""

_LAST: Final = chr(0x10FFFF)


def _begins(column: sa.ColumnElement[str], prefix: str) -> sa.ColumnElement[bool]:
    """Whether a column in byte order begins with `prefix`, as a range of an index."""
    return sa.and_(column >= prefix, column < prefix + _LAST)


# --- repositories -------------------------------------------------------------------------------------------------


@attrs.frozen
class Hit:
    """A repository that was found. The score says only what goes before what."""

    listed: Listed
    popularity: int
    score: float


def repositories(txn: Transaction, viewer_id: int | None, query: str, *, offset: int = 0, limit: int) -> list[Hit]:
    """
    At most `limit` repositories after the first `offset`, the best first, that the viewer (None: nobody in particular)
    may read and that have words which begin with each of the words of `query`. No words find everything, by name.
    """
    terms = list(islice(dict.fromkeys(words_of(query)), TERMS))
    if not terms:
        found = listing.visible(txn, viewer_id, public=True, limit=offset + limit)[offset:]
        popular = activity.popularity(txn, [one.id for one in found])
        return [Hit(one, popular[one.id], 0.0) for one in found]
    names = _candidates(txn, viewer_id, sorted(terms, key=lambda term: _rarity(txn, term)))
    popular = activity.popularity(txn, names)
    stars = _stars(txn, names)
    scores = {of: _score(name, terms, popular[of], stars[of]) for of, name in names.items()}
    best = sorted(names, key=lambda of: (-scores[of], names[of]))[offset : offset + limit]
    listed = {one.id: one for one in listing.those(txn, viewer_id, best)}
    return [Hit(listed[of], popular[of], scores[of]) for of in best if of in listed]


def _candidates(txn: Transaction, viewer_id: int | None, terms: Sequence[str]) -> dict[int, str]:
    """The names of repositories that fit, by their numbers; first those that have the first term in their names."""
    found: dict[int, str] = {}
    for weight in WEIGHTS:
        found.update((row.id, row.name) for row in txn.execute(candidates_of(viewer_id, terms, weight)))
        if len(found) >= CANDIDATES:
            break
    return found


def candidates_of(viewer_id: int | None, terms: Sequence[str], weight: int) -> sa.Select[tuple[int, str]]:
    """
    Repositories with words that begin with `terms`, the first of which has this weight, in the order of the words that
    begin with it.
    """
    other = repository_word.alias("other")
    others = [
        sa.exists().where(other.c.repository_id == repository.c.id, _begins(other.c.word, term)) for term in terms[1:]
    ]
    return (
        sa.select(repository.c.id, repository.c.name)
        .join_from(repository_word, repository, repository.c.id == repository_word.c.repository_id)
        .join(namespace, namespace.c.id == repository.c.namespace_id)
        .where(repository_word.c.weight == weight, _begins(repository_word.c.word, terms[0]))
        .where(readable(viewer_id), namespace.c.enabled, *others)
        .order_by(repository_word.c.word, repository_word.c.repository_id)
        .limit(CANDIDATES)
    )


def _rarity(txn: Transaction, term: str) -> int:
    """How many words begin with `term`, if they are few."""
    weighed, named = repository_word.c.weight.in_(WEIGHTS), _begins(repository_word.c.word, term)
    some = sa.select(repository_word.c.repository_id).where(weighed, named).limit(FEW).subquery()
    return int(txn.execute(sa.select(sa.func.count()).select_from(some)).scalar_one())


def _stars(txn: Transaction, ids: Collection[int]) -> Counter[int]:
    rows: sa.Select[Any] = sa.select(star.c.repository_id, sa.func.count()).where(star.c.repository_id.in_(ids))
    counted: list[Any] = list(txn.execute(rows.group_by(star.c.repository_id)))
    return Counter({row[0]: row[1] for row in counted})


def _score(name: str, terms: Sequence[str], popularity: int, stars: int) -> float:
    """A word of the name counts twice what its beginning counts, and both more than how much is going on."""
    owner, _, path = name.partition("/")
    words, owners = set(words_of(path)), set(words_of(owner))
    matches = sum(
        4.0 if term in words else 2.0 if any(word.startswith(term) for word in words) else term in owners
        for term in terms
    )
    whole = 4.0 if set(terms) == words else 0.0
    return 10 * (matches + whole) / len(terms) + log1p(popularity) + 2 * log1p(stars)


# --- people, organizations, robots, teams -------------------------------------------------------------------------


def namespaces(
    txn: Transaction, prefix: str, *, kinds: Collection[str] = ("user", "organization"), exact: bool = False, limit: int
) -> list[Namespace]:
    """Enabled users and organizations whose names begin with `prefix`, or with `exact` are it, in order of name."""
    named = namespace.c.name == prefix if exact else _begins(namespace.c.name, prefix)
    return _namespaces(txn, sa.and_(named, namespace.c.kind.in_(kinds), namespace.c.enabled), limit)


def robots(txn: Transaction, prefix: str, owner_ids: Collection[int], *, limit: int) -> list[Namespace]:
    """Enabled robots of these owners whose names begin with `prefix`, or whose short names do, in order of name."""
    owner = namespace.alias("owner")
    short = sa.func.substr(namespace.c.name, sa.func.length(owner.c.name) + 2, len(prefix)) == prefix
    whole = sa.func.substr(namespace.c.name, 1, len(prefix)) == prefix
    fits = sa.exists().where(owner.c.id == namespace.c.owner_id, owner.c.enabled, sa.or_(short, whole))
    return _namespaces(txn, sa.and_(namespace.c.owner_id.in_(owner_ids), namespace.c.enabled, fits), limit)


def _namespaces(txn: Transaction, condition: sa.ColumnElement[bool], limit: int) -> list[Namespace]:
    rows = txn.execute(sa.select(*COLUMNS).where(condition).order_by(namespace.c.name).limit(limit))
    return [Namespace(**row._asdict()) for row in rows]


@attrs.frozen
class FoundTeam:
    """A team and its organization, by their names."""

    name: str
    organization: str


def teams(
    txn: Transaction, prefix: str, viewer_id: int, *, organization_id: int | None = None, limit: int
) -> list[FoundTeam]:
    """
    Teams whose names begin with `prefix`, in order of name: those that the viewer is in or administers; or those of
    one organization, whoever asks.
    """
    mine: sa.ColumnElement[bool] = sa.or_(
        team.c.id.in_(sa.select(team_member.c.team_id).where(team_member.c.member_id == viewer_id)),
        team.c.organization_id.in_(administered(viewer_id)),
    )
    which = mine if organization_id is None else team.c.organization_id == organization_id
    statement = (
        sa.select(team.c.name, namespace.c.name.label("organization"))
        .join_from(team, namespace, namespace.c.id == team.c.organization_id)
        .where(_begins(team.c.name, prefix), which, namespace.c.enabled)
        .order_by(team.c.name, namespace.c.name)
        .limit(limit)
    )
    return [FoundTeam(**row._asdict()) for row in txn.execute(statement)]


def administered(viewer_id: int) -> sa.Select[Any]:
    """The numbers of the organizations that the viewer administers."""
    return (
        sa.select(team.c.organization_id)
        .join(team_member, team_member.c.team_id == team.c.id)
        .where(team.c.role == "admin", team_member.c.member_id == viewer_id)
    )


def owners_for(txn: Transaction, viewer_id: int) -> list[int]:
    """Whose robots the viewer may see: his own, and those of the organizations that he administers."""
    return [viewer_id, *txn.execute(administered(viewer_id)).scalars()]


def members(txn: Transaction, organization_id: int, ids: Collection[int]) -> set[int]:
    """Those of these users and robots that are in a team of the organization, or are its robots."""
    in_teams = (
        sa.select(team_member.c.member_id)
        .join(team, team.c.id == team_member.c.team_id)
        .where(team.c.organization_id == organization_id, team_member.c.member_id.in_(ids))
    )
    its_robots = sa.select(namespace.c.id).where(namespace.c.owner_id == organization_id, namespace.c.id.in_(ids))
    return set(txn.execute(in_teams.union(its_robots)).scalars())
