"""
Every change that the API makes is on record.

The routes come from the declarations: one that changes something has a call here that succeeds, or a reason why it
leaves nothing in the audit log.
"""

import pyotp
import pytest
import sqlalchemy as sa

from quay.database.schema import audit
from quay.testdata.people import PASSWORD
from quay.web.api import routes_of
from tests.http.api.browser import Browser
from tests.http.api.client import Client
from tests.http.api.tenant import furnish

FEATURES = ("FEATURE_SIGNING", "PERMANENTLY_DELETE_TAGS", "FEATURE_USER_RENAME")

UNRECORDED = {
    "createStar": "a mark of one's own that nobody else sees",
    "deleteStar": "as createStar",
    "updateUserNotification": "whether one wants to hear of something again",
    "testRepoNotification": "the log of deliveries has it",
    "detachExternalLogin": "nobody is attached to anything, so nothing changes",
    "linkExternalUser": "there is no directory, so nothing changes",
    "verifyUser": "a right password makes one's own session fresh; a wrong one is on record",
    "beginSecondFactor": "nothing counts before confirmSecondFactor",
    "createToken": "gone, so nothing changes",
    "deleteToken": "as createToken",
    "changeToken": "as createToken",
    "putBundleVolume": "that a bundle is brought is on record, and what is loaded of it",
    "uploadArchive": "each tag is a push, and on record as one, by way of the bus",
}
"""Routes after which nothing is on record, and why."""

REPO = "/repository/victims/app"
ORG = "/organization/victims"


