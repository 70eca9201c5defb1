"""
Who may call what: every route of the API, for every kind of principal, by one table.

The levels are written by hand, from Quay's permission column; the routes come from the declarations, so that a route
without a row fails. Handlers are replaced: what is proved here is who reaches them, with the body that nobody wrote: so
authorization comes before validation.
"""

import attrs
import pytest

from quay.model import credential, namespace, permission, repository, session, team
from quay.model.permission import Role
from quay.oci.reference import RepositoryName
from quay.testdata.people import APP_TOKEN, PASSWORD, robot_token
from quay.web.api import RestAPI, errors, routes_of
from quay.web.api.errors import ApiError
from quay.web.site import TRANSLATIONS
from tests.http.application import basic

REACHED = 418


class Reached(ApiError):
    """The handler would have been called."""

    error_type, status = "reached", REACHED


async def reached(call, **arguments):
    raise Reached("The handler was reached.")


FEATURES = ("FEATURE_SIGNING", "FEATURE_USER_INITIALIZE", "PERMANENTLY_DELETE_TAGS")
"""Off by default: with them, every route is there."""

PATHS = {"repository": "devtable/shared", "orgname": "buynlarge", "username": "reader", "teamname": "readers"}
"""What stands in the path; every other parameter is `x`."""

# a: may call it. Else 401 for nobody and for wrong credentials, 403 for everybody else.
COLUMNS = "any read write admin uread uadmin member creator orgadmin team super some create"
PRINCIPALS = {
    #                        any read write admin uread uadmin member creator orgadmin team super some create
    "anonymous":            "a   -    -     -     -     -      -      -       -        -    -     -    -",
    "wrong token":          "-   -    -     -     -     -      -      -       -        -    -     -    -",
    "disabled":             "-   -    -     -     -     -      -      -       -        -    -     -    -",
    "disabled+robot":       "-   -    -     -     -     -      -      -       -        -    -     -    -",
    "freshuser":            "a   -    -     -     a     a      -      -       -        -    -     a    a",
    "reader":               "a   a    -     -     a     a      a      -       -        a    -     a    a",
    "writer":               "a   a    a     -     a     a      -      -       -        -    -     a    a",
    "creator":              "a   -    -     -     a     a      a      a       -        -    -     a    a",
    "orgowner":             "a   -    -     -     a     a      a      a       a        a    -     a    a",
    "devtable":             "a   a    a     a     a     a      a      a       a        a    a     a    a",
    "session":              "a   a    a     a     a     a      a      a       a        a    a     a    a",
    "root":                 "a   -    -     -     a     a      -      -       -        a    a     a    a",
    "sellnsmall+stranger":  "a   -    -     -     -     -      -      -       -        -    -     a    a",
    "buynlarge+coolrobot":  "a   -    -     -     -     -      a      -       -        -    -     a    a",
    "devtable+writing":     "a   a    a     -     -     -      -      -       -        -    -     a    a",
    "$app":                 "a   a    a     a     a     -      a      a       -        -    -     a    a",
    "repo:read":            "a   a    -     -     -     -      -      -       -        -    -     a    -",
    "repo:write":           "a   a    a     -     -     -      -      -       -        -    -     a    -",
    "repo:admin":           "a   a    a     a     -     -      -      a       -        -    -     a    a",
    "repo:create":          "a   -    -     -     -     -      -      a       -        -    -     a    a",
    "user:read":            "a   -    -     -     a     -      a      -       -        -    -     a    -",
    "user:admin":           "a   -    -     -     a     a      a      -       -        -    -     a    -",
    "org:admin":            "a   -    -     -     -     -      a      a       a        a    -     a    -",
    "super:user":           "a   -    -     -     -     -      -      -       -        a    a     a    -",
}  # fmt: skip

