"""
A client that was made for Quay drives the API unchanged: `quayio-sdk` from PyPI, which swagger-codegen made from the
discovery document of quay.io. It knows Quay's addresses, nicknames, parameters and bodies, and nothing of this one.
"""

import json
from http.client import HTTPConnection

import pytest
import quayio_sdk as sdk
from quayio_sdk.rest import ApiException

from tests.distribution import Client, Image, digest_of
from tests.server import RunningQuay

ADMIN = "ada"
PASSWORD = "password123"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """An empty registry whose first user is made over the API."""
    with RunningQuay(tmp_path_factory.mktemp("quay"), {"QUAY_FEATURE_USER_INITIALIZE": "true"}) as running:
        yield running


@pytest.fixture(scope="module")
def token(server):
    """The access token that comes with the first user, as Quay's installers ask for it."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
    wanted = {"username": ADMIN, "password": PASSWORD, "email": "ada@example.org", "access_token": True}
    connection.request("POST", "/api/v1/user/initialize", json.dumps(wanted), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    body = json.loads(answer.read())
    assert answer.status == 200, body
    connection.close()
    return body["access_token"]


class Quay:
    """The generated client: `quay.tag.list_repo_tags(…)` gives the JSON of the answer."""

    def __init__(self, server, token):
        configuration = sdk.Configuration()
        configuration.host = server.url
        configuration.access_token = token
        self._client = sdk.ApiClient(configuration)
        # Quay's document does not say of every operation that a token may come along, so the client leaves it out.
        self._client.set_default_header("Authorization", f"Bearer {token}")

    def __getattr__(self, noun):
        return _Noun(getattr(sdk, f"{noun.capitalize()}Api")(self._client))


class _Noun:
    def __init__(self, api):
        self._api = api

    def __getattr__(self, nickname):
        call = getattr(self._api, nickname)

        def answer(*arguments, **options):
            data = call(*arguments, _preload_content=False, **options).data
            return json.loads(data) if data else None

        return answer


@pytest.fixture(scope="module")
def quay(server, token):
    return Quay(server, token)


def refused(call, *arguments, **options):
    """The status with which the call is refused."""
    with pytest.raises(ApiException) as caught:
        call(*arguments, **options)
    return caught.value.status


def test_an_organization_from_nothing(server, quay):
    """An organization with a team, a member, a robot, a default permission and an application, and all of it gone."""
    assert quay.organization.create_organization({"name": "acme", "email": "acme@example.org"}) == "Created"
    found = quay.organization.get_organization("acme")
    assert (found["name"], found["is_admin"], set(found["teams"])) == ("acme", True, {"owners"})

    server.add_user("bob")
    made = quay.team.update_organization_team("acme", "devs", {"role": "creator", "description": "Developers"})
    assert (made["role"], made["new_team"]) == ("creator", True)
    assert quay.team.update_organization_team_member("bob", "acme", "devs")["kind"] == "user"
    members = quay.team.get_organization_team_members("acme", "devs")["members"]
    assert [member["name"] for member in members] == ["bob"]
    assert "bob" in [member["name"] for member in quay.organization.get_organization_members("acme")["members"]]

    robot = quay.robot.create_org_robot("ci", "acme", {"description": "Builds"})
    assert robot["name"] == "acme+ci" and len(robot["token"]) == 64
    assert quay.robot.get_org_robots("acme")["robots"][0]["name"] == "acme+ci"
    assert quay.robot.regenerate_org_robot_token("ci", "acme")["token"] != robot["token"]

    delegate = {"name": "devs", "kind": "team"}
    prototype = quay.prototype.create_organization_prototype_permission("acme", {"role": "write", "delegate": delegate})
    changed = quay.prototype.update_organization_prototype_permission("acme", prototype["id"], {"role": "read"})
    assert (changed["role"], changed["delegate"]["name"]) == ("read", "devs")

    application = quay.organization.create_organization_application("acme", {"name": "Deployer"})
    client_id = application["client_id"]
    assert quay.organization.get_application_information(client_id)["name"] == "Deployer"
    quay.organization.delete_organization_application(client_id, "acme")

    quay.prototype.delete_organization_prototype_permission("acme", prototype["id"])
    quay.team.delete_organization_team_member("bob", "acme", "devs")
    quay.team.delete_organization_team("acme", "devs")
    quay.robot.delete_org_robot("ci", "acme")
    quay.organization.delete_admined_organization("acme")
    assert refused(quay.organization.get_organization, "acme") == 404


def test_a_repository_and_its_tags(server, quay):
    """A repository is made, pushed to, tagged, labelled, told about, found, restored from the time machine, deleted."""
    made = quay.repository.create_repo({"repository": "app", "visibility": "private", "description": "An *app*"})
    assert made == {"namespace": ADMIN, "name": "app", "kind": "image"}
    name = f"{ADMIN}/app"
    pushed = Image.made("an app")
    Client(server.host, ADMIN).push(name, "v1", pushed)
    first, second = digest_of(pushed.manifest), digest_of(pushed.moved)

    tags = quay.tag.list_repo_tags(name, only_active_tags=True)["tags"]
    assert [(tag["name"], tag["manifest_digest"]) for tag in tags] == [("v1", second)]
    assert quay.tag.change_tag(name, "stable", {"manifest_digest": second}) == "Updated"
    quay.tag.restore_tag(name, "v1", {"manifest_digest": first})
    assert (
        quay.tag.list_repo_tags(name, specific_tag="v1", only_active_tags=True)["tags"][0]["manifest_digest"] == first
    )
    assert len(quay.tag.list_repo_tags(name, specific_tag="v1")["tags"]) == 3

    manifest = quay.manifest.get_repo_manifest(first, name)
    assert manifest["digest"] == first and manifest["layers"]
    label = {"key": "team", "value": "blue", "media_type": "text/plain"}
    added = quay.manifest.add_manifest_label(first, name, label)["label"]
    assert [one["key"] for one in quay.manifest.list_manifest_labels(first, name)["labels"]] == ["team"]
    quay.manifest.delete_manifest_label(first, name, added["id"])

    server.add_user("eve")
    assert quay.permission.change_user_permissions(name, "eve", {"role": "read"})["role"] == "read"
    assert quay.permission.get_user_transitive_permission(name, "eve")["permissions"] == [{"role": "read"}]
    quay.permission.delete_user_permissions(name, "eve")

    event = {"event": "repo_push", "method": "quay_notification", "title": "Pushed"}
    event |= {"config": {"target": {"kind": "user", "name": ADMIN}}, "eventConfig": {}}
    told = quay.repositorynotification.create_repo_notification(name, event)
    assert quay.repositorynotification.list_repo_notifications(name)["notifications"][0]["uuid"] == told["uuid"]
    quay.repositorynotification.delete_repo_notification(name, told["uuid"])

    quay.user.create_star({"namespace": ADMIN, "repository": "app"})
    assert quay.user.list_starred_repos()["repositories"][0]["name"] == "app"
    assert quay.search.conduct_repo_search(query="app")["results"][0]["name"] == "app"
    assert quay.repository.list_repos(namespace=ADMIN)["repositories"][0]["is_starred"] is True

    quay.repository.change_repo_visibility(name, {"visibility": "public"})
    quay.repository.update_repo(name, {"description": "Another app"})
    found = quay.repository.get_repo(name)
    assert (found["is_public"], found["description"], set(found["tags"])) == (True, "Another app", {"v1", "stable"})

    quay.tag.delete_full_tag(name, "stable")
    kinds = {entry["kind"] for entry in quay.logs.list_repo_logs(name)["logs"]}
    assert {"create_repo", "change_repo_visibility", "delete_tag", "revert_tag", "create_tag"} <= kinds

    quay.repository.delete_repository(name)
    assert refused(quay.repository.get_repo, name) == 404


def test_a_robot_of_one_s_own_uses_the_api(server, quay):
    """What users ask Quay for: a robot calls the API with its token, within its rights."""
    robot = quay.robot.create_user_robot("bot", {"description": "Scripts"})
    quay.repository.create_repo({"repository": "mine", "visibility": "private", "description": ""})
    bot = Quay(server, robot["token"])
    assert refused(bot.repository.get_repo, f"{ADMIN}/mine") == 403
    quay.permission.change_user_permissions(f"{ADMIN}/mine", f"{ADMIN}+bot", {"role": "read"})
    assert bot.repository.get_repo(f"{ADMIN}/mine")["can_write"] is False
    assert refused(bot.repository.update_repo, f"{ADMIN}/mine", {"description": "x"}) == 403
    assert refused(bot.organization.create_organization, {"name": "bots"}) == 403


def test_a_wrong_token_is_401(server):
    """A token that opens nothing is refused as such: for a read, and for a change, where Quay speaks of CSRF."""
    stranger = Quay(server, "x" * 40)
    assert refused(stranger.user.get_logged_in_user) == 401
    assert refused(stranger.organization.create_organization, {"name": "nobody"}) == 401