def calls(tenant):
    """One call of each other route that changes something, as (nickname, client, path, body), in a possible order."""
    owner, root = tenant.client, Client(tenant.client.application, "devtable")
    repo, org, own = (tenant.things[parent] for parent in ("repository", "orgname", "user"))
    manifest, app = repo["manifestref"], org["client_id"]
    robot, team = org["membername"], org["teamname"]
    deliver = {"event": "repo_push", "method": "quay_notification", "eventConfig": {}}
    to_team = {"config": {"target": {"kind": "team", "name": team}}}
    export = {"callback_url": "http://example.com/"}
    yield "createOrganizationApplication", owner, f"{ORG}/applications", {"name": "n"}
    change = {"name": "n", "redirect_uri": "", "application_uri": ""}
    yield "updateOrganizationApplication", owner, f"{ORG}/applications/{app}", change
    yield "resetOrganizationApplicationClientSecret", owner, f"{ORG}/applications/{app}/resetclientsecret", None
    token = {"name": "n", "scope": "repo:read"}
    yield "createOrganizationApplicationToken", owner, f"{ORG}/applications/{app}/tokens", token
    yield (
        "deleteOrganizationApplicationToken",
        owner,
        f"{ORG}/applications/{app}/tokens/{org['token_uuid']}",
        None,
    )
    left = owner.get("/user/authorizations").json["authorizations"][0]["uuid"]
    yield "deleteUserAuthorization", owner, f"/user/authorizations/{left}", None
    yield "deleteOrganizationApplication", owner, f"{ORG}/applications/{app}", None
    yield "createAppToken", owner, "/user/apptoken", {"title": "t"}
    yield "revokeAppToken", owner, f"/user/apptoken/{own['token_uuid']}", None
    yield (
        "createOrganizationPrototypePermission",
        owner,
        f"{ORG}/prototypes",
        {
            "role": "write",
            "delegate": {"kind": "team", "name": team},
        },
    )
    yield "updateOrganizationPrototypePermission", owner, f"{ORG}/prototypes/{org['prototypeid']}", {"role": "admin"}
    yield "deleteOrganizationPrototypePermission", owner, f"{ORG}/prototypes/{org['prototypeid']}", None
    yield "updateOrganizationTeam", owner, f"{ORG}/team/{team}", {"role": "creator"}
    yield "updateOrganizationTeamMember", owner, f"{ORG}/team/{team}/members/reader", None
    yield "deleteOrganizationTeamMember", owner, f"{ORG}/team/{team}/members/{robot}", None
    yield "removeOrganizationMember", owner, f"{ORG}/members/reader", None
    yield "changeOrganizationDetails", owner, ORG, {"email": "victims@example.com"}
    yield "exportOrgLogs", owner, f"{ORG}/exportlogs", export
    yield "exportUserLogs", owner, "/user/exportlogs", export
    yield "exportRepoLogs", owner, f"{REPO}/exportlogs", export
    labels = f"{REPO}/manifest/{manifest}/labels"
    yield "addManifestLabel", owner, labels, {"key": "some", "value": "v"}
    yield "deleteManifestLabel", owner, f"{labels}/{repo['labelid']}", None
    yield "changeTag", owner, f"{REPO}/tag/other", {"manifest_digest": manifest}
    yield "deleteFullTag", owner, f"{REPO}/tag/other", None
    yield "restoreTag", owner, f"{REPO}/tag/other/restore", {"manifest_digest": manifest}
    yield "removeTagFromTimemachine", owner, f"{REPO}/tag/other/expire", {"manifest_digest": manifest, "is_alive": True}
    yield "createRepoNotification", owner, f"{REPO}/notification/", deliver | to_team
    yield "resetRepositoryNotificationFailures", owner, f"{REPO}/notification/{repo['uuid']}", None
    yield "deleteRepoNotification", owner, f"{REPO}/notification/{repo['uuid']}", None
    yield "changeUserPermissions", owner, f"{REPO}/permissions/user/reader", {"role": "read"}
    yield "deleteUserPermissions", owner, f"{REPO}/permissions/user/reader", None
    yield "changeTeamPermissions", owner, f"{REPO}/permissions/team/{team}", {"role": "write"}
    yield "deleteTeamPermissions", owner, f"{REPO}/permissions/team/{team}", None
    yield "createRepo", owner, "/repository", {"repository": "made", "visibility": "private", "description": ""}
    yield "updateRepo", owner, REPO, {"description": "said"}
    yield "changeRepoVisibility", owner, f"{REPO}/changevisibility", {"visibility": "public"}
    yield "changeRepoTrust", owner, f"{REPO}/changetrust", {"trust_enabled": True}
    yield "changeRepoState", owner, f"{REPO}/changestate", {"state": "READ_ONLY"}
    yield "renameRepo", owner, f"{REPO}/rename", {"name": "renamed"}
    yield "deleteRepository", owner, "/repository/victims/renamed", None
    for kind, where, short in (("User", "/user", own["robot_shortname"]), ("Org", ORG, org["robot_shortname"])):
        yield f"create{kind}Robot", owner, f"{where}/robots/another", {}
        yield f"regenerate{kind}RobotToken", owner, f"{where}/robots/{short}/regenerate", None
        yield f"delete{kind}Robot", owner, f"{where}/robots/{short}", None
    yield "createOrganization", owner, "/organization/", {"name": "another"}
    yield "deleteOrganizationTeam", owner, f"{ORG}/team/{team}", None
    yield "deleteAdminedOrganization", owner, ORG, None
    yield (
        "createGlobalMessage",
        root,
        "/messages",
        {"message": {"content": "c", "media_type": "text/plain", "severity": "info"}},
    )
    message = root.get("/messages").json["messages"][0]["uuid"]
    yield "deleteGlobalMessage", root, f"/message/{message}", None
    yield "createJob", root, "/superuser/jobs/", {"kind": "fsck"}
    job = root.get("/superuser/jobs/").json["jobs"][0]["uuid"]
    yield "cancelJob", root, f"/superuser/jobs/{job}", None
    yield "makeBundle", root, "/superuser/bundles/", {"choices": "victims/app"}
    yield "receiveBundle", root, "/superuser/bundles/incoming", None
    kept = root.get("/superuser/bundles/").json
    yield "deleteBundle", root, f"/superuser/bundles/{kept['bundles'][0]['uuid']}", None
    yield "trustBundleKey", root, "/superuser/bundles/keys", {"name": "far", "pem": kept["pem"]}
    yield "distrustBundleKey", root, "/superuser/bundles/keys/far", None
    yield "importRegistry", root, "/superuser/imports/", {"registry": "registry.example.com"}
    yield "createServiceKey", root, "/superuser/keys", {"service": "other", "expiration": None}
    kid = next(key["kid"] for key in root.get("/superuser/keys").json["keys"] if key["service"] == "other")
    yield "updateServiceKey", root, f"/superuser/keys/{kid}", {"name": "n"}
    yield "deleteServiceKey", root, f"/superuser/keys/{kid}", None
    yield "createInstallUser", root, "/superuser/users/", {"username": "guest"}
    yield "changeInstallUser", root, "/superuser/users/guest", {"enabled": False}
    yield "deleteInstallUser", root, "/superuser/users/guest", None
    yield "changeOrganization", root, "/superuser/organizations/another", {"name": "called"}
    yield "takeOwnership", root, "/superuser/takeownership/called", None
    yield "deleteOrganization", root, "/superuser/organizations/called", None
    newcomer = {"username": "newcomer", "password": PASSWORD}
    yield "createNewUser", Client(tenant.client.application), "/user/", newcomer
    yield from _in_person(tenant)
    leaver = Client(tenant.client.application, ("newcomer", PASSWORD))
    converted = {"adminUser": "creator", "adminPassword": PASSWORD}
    yield "convertUserToOrganization", leaver, "/user/convert", converted
    yield "changeUserDetails", owner, "/user/", {"company": "c"}
    yield "deleteCurrentUser", Client(tenant.client.application, "freshuser"), "/user/", None