LEVELS = """
any: getErrorDescription getApplicationInformation discovery discoveryOpenapi getRegistryCapabilities
    getGlobalMessages createRepo listRepos conductRepoSearch conductSearch getMatchingEntities linkExternalUser
    signinUser logout createNewUser initializeUser scRegistryStatus getUserInformation getLoggedInUser
    getOrganization
read: getRepo listRepoTags getRepoManifest listManifestLabels getManifestLabel listManifestReferrers getArchive
    getTagPullStatistics getManifestPullStatistics
write: updateRepo changeTag deleteFullTag restoreTag removeTagFromTimemachine addManifestLabel deleteManifestLabel
    uploadArchive
admin: changeRepoVisibility changeRepoTrust changeRepoState renameRepo deleteRepository listRepoLogs
    getAggregateRepoLogs exportRepoLogs createRepoNotification listRepoNotifications getRepoNotification
    deleteRepoNotification resetRepositoryNotificationFailures testRepoNotification listRepoNotificationDeliveries
    listRepoUserPermissions getUserTransitivePermission getUserPermissions changeUserPermissions
    deleteUserPermissions listRepoTeamPermissions getTeamPermissions changeTeamPermissions deleteTeamPermissions
    createToken listRepoTokens deleteToken changeToken getTokens
uadmin: listUserAuthorizations getUserAuthorization deleteUserAuthorization listAppTokens createAppToken getAppToken
    revokeAppToken listUserNotifications getUserNotification updateUserNotification listUserLogs
    getAggregateUserLogs exportUserLogs createOrganization getUserRobots getUserRobot createUserRobot
    deleteUserRobot regenerateUserRobotToken getUserRobotPermissions getSecondFactor beginSecondFactor
    confirmSecondFactor renewRecoveryCodes removeSecondFactor listUserSessions deleteUserSessions deleteUserSession
    verifyUser listStarredRepos createStar deleteStar changeUserDetails deleteCurrentUser convertUserToOrganization
    detachExternalLogin
member: getOrgRobots
orgadmin: getOrganizationApplications createOrganizationApplication getOrganizationApplication
    updateOrganizationApplication deleteOrganizationApplication resetOrganizationApplicationClientSecret
    listOrganizationApplicationTokens createOrganizationApplicationToken deleteOrganizationApplicationToken
    listOrgLogs getAggregateOrgLogs exportOrgLogs changeOrganizationDetails deleteAdminedOrganization
    getOrganizationCollaborators getOrganizationMembers getOrganizationMember removeOrganizationMember
    getOrganizationPrototypePermissions createOrganizationPrototypePermission updateOrganizationPrototypePermission
    deleteOrganizationPrototypePermission getOrgRobot createOrgRobot deleteOrgRobot regenerateOrgRobotToken
    getOrgRobotPermissions updateOrganizationTeam deleteOrganizationTeam getOrganizationTeamPermissions
    updateOrganizationTeamMember deleteOrganizationTeamMember
team: getOrganizationTeamMembers
super: listAllAppTokens listAllLogs listAllAggregateLogs createGlobalMessage deleteGlobalMessage listServiceKeys
    createServiceKey getServiceKey updateServiceKey deleteServiceKey approveServiceKey listAllUsers
    createInstallUser getInstallUser changeInstallUser deleteInstallUser listAllOrganizations changeOrganization
    deleteOrganization takeOwnership listJobs createJob getJob cancelJob getInstallationHealth getCertificate
    getStorageUse listBundles planBundle makeBundle receiveBundle putBundleVolume getBundleVolume loadBundle
    deleteBundle getBundleReceipt putBundleReceipt deleteBundleReceipt trustBundleKey distrustBundleKey importRegistry
"""
LEVEL = {
    nickname: level
    for level, names in (line.split(":") for line in LEVELS.replace("\n    ", " ").strip().splitlines())
    for nickname in names.split()
}


@pytest.fixture(scope="module")
def application(sqlite_template, tmp_path_factory):
    """A server with people and empty repositories, whose API ends before its handlers."""
    from tests.http.application import Application

    everything = dict.fromkeys(FEATURES, True)
    made = Application(tmp_path_factory.mktemp("application"), sqlite_template, **everything).start().populate()
    rest = made.site.resource.children[b"api"]
    routes = [attrs.evolve(route, handler=reached) for route in routes_of(made.config)]
    ended = RestAPI(rest._means, rest._identifier, {**TRANSLATIONS, **errors.TRANSLATIONS}, routes)
    made.site.resource.putChild(b"api", ended)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def headers(application):
    """The headers of every principal."""
    return application.write(_principals, application.site.resource.children[b"api"]._means.sessions)


