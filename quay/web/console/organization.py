"""The pages of organizations: one is made; what is in it, who belongs to it, and what its administrators set."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

from quay.auth.scopes import SCOPES, Scope
from quay.web.console import logs, robots
from quay.web.console.page import Context, PageTable, View, only_signed_in
from quay.web.console.tabs import Tabs, listed, paged, rows

pages = PageTable()
tabs = Tabs("console/organization")

TEAM_ROLES: Final = ("member", "creator", "admin")
ROLES: Final = ("read", "write", "admin")


def _inside(organization: Context) -> bool:
    return bool(organization["is_member"] or organization["is_admin"])


def _administers(organization: Context) -> bool:
    return bool(organization["is_admin"])


@pages.page("/organizations/new", "console/organization_new.html")
async def new(view: View) -> Context:
    """Where one makes an organization."""
    only_signed_in(view)
    by_superusers = view.config.superusers_org_creation_only and not view.principal.superuser
    return {"refused": by_superusers}


@pages.page("/organization/<orgname>", "console/organization.html")
async def show(view: View, orgname: str) -> Context:
    """An organization, as far as the one who looks may see it."""
    found = await view.ask("getOrganization", orgname=orgname)
    return {"organization": found, **await tabs.show(view, home_of(orgname), found)}


def home_of(orgname: str) -> str:
    """The address of the page of an organization."""
    return f"/organization/{quote(orgname)}"


@tabs.tab("repositories", "Repositories")
async def repositories(view: View, organization: Context) -> Context:
    """The repositories that the one who looks may see."""
    query = {"namespace": organization["name"], "last_modified": "true", "public": "true"}
    found = await view.ask("listRepos", query=query | paged(view))
    may_create = _inside(organization) and await _may_create(view, organization)
    return {"may_create": may_create, **listed(view, found["repositories"], found)}


async def _may_create(view: View, organization: Context) -> bool:
    user = await view.ask("getLoggedInUser")
    return any(each["name"] == organization["name"] and each["can_create_repo"] for each in user["organizations"])


@tabs.tab("teams", "Teams", _inside)
async def teams(view: View, organization: Context) -> Context:
    """The teams, with their roles."""
    found = organization.get("teams", {})
    ordered = [found[name] for name in organization.get("ordered_teams", ())]
    return {"team_roles": TEAM_ROLES, **rows(view, ordered)}


@tabs.tab("members", "Members", _administers)
async def members(view: View, organization: Context) -> Context:
    """Who is in teams."""
    found = await view.ask("getOrganizationMembers", query=paged(view), orgname=organization["name"])
    return listed(view, found["members"], found)


@tabs.tab("collaborators", "Members", _administers, listed=False)
async def collaborators(view: View, organization: Context) -> Context:
    """Who is in no team, and has a role on a repository."""
    found = await view.ask("getOrganizationCollaborators", query=paged(view), orgname=organization["name"])
    return listed(view, found["collaborators"], found)


@tabs.tab("robots", "Robots", _inside)
async def robot_accounts(view: View, organization: Context) -> Context:
    """The robots."""
    owner = robots.of_organization(organization["name"])
    return await robots.gather(view, owner, administers=_administers(organization))


@tabs.tab("defaults", "Default permissions", _administers)
async def default_permissions(view: View, organization: Context) -> Context:
    """With which permissions new repositories begin."""
    found = await view.ask("getOrganizationPrototypePermissions", orgname=organization["name"])
    return {"roles": ROLES, "teams": organization.get("ordered_teams", ()), **rows(view, found["prototypes"])}


@tabs.tab("applications", "Applications", _administers)
async def applications(view: View, organization: Context) -> Context:
    """The OAuth applications."""
    found = await view.ask("getOrganizationApplications", orgname=organization["name"])
    return rows(view, found["applications"])


@tabs.tab("logs", "Usage logs", _administers)
async def usage_logs(view: View, organization: Context) -> Context:
    """What was done."""
    found = await logs.gather(view, "listOrgLogs", "getAggregateOrgLogs", "exportOrgLogs", orgname=organization["name"])
    return {"logs": found, "hidden": {"tab": "logs"}, "by_performer": True}


@tabs.tab("settings", "Settings", _administers)
async def settings(view: View, organization: Context) -> Context:
    """What can be set, and the end."""
    return {"expirations": expirations(view, organization)}


def expirations(view: View, owner: Context) -> list[tuple[int, str]]:
    """
    How long deleted tags may be restored, in seconds and in words, to choose from; none where nobody may choose. What
    is set now stands first if it is none of the options.
    """
    if not view.config.change_tag_expiration:
        return []
    options = [(int(option), _in_words(int(option))) for option in view.config.tag_expiration_options]
    now: int = owner["tag_expiration_s"]
    return options if now in dict(options) else [(now, f"{_in_words(now)} (as it is)"), *options]


def _in_words(seconds: int) -> str:
    for unit, length in (("week", 604800), ("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds and seconds % length == 0:
            count = seconds // length
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{seconds} seconds" if seconds else "not at all"


# --- one team, one application ------------------------------------------------------------------------------------


@pages.page("/organization/<orgname>/teams/<teamname>", "console/organization_team.html")
async def team(view: View, orgname: str, teamname: str) -> Context:
    """A team: its members, and to who administers the organization, what it may do."""
    only_signed_in(view)
    path: dict[str, Any] = {"orgname": orgname, "teamname": teamname}
    found = await view.ask("getOrganizationTeamMembers", query=paged(view), **path)
    organization = await view.ask("getOrganization", orgname=orgname)
    permissions: dict[str, Any] = {"permissions": []}
    if found["can_edit"]:
        page = paged(view, "next_permissions")
        permissions = await view.ask("getOrganizationTeamPermissions", query=page, **path)
    return {
        "organization": organization,
        "team": organization.get("teams", {}).get(teamname),
        "teamname": teamname,
        "can_edit": found["can_edit"],
        "members": listed(view, found["members"], found),
        "permissions": listed(view, permissions["permissions"], permissions, "next_permissions"),
        "home": home_of(orgname),
        "team_roles": TEAM_ROLES,
        "roles": ROLES,
    }


@pages.page("/organization/<orgname>/application/<client_id>", "console/organization_application.html")
async def application(view: View, orgname: str, client_id: str) -> Context:
    """An OAuth application, and its tokens."""
    only_signed_in(view)
    path: dict[str, Any] = {"orgname": orgname, "client_id": client_id}
    found = await view.ask("getOrganizationApplication", **path)
    tokens = await view.ask("listOrganizationApplicationTokens", query=paged(view), **path)
    return {
        "organization": {"name": orgname},
        "application": found,
        "path": path,
        "home": home_of(orgname),
        "scopes": scopes_to_choose(view),
        **listed(view, tokens["tokens"], tokens),
    }


def scopes_to_choose(view: View) -> list[Scope]:
    """The scopes that a token of the one who looks can have, to some avail."""
    return [scope for name, scope in SCOPES.items() if name != "super:user" or view.principal.superuser]
