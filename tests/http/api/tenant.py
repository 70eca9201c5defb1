"""A tenant with one of each thing that has an address of its own in the API, all of it made through the API."""

import attrs

from quay.model import bell, namespace
from quay.model.bell import Audience
from quay.testdata.images import image
from quay.testdata.people import PASSWORD
from tests.http.api.browser import Browser
from tests.http.api.client import Client
from tests.http.application import Repository


@attrs.frozen
class Tenant:
    """
    `who` administers the organization `org` with the repository `repository`. `things` has, for each parent of the
    paths of the API (`repository`, `orgname`, `user`), the value of every parameter below it.
    """

    client: Client
    who: str
    org: str
    things: dict

    @property
    def repository(self):
        return f"{self.org}/app"


def furnish(application, who, org):
    """The user `who`, who is there already, with all that he can have."""
    client = Client(application, who)
    _made(client.post("/organization/", {"name": org}))
    robot = f"{org}+of-{org}"
    _made(client.put(f"/organization/{org}/robots/of-{org}"))
    _made(client.put(f"/user/robots/of{org}"))
    _made(client.put(f"/organization/{org}/team/of-{org}", {"role": "member"}))
    _made(client.put(f"/organization/{org}/team/of-{org}/members/{robot}"))
    tenant = Tenant(client, who, org, {})
    tenant.things["repository"] = _repository(application, tenant, robot)
    tenant.things["orgname"] = _organization(tenant, robot) | {"robot_shortname": f"of-{org}", "teamname": f"of-{org}"}
    tenant.things["user"] = _account(application, tenant) | {"robot_shortname": f"of{org}"}
    return tenant


def _repository(application, tenant, robot):
    client, root, tag = tenant.client, f"/repository/{tenant.repository}", f"tag-of-{tenant.org}"
    pushed = image("a base", tenant.org)
    Repository(application, tenant.repository, (tenant.who, PASSWORD)).push(pushed, tag)
    labelled = client.post(f"{root}/manifest/{pushed.digest}/labels", {"key": "team", "value": tenant.org})
    told = {"event": "repo_push", "method": "quay_notification", "eventConfig": {}}
    config = {"target": {"kind": "user", "name": tenant.who}}
    notification = client.post(f"{root}/notification/", told | {"config": config})
    _made(client.put(f"{root}/permissions/user/{robot}", {"role": "read"}))
    _made(client.put(f"{root}/permissions/team/of-{tenant.org}", {"role": "read"}))
    return {
        "manifestref": str(pushed.digest),
        "labelid": _made(labelled)["label"]["id"],
        "uuid": _made(notification)["uuid"],
        "username": robot,
        "teamname": f"of-{tenant.org}",
        "tag": tag,
        "code": "x",
    }


def _organization(tenant, robot):
    client, root = tenant.client, f"/organization/{tenant.org}"
    uri = f"https://{tenant.org}.example/cb"
    application = _made(client.post(f"{root}/applications", {"name": "Deployer", "redirect_uri": uri}))["client_id"]
    token = _made(client.post(f"{root}/applications/{application}/tokens", {"name": "t", "scope": "repo:read"}))
    default = {"role": "read", "delegate": {"kind": "user", "name": robot}}
    return {
        "client_id": application,
        "token_uuid": token["uuid"],
        "prototypeid": _made(client.post(f"{root}/prototypes", default))["id"],
        "membername": robot,
    }


def _account(application, tenant):
    client, browser = tenant.client, Browser(application)
    browser.sign_in(tenant.who)
    (session,) = client.get("/user/sessions").json["sessions"]
    (authorization,) = client.get("/user/authorizations").json["authorizations"]
    user_id = application.read(namespace.find, tenant.who).id
    return {
        "token_uuid": _made(client.post("/user/apptoken", {"title": "laptop"}))["token"]["uuid"],
        "access_token_uuid": authorization["uuid"],
        "session_uuid": session["uuid"],
        "uuid": application.write(bell.ring, "test", {}, Audience(target_id=user_id)),
    }


def _made(answer):
    assert answer.status in (200, 201), answer
    return answer.json