def _in_person(tenant):
    """What somebody does about his own sessions, and his second factor."""
    browser = Browser(tenant.client.application)
    yield "signinUser", browser, "/signin", {"username": "reader", "password": PASSWORD}
    reader = Client(tenant.client.application, "reader")
    Browser(tenant.client.application).sign_in("reader")
    other = next(one["uuid"] for one in browser.get("/user/sessions").json["sessions"] if not one["current"])
    yield "deleteUserSession", browser, f"/user/sessions/{other}", None
    Browser(tenant.client.application).sign_in("reader")
    yield "deleteUserSessions", browser, "/user/sessions", None
    secret = browser.post("/user/totp", {"password": PASSWORD}).json["secret"]
    code = pyotp.TOTP(secret).at(int(tenant.client.application.clock.seconds()))
    yield "confirmSecondFactor", browser, "/user/totp/confirm", {"code": code}
    yield "renewRecoveryCodes", browser, "/user/totp/recovery", None
    yield "removeSecondFactor", browser, "/user/totp", None
    yield "logout", browser, "/signout", None
    assert reader.get("/user/").status == 200


MADE_ELSEWHERE = {
    "initializeUser": "test_signup.py: it works in an empty registry only",
    "approveServiceKey": "test_service_key.py: every key that is made here is approved already",
    "loadBundle": "test_bundle.py: there have to be volumes",
    "putBundleReceipt": "test_bundle.py: there has to be a receipt",
    "deleteBundleReceipt": "as putBundleReceipt",
}
"""Routes that have their entry, and a test elsewhere that sees it."""


@pytest.fixture
def application(make_application):
    return make_application(**dict.fromkeys(FEATURES, True))


def entries(application):
    return application.read(lambda txn: txn.execute(sa.select(sa.func.count()).select_from(audit)).scalar_one())


def test_every_change_is_on_record(application):
    """After each call that changes something, the audit log has an entry more."""
    tenant = furnish(application, "creator", "victims")
    by_nickname = {route.nickname: route for route in routes_of(application.config)}
    silent, called = [], set()
    for nickname, client, path, body in calls(tenant):
        before = entries(application)
        answer = client.call(by_nickname[nickname].method, path, body)
        assert answer.status in (200, 201, 204), (nickname, answer)
        called.add(nickname)
        if entries(application) <= before:
            silent.append(nickname)
    assert not silent
    changing = {route.nickname for route in by_nickname.values() if route.changes}
    assert called == changing - UNRECORDED.keys() - MADE_ELSEWHERE.keys()