def _principals(txn, sessions):
    devtable = namespace.find(txn, "devtable")
    known = namespace.password_hash(txn, devtable.id)
    shared = repository.find(txn, RepositoryName("devtable", "shared")).id
    made = {name: namespace.create_user(txn, name, password_hash=known, time_machine_s=0) for name in NEW_USERS}
    root = namespace.create_user(txn, "root", password_hash=known, superuser=True, time_machine_s=0)
    permission.grant(txn, shared, grantee_id=made["writer"].id, role=Role.WRITE)
    organization = namespace.find(txn, "buynlarge").id
    team.add_member(txn, team.find(txn, organization, "owners").id, made["orgowner"].id)
    people = ("freshuser", "reader", "creator", "devtable", "disabled", root.name, *NEW_USERS)
    found = {name: {"Authorization": basic(name, PASSWORD)} for name in people}
    found |= {"anonymous": {}, "wrong token": {"Authorization": "Bearer WRONG"}}
    found["buynlarge+coolrobot"] = {"Authorization": basic("buynlarge+coolrobot", robot_token("buynlarge+coolrobot"))}
    for name in ("sellnsmall+stranger", "disabled+robot", "devtable+writing"):
        owner, _, short = name.partition("+")
        robot = namespace.create_robot(txn, namespace.find(txn, owner).id, short)
        found[name] = {"Authorization": f"Bearer {credential.replace_robot_token(txn, robot.id)}"}
    permission.grant(txn, shared, grantee_id=robot.id, role=Role.WRITE)
    found["$app"] = {"Authorization": basic("$app", APP_TOKEN)}
    for scope in (name for name in PRINCIPALS if ":" in name):
        found[scope] = {"Authorization": f"Bearer {credential.create(txn, devtable.id, 'oauth', scope=scope)[1]}"}
    begun, secret = session.begin(txn, devtable.id, ip="", user_agent="", lifetime_s=3600)
    found["session"] = {"Cookie": f"session={secret}", "X-CSRF-Token": sessions.csrf_token(begun)}
    return found


NEW_USERS = ("writer", "orgowner")


def all_routes(application):
    return list(routes_of(application.config))


def test_every_route_has_a_row(application):
    """A route that the table does not know fails it, and so does a row of the table that no route needs."""
    assert {route.nickname for route in all_routes(application)} == set(LEVEL)


def test_nicknames_are_unique(application):
    """A nickname is the name of one operation."""
    names = [route.nickname for route in all_routes(application)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("who", PRINCIPALS)
def test_who_reaches_what(application, headers, who):
    """Whoever has the right reaches the handler or a complaint about the body; nobody else gets so far."""
    columns = dict(zip(COLUMNS.split(), PRINCIPALS[who].split(), strict=True))
    refused = 401 if who in ("anonymous", "wrong token", "disabled", "disabled+robot") else 403
    wrong = []
    for route in all_routes(application):
        path = route.template
        for name in route.parameters:
            path = path.replace(f"{{{name}}}", PATHS.get(name, "x"))
        answer = application.request(route.method, path, headers[who])
        allowed = columns[LEVEL[route.nickname]] == "a"
        if (answer.status in (REACHED, 400)) != allowed or (not allowed and answer.status != refused):
            wrong.append((route.nickname, answer.status, answer.body))
    assert not wrong


def test_a_change_with_a_cookie_needs_the_csrf_token(application, headers):
    """A session without its CSRF token reads, and changes nothing."""
    cookie = {"Cookie": headers["session"]["Cookie"]}
    for route in all_routes(application):
        path = route.template
        for name in route.parameters:
            path = path.replace(f"{{{name}}}", PATHS.get(name, "x"))
        for token in ({}, {"X-CSRF-Token": "0" * 64}):
            answer = application.request(route.method, path, cookie | token)
            if route.changes:
                assert (answer.status, answer.json["detail"]) == (403, "CSRF token was invalid or missing.")
            else:
                assert answer.status in (REACHED, 400)
