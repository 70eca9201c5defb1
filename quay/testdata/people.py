"""
Who is in the test data, and what they have: users, organizations with teams, robots, tokens and empty repositories.

The names, passwords and tokens are those of Quay's own test data, because its permission matrices speak of them; the
tokens of robots follow from their names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

import attrs

from quay.database import Transaction
from quay.model import credential, namespace, permission, repository, team
from quay.model.namespace import Namespace
from quay.model.permission import Role
from quay.model.repository import Kind
from quay.oci.errors import Denied
from quay.oci.reference import RepositoryName

PASSWORD: Final = "password"  # noqa: S105  # it opens nothing but test data
OAUTH_TOKEN: Final = "b" * 40 + "c" * 40
APP_TOKEN: Final = "a" * 60 + "b" * 60

ADMINISTRATOR: Final = "devtable"
USERS: Final = (ADMINISTRATOR, "public", "reader", "creator", "freshuser", "disabled")
ORGANIZATIONS: Final = ("buynlarge", "library", "sellnsmall", "titi")
ROBOTS: Final = (
    ("devtable", "dtrobot"),
    ("devtable", "dtrobot2"),
    ("buynlarge", "ownerbot"),
    ("buynlarge", "coolrobot"),
)
MIRROR_ROBOT: Final = "devtable+dtrobot"


@attrs.frozen
class Place:
    """A repository, and who has which role on it beside its owner."""

    name: str
    description: str
    public: bool = False
    kind: Kind = "image"
    grants: Mapping[str, Role] = attrs.field(factory=dict)

    @property
    def parsed(self) -> RepositoryName:
        return RepositoryName.parse(self.name)


REPOSITORIES: Final = (
    Place("devtable/simple", "Simple repository."),
    Place("devtable/shared", "Shared repository.", grants={"reader": Role.READ}),
    Place("devtable/complex", "A repository with images for several platforms, and what refers to them."),
    Place("devtable/gargantuan", "More tags than one page has."),
    Place("devtable/building", "A repository that builds fill."),
    Place("devtable/readonly", "A repository to which nobody may push."),
    Place(
        "devtable/mirrored",
        "A repository that mirrors another one.",
        grants={"devtable+dtrobot": Role.WRITE, "devtable+dtrobot2": Role.WRITE},
    ),
    Place("devtable/trusted", "A repository with signed tags."),
    Place("devtable/someapp", "An application.", kind="application"),
    Place("public/publicrepo", "A repository that everybody may pull from.", public=True),
    Place("buynlarge/orgrepo", "A repository of an organization."),
    Place("buynlarge/anotherorgrepo", "A repository of an organization that its readers cannot see."),
)


class DataRefused(Denied):
    """The database belongs to somebody: it gets no test data."""


def robot_token(name: str) -> str:
    """The token of the test robot `name`: as long as a real one, and no secret."""
    return hashlib.sha256(f"test data of {name}".encode()).hexdigest().upper()


def populate(txn: Transaction, password_hash: str, time_machine_s: int) -> bool:
    """
    Make everybody and everything; False if they are all there already. Raises `DataRefused` for a database that other
    users live in.
    """
    if all(namespace.find(txn, name) for name in USERS):
        return False
    if namespace.any_user(txn):
        raise DataRefused(
            "The database has users already, so it gets no test data: whoever knows Quay knows the password of a "
            "superuser then. Give the test data a database of its own, with DB_URI or QUAY_DATA."
        )
    made = _users(txn, password_hash, time_machine_s)
    made |= _organizations(txn, made, time_machine_s)
    made |= _robots(txn, made)
    for place in REPOSITORIES:
        _repository(txn, made, place)
    _teams(txn, made)
    _tokens(txn, made[ADMINISTRATOR])
    namespace.set_enabled(txn, made["disabled"].id, False)
    return True


def settle(txn: Transaction) -> None:
    """Give the repositories the states in which they take no more pushes."""
    by_name = {path: repository.find(txn, RepositoryName(ADMINISTRATOR, path)) for path in _SETTLED}
    robot = namespace.find(txn, MIRROR_ROBOT)
    read_only, mirrored, trusted = (by_name[path] for path in _SETTLED)
    if read_only is not None:
        repository.set_state(txn, read_only.id, "read_only")
    if mirrored is not None and robot is not None:
        repository.set_mirror(txn, mirrored.id, robot.id)
    if trusted is not None:
        repository.set_trust(txn, trusted.id, True)


_SETTLED: Final = ("readonly", "mirrored", "trusted")

Made = dict[str, Namespace]


def _users(txn: Transaction, password_hash: str, time_machine_s: int) -> Made:
    return {
        name: namespace.create_user(
            txn,
            name,
            email=f"{name}@example.com",
            password_hash=password_hash,
            superuser=name == ADMINISTRATOR,
            time_machine_s=time_machine_s,
        )
        for name in USERS
    }


def _organizations(txn: Transaction, made: Made, time_machine_s: int) -> Made:
    owner = made[ADMINISTRATOR].id
    return {
        name: namespace.create_organization(
            txn, name, owner_id=owner, email=f"{name}@example.com", time_machine_s=time_machine_s
        )
        for name in ORGANIZATIONS
    }


def _robots(txn: Transaction, made: Made) -> Made:
    robots = [namespace.create_robot(txn, made[owner].id, short) for owner, short in ROBOTS]
    for robot in robots:
        credential.replace_robot_token(txn, robot.id, robot_token(robot.name))
    return {robot.name: robot for robot in robots}


def _repository(txn: Transaction, made: Made, place: Place) -> None:
    owner = made[place.parsed.namespace]
    found = repository.create(
        txn,
        place.parsed,
        namespace_id=owner.id,
        creator_id=None,
        public=place.public,
        description=place.description,
        kind=place.kind,
    )
    for name, role in place.grants.items():
        permission.grant(txn, found.id, grantee_id=made[name].id, role=role)


def _teams(txn: Transaction, made: Made) -> None:
    """The teams of buynlarge, beside its owners."""
    organization = made["buynlarge"].id
    readers = team.create(txn, organization, "readers", "member")
    creators = team.create(txn, organization, "creators", "creator")
    team.add_member(txn, readers, made["reader"].id)
    team.add_member(txn, creators, made["creator"].id)
    found = repository.find(txn, RepositoryName("buynlarge", "orgrepo"))
    assert found is not None, "it was made in this transaction"
    permission.grant(txn, found.id, team_id=readers, role=Role.READ)


def _tokens(txn: Transaction, holder: Namespace) -> None:
    credential.create(txn, holder.id, "oauth", title="Some Test App", secret=OAUTH_TOKEN, scope="repo:admin")
    credential.create(txn, holder.id, "app", title="some app", secret=APP_TOKEN)
