"""Every page of the console: where it is, who looks at it, and what has to be done before it is there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from tests.browser.visitor import Visitor


@attrs.frozen
class Place:
    """
    A page: `who` looks at `path`, in which what `furnish` found stands in braces. For one that answers a form, `fields`
    are filled in by their labels, and `button` is pressed.
    """

    name: str
    path: str
    who: str | None = "devtable"
    status: int = 200
    fields: Mapping[str, str] = attrs.field(factory=dict)
    button: str = ""

    def visit(self, visitor: Visitor, found: Mapping[str, str]) -> None:
        """Bring this page before the visitor's eyes."""
        visitor.go(self.path.format(**found), self.status)
        for label, text in self.fields.items():
            visitor.type(label, text)
        if self.button:
            visitor.press(self.button)


def _tabs(name: str, path: str, *tabs: str, who: str = "devtable") -> list[Place]:
    return [Place(f"{name}-{tab}", f"{path}?tab={tab}", who) for tab in tabs]


REPOSITORY_TABS = ("information", "tags", "history", "upload", "logs", "settings")
ORGANIZATION_TABS = (
    "repositories", "teams", "members", "collaborators", "robots", "defaults", "applications", "logs", "settings",
)  # fmt: skip
USER_TABS = (
    "repositories", "robots", "tokens", "authorizations", "sessions", "security", "logs", "notifications", "settings",
)  # fmt: skip
SUPERUSER_TABS = ("users", "organizations", "logs", "messages", "keys", "health", "storage")
_NAME: Final = "User name or e-mail address"
_NAMED: Final = {"Name": "pictured"}
_SECRET: Final = {"Your password": "password"}
_ASKED: Final = "client_id={client_id}&redirect_uri={redirect_uri}&scope=repo:read+repo:admin&response_type=code"

PLACES = (
    Place("welcome", "/", who=None),
    Place("signin", "/signin/", who=None),
    Place("signin-refused", "/signin/", None, fields={_NAME: "somebody", "Password": "else"}, button="Sign in"),
    Place("signup", "/signup/", who=None),
    Place("public-repository", "/repository/public/publicrepo", who=None),
    Place("nothing", "/repository/devtable/nothing", status=404),
    Place("forbidden", "/superuser/", who="reader", status=403),
    Place("home", "/"),
    Place("home-empty", "/", who="freshuser"),
    Place("repositories", "/repository/"),
    Place("repository-new", "/new/"),
    *_tabs("repository", "/repository/devtable/complex", *REPOSITORY_TABS),
    Place("repository-empty", "/repository/devtable/empty"),
    Place("repository-fetch", "/repository/devtable/simple?tab=tags&fetch=latest"),
    Place("repository-tag", "/repository/devtable/simple?tab=tags&tag=latest"),
    Place("repository-many-tags", "/repository/devtable/gargantuan?tab=tags&page=2"),
    Place("repository-of-organization", "/repository/buynlarge/orgrepo?tab=settings"),
    Place("repository-deliveries", "/repository/devtable/simple?tab=deliveries&uuid={notification}"),
    Place("manifest-index", "/repository/devtable/complex/manifest/{index}"),
    Place("manifest-image", "/repository/devtable/simple/manifest/{image}"),
    Place("organizations", "/organizations/"),
    Place("organization-new", "/organizations/new/"),
    *_tabs("organization", "/organization/buynlarge", *ORGANIZATION_TABS),
    Place("organization-as-reader", "/organization/buynlarge", who="reader"),
    Place("team", "/organization/buynlarge/teams/readers"),
    Place("robot", "/organization/buynlarge/robots/coolrobot"),
    Place("application", "/organization/buynlarge/application/{client_id}"),
    *_tabs("user", "/user/devtable", *USER_TABS),
    Place("user-other", "/user/public"),
    Place("search", "/search?q=dev"),
    Place("search-nothing", "/search?q=zzzz"),
    *_tabs("superuser", "/superuser/", *SUPERUSER_TABS),
    Place("superuser-user", "/superuser/?user=reader"),
    Place("superuser-organization", "/superuser/?tab=organizations&organization=buynlarge"),
    Place("superuser-garbage", "/superuser/?tab=storage&garbage=1"),
    Place("jobs", "/superuser/jobs/"),
    Place("job", "/superuser/jobs/{job}"),
    Place("bundles", "/superuser/bundles/"),
    Place("bundles-planned", "/superuser/bundles/?choices=devtable/complex&limit=4000000000"),
    Place("bundle", "/superuser/bundles/{bundle}"),
    Place("docs", "/docs/", who=None),
    Place("docs-found", "/docs/?q=robot", who=None),
    Place("doc", "/docs/quickstart", who=None),
    Place("doc-errors", "/docs/errors", who=None),
    Place("consent", f"/oauth/authorize?{_ASKED}"),
    Place("oauth-refused", "/oauth/authorize?client_id=nobody&redirect_uri=x&scope=repo:read", status=400),
    Place("oauth-token", "/oauth/localapp"),
    Place("robot-made", "/user/devtable?tab=robots", fields=_NAMED, button="Make the robot"),
    Place("token-made", "/user/devtable?tab=tokens", fields={"What it is for": "x"}, button="Make the token"),
    Place("factor-begun", "/user/freshuser?tab=security", "freshuser", fields=_SECRET, button="Set it up"),
    Place("user-made", "/superuser/", fields=_NAMED, button="Make the user"),
    Place("application-made", "/organization/titi?tab=applications", fields=_NAMED, button="Make the application"),
    Place("key-made", "/superuser/?tab=keys", fields={"Service": "pictured"}, button="Make the key"),
)  # fmt: skip


def furnish(visitor: Visitor) -> dict[str, str]:
    """Bring into the test data what it lacks, as devtable; returns what stands in braces in the paths of places."""
    home = f"{visitor.base}/oauth/localapp"
    application = {"name": "Deployer", "redirect_uri": home, "description": "Brings images to where they run."}
    made = visitor.call("POST", "organization/buynlarge/applications", application)
    told = visitor.call("POST", "repository/devtable/simple/notification/", _WEBHOOK)
    readers = {"kind": "team", "name": "readers"}
    visitor.call("POST", "organization/buynlarge/prototypes", {"role": "read", "delegate": readers})
    visitor.call("POST", "repository", {"repository": "empty", "visibility": "private", "description": ""})
    visitor.call("POST", "user/apptoken", {"title": "laptop"})
    visitor.call("POST", "user/starred", {"namespace": "devtable", "repository": "simple"})
    visitor.call("POST", "messages", {"message": _MESSAGE})
    return {
        "client_id": made["client_id"],
        "redirect_uri": home,
        "notification": told["uuid"],
        "job": visitor.call("POST", "superuser/jobs/", {"kind": "scrub"})["uuid"],
        "bundle": visitor.call("POST", "superuser/bundles/incoming", {})["uuid"],
        "image": _digest(visitor, "devtable/simple", "latest"),
        "index": _digest(visitor, "devtable/complex", "latest"),
    }


_WEBHOOK: Final = {
    "event": "repo_push",
    "method": "webhook",
    "config": {"url": "https://hooks.example.com/a/rather/long/address/that/goes/on/and/on"},
    "eventConfig": {},
    "title": "Deploy",
}
_MESSAGE: Final = {"content": "Down on *Sunday*, 8 to 10 h", "media_type": "text/markdown", "severity": "warning"}


def _digest(visitor: Visitor, repository: str, tag: str) -> str:
    found = visitor.call("GET", f"repository/{repository}/tag/?onlyActiveTags=true&specificTag={tag}")
    return str(found["tags"][0]["manifest_digest"])
