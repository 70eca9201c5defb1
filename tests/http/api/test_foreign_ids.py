"""
What belongs to somebody is found through him only: every id in the API, under the parent of somebody else.

The routes come from the declarations, so that a new parameter without an entry here fails.
"""

from itertools import combinations

import attrs
import pytest

from quay.database.schema import metadata
from quay.model import log_export
from quay.model.logs import Selection
from quay.web.api import routes_of
from tests.http.api.client import Client
from tests.http.api.tenant import furnish

FEATURES = ("FEATURE_SIGNING", "PERMANENTLY_DELETE_TAGS")

GLOBAL = {
    "client_id": "getApplicationInformation: whoever is asked for his consent is told who asks",
    "error_type": "getErrorDescription: the types of errors",
    "prefix": "getMatchingEntities: a word that is looked for",
    "username": "getUserInformation, linkExternalUser: users are known to everybody by name",
    "service_id": "detachExternalLogin: there are no external services",
}
"""Parameters of routes without a parent that name nobody's things; all others need a superuser."""

BODIES = {
    "updateOrganizationApplication": {"name": "n", "redirect_uri": "", "application_uri": ""},
    "createOrganizationApplicationToken": {"name": "n", "scope": "repo:read"},
    "updateUserNotification": {"dismissed": True},
    "addManifestLabel": {"key": "some", "value": "v"},
    "changeUserPermissions": {"role": "admin"},
    "changeTeamPermissions": {"role": "admin"},
    "updateOrganizationPrototypePermission": {"role": "admin"},
    "updateOrganizationTeam": {"role": "admin"},
}

BY_NAME = {
    "createUserRobot": "a robot of one's own is made, of the same short name",
    "createOrgRobot": "as createUserRobot",
    "updateOrganizationTeam": "a team of one's own is made, of the same name",
    "changeUserPermissions": "anybody can be given a role on one's own repository",
}
"""Routes that make something under the name; what the other one has must stay as it was."""

NOTHING = {"getUserTransitivePermission": {"permissions": []}}
"""Routes that answer that there is nothing."""

COUNTS = "activity"
"""The table with how much goes on in a repository each day: of one's own, it counts on."""


@pytest.fixture(scope="module")
def application(sqlite_template, tmp_path_factory):
    from tests.http.application import Application

    everything = dict.fromkeys(FEATURES, True)
    made = Application(tmp_path_factory.mktemp("application"), sqlite_template, **everything).start().populate()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def tenants(application):
    """Somebody whose things are wanted, and somebody who administers as much, and wants them."""
    return furnish(application, "creator", "victims"), furnish(application, "reader", "attackers")


def parent_of(route):
    if "repository" in route.need.takes or "orgname" in route.need.takes:
        return "repository" if "repository" in route.need.takes else "orgname"
    return "user" if route.path.startswith("/user/") else None


def below(route):
    return [name for name in route.parameters if name != parent_of(route)]


def rows(application):
    """Everything that is written, by table."""
    return application.read(
        lambda txn: {table.name: {repr(row) for row in txn.execute(table.select())} for table in metadata.sorted_tables}
    )


def test_no_thing_has_another_parent(application, tenants):
    """
    Whatever belongs to somebody else is 404, or 400, under one's own repository, organization or account, alone and
    together with things of one's own; and nothing that was there has changed.
    """
    wrong, tried = [], 0
    victim, attacker = tenants
    for route in sorted(routes_of(application.config), key=lambda route: route.nickname in BY_NAME):
        parent, names = parent_of(route), below(route)
        if parent is None or not names or route.nickname == "deleteStar":  # a star is a mark of one's own
            continue
        theirs, own = victim.things[parent], attacker.things[parent]
        for foreign in (some for size in range(len(names)) for some in combinations(names, size + 1)):
            path = route.template.removeprefix("/api/v1")
            path = path.replace("{repository}", attacker.repository).replace("{orgname}", attacker.org)
            for name in names:
                path = path.replace(f"{{{name}}}", (theirs if name in foreign else own)[name])
            before = rows(application)
            body = BODIES.get(route.nickname, _body(route, theirs))
            answer = attacker.client.call(route.method, path, body)
            after = rows(application)
            tried += 1
            if route.nickname in BY_NAME:
                kept = all(before[table] <= after[table] for table in before if table != COUNTS)
                fits = answer.status in (200, 201) and kept
            elif route.nickname in NOTHING:
                fits = answer.json == NOTHING[route.nickname] and before == after
            else:
                fits = answer.status in (400, 404, 410) and before == after
            if not fits:
                wrong.append((route.nickname, foreign, answer.status, answer.body))
    assert not wrong, "\n".join(map(str, wrong))
    assert tried > 60


def _body(route, theirs):
    """What the tags are to be set to: the manifest of the other one."""
    if route.body is None:
        return None
    return {"manifest_digest": theirs["manifestref"]} if "manifest_digest" in route.body.schema["properties"] else {}


def test_the_same_things_are_there_for_their_owner(application, tenants):
    """What is not found for another one is found by whom it belongs to: the test before asks for what there is."""
    for tenant in tenants:
        for route in routes_of(application.config):
            parent, names = parent_of(route), below(route)
            if route.method != "GET" or parent is None or not names or route.takes or route.gives:
                continue
            path = route.template.removeprefix("/api/v1")
            path = path.replace("{repository}", tenant.repository).replace("{orgname}", tenant.org)
            for name in names:
                path = path.replace(f"{{{name}}}", tenant.things[parent][name])
            assert tenant.client.get(path).status == (410 if "/tokens/x" in path else 200), path


def test_what_has_no_parent_is_for_superusers(application, tenants):
    """An id without a parent names something of the whole installation, which only superusers reach."""
    _, attacker = tenants
    for route in routes_of(application.config):
        if parent_of(route) is None and below(route) and not set(below(route)) <= GLOBAL.keys():
            path = route.template.removeprefix("/api/v1")
            for name in below(route):
                path = path.replace(f"{{{name}}}", "x")
            assert attacker.client.call(route.method, path).status == 403, route.nickname


def test_an_export_is_no_other(application, tenants):
    """The secret of one export of the log opens no other."""
    exports = []
    for _ in range(2):
        selection = attrs.evolve(Selection(), start_ms=0, end_ms=1)
        exports.append(application.write(log_export.create, selection, "reader"))
    (first, secret), (second, _) = exports
    assert application.request("GET", f"/exportedlogs/{second.uuid}?token={secret}").status == 404
    assert application.request("GET", f"/exportedlogs/{first.uuid}?token=").status == 404


def test_a_session_ends_for_its_user_only(application, tenants):
    """Somebody else's session is not ended by its uuid, nor by ending all of one's own."""
    victim, attacker = tenants
    assert attacker.client.delete("/user/sessions").status == 204
    sessions = victim.client.get("/user/sessions").json["sessions"]
    assert [one["uuid"] for one in sessions] == [victim.things["user"]["session_uuid"]]
    assert Client(application).get("/user/sessions").status == 401
