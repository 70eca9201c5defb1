"""Organizations: made, described, changed and ended; who belongs to them."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, NotRequired, TypedDict

from quay.database import Transaction
from quay.model import membership, namespace, profile, removal, team
from quay.model.membership import Person
from quay.model.namespace import Namespace
from quay.web.api import needs, pages
from quay.web.api.call import Call
from quay.web.api.errors import BadRequest, Forbidden, NotFound
from quay.web.api.pages import PageQuery
from quay.web.api.route import Routes
from quay.web.api.shapes import Schema
from quay.web.api.team import TeamOf, TeamView, team_of, team_view
from quay.web.api.user import check_not_reserved
from quay.web.api.views import Avatar, avatar

routes = Routes("organization", "Manage organizations and their members.")

_ONE: Final = "/organization/<orgname>"

Email = Annotated[str, Schema(maxLength=255)]


class NewOrg(TypedDict):
    """Describes a new organization."""

    name: Annotated[str, Schema(maxLength=255, description="Organization username")]
    email: NotRequired[Annotated[Email | None, Schema(description="Organization contact email")]]
    recaptcha_response: NotRequired[Annotated[str, Schema(maxLength=4096, description="Not looked at")]]


class UpdateOrg(TypedDict):
    """Describes updates for an existing organization; what is not in it stays."""

    email: NotRequired[Annotated[Email, Schema(description="Organization contact email")]]
    invoice_email: NotRequired[Annotated[bool, Schema(description="Whether the organization wants invoices by email")]]
    invoice_email_address: NotRequired[Email | None]
    tag_expiration_s: NotRequired[
        Annotated[int, Schema(minimum=0, description="How long a deleted tag can be restored: one of the options")]
    ]


class OrgView(TypedDict):
    """
    An organization. Its teams are shown to those who belong to it; the e-mail address and what follows
    `ordered_teams`, to those who administer it.
    """

    name: str
    email: str
    avatar: Avatar
    is_admin: bool
    is_member: bool
    teams: NotRequired[dict[str, TeamView]]
    ordered_teams: NotRequired[list[str]]
    invoice_email: NotRequired[bool]
    invoice_email_address: NotRequired[str | None]
    tag_expiration_s: NotRequired[int]
    is_free_account: NotRequired[bool]


class OrgMember(TypedDict):
    """Somebody who belongs to the organization: his teams, and the repositories on which he himself has a role."""

    name: str
    kind: Literal["user", "robot"]
    avatar: Avatar
    teams: list[TeamOf]
    repositories: list[str]


class OrgMembers(TypedDict):
    members: list[OrgMember]
    next_page: NotRequired[str]


class Collaborator(TypedDict):
    """Somebody who is in no team of the organization, and has a role on these repositories."""

    name: str
    kind: Literal["user", "robot"]
    avatar: Avatar
    repositories: list[str]


class Collaborators(TypedDict):
    collaborators: list[Collaborator]
    next_page: NotRequired[str]


# --- organizations ------------------------------------------------------------------------------------------------


@routes.post("/organization/", "createOrganization", needs.account("user:admin"), status=201)
async def create(call: Call, body: NewOrg) -> str:
    """Create a new organization, which you administer."""
    if call.means.registry.policy.organizations_by_superusers and not call.principal.superuser:
        raise Forbidden("Only superusers of this registry may make organizations.")
    check_not_reserved(call, body["name"])
    email = body.get("email") or None

    def make(txn: Transaction) -> None:
        made = namespace.create_organization(
            txn,
            body["name"],
            owner_id=call.user.id,
            email=email,
            time_machine_s=call.means.registry.policy.time_machine_s,
        )
        call.record(txn, "org_create", namespace=made, email=email)

    await call.write(make)
    return "Created"


@routes.get(_ONE, "getOrganization", needs.organization("anybody"))
async def get(call: Call) -> OrgView:
    """Get the details of the organization."""
    return await call.read(_view, call, call.organization)


@routes.put(_ONE, "changeOrganizationDetails", needs.organization())
async def change_details(call: Call, body: UpdateOrg) -> OrgView:
    """Change the details of the organization."""
    if "tag_expiration_s" in body:
        _check_tag_expiration(call, body["tag_expiration_s"])

    def change(txn: Transaction) -> OrgView:
        organization = _current(txn, call)
        _change_email(txn, call, organization, body)
        _change_invoicing(txn, call, organization, body)
        seconds = body.get("tag_expiration_s", organization.time_machine_s)
        if seconds != organization.time_machine_s:
            namespace.set_time_machine(txn, organization.id, seconds)
            call.record(txn, "org_change_tag_expiration", tag_expiration=seconds)
        return _view(txn, call, _current(txn, call))

    return await call.write(change)


@routes.delete(_ONE, "deleteAdminedOrganization", needs.organization(), fresh=True)
async def delete(call: Call) -> None:
    """Delete the organization with its repositories, teams and robots."""

    def remove(txn: Transaction) -> None:
        if not removal.begin(txn, _current(txn, call).id):
            raise _gone(call)
        call.record(txn, "org_delete")

    await call.write(remove)


def _current(txn: Transaction, call: Call) -> Namespace:
    """The organization as it is in this transaction. Raises `NotFound`."""
    found = namespace.by_id(txn, call.organization.id)
    if found is None or found.kind != "organization":
        raise _gone(call)
    return found


def _gone(call: Call) -> NotFound:
    return NotFound(f"There is no organization {call.organization.name!r} any more.")


def _change_email(txn: Transaction, call: Call, organization: Namespace, body: UpdateOrg) -> None:
    old, new = organization.email or "", body.get("email", organization.email or "")
    if new.lower() != old:
        namespace.set_email(txn, organization.id, new or None)
        call.record(txn, "org_change_email", email=new, old_email=old)


def _change_invoicing(txn: Transaction, call: Call, organization: Namespace, body: UpdateOrg) -> None:
    known = profile.get(txn, organization.id)
    wanted: dict[str, Any] = {key: body[key] for key in ("invoice_email", "invoice_email_address") if key in body}
    changed: Any = {key: value for key, value in wanted.items() if value != getattr(known, key)}
    profile.update(txn, organization.id, **changed)
    for key, value in changed.items():
        call.record(txn, "org_change_invoicing", **{key: value})


def _check_tag_expiration(call: Call, seconds: int) -> None:
    config = call.means.config
    if not config.change_tag_expiration:
        raise BadRequest("This registry does not let namespaces choose how long deleted tags can be restored.")
    if seconds not in config.tag_expiration_options:
        options = ", ".join(f"{int(each)} ({each})" for each in config.tag_expiration_options)
        raise BadRequest(f"'tag_expiration_s' must be one of {options}.")


def _view(txn: Transaction, call: Call, organization: Namespace) -> OrgView:
    is_admin = needs.is_administrator(txn, call.principal, organization)
    is_member = needs.is_member(txn, call.principal, organization)
    view: OrgView = {
        "name": organization.name,
        "email": (organization.email or "") if is_admin else "",
        "avatar": avatar(organization.name, "org"),
        "is_admin": is_admin,
        "is_member": is_member,
    }
    if is_member:
        _show_teams(txn, call, organization, view)
    if is_admin:
        _show_settings(txn, organization, view)
    return view


def _show_teams(txn: Transaction, call: Call, organization: Namespace, view: OrgView) -> None:
    found = team.of_organization(txn, organization.id)
    joined = team.ids_of_member(txn, organization.id, call.principal.namespace_id or 0)
    view["teams"] = {each.name: team_view(each, can_view=view["is_admin"] or each.id in joined) for each in found}
    view["ordered_teams"] = [each.name for each in found]


def _show_settings(txn: Transaction, organization: Namespace, view: OrgView) -> None:
    known = profile.get(txn, organization.id)
    view["invoice_email"] = known.invoice_email
    view["invoice_email_address"] = known.invoice_email_address
    view["tag_expiration_s"] = organization.time_machine_s
    view["is_free_account"] = True


# --- who belongs to them ------------------------------------------------------------------------------------------


@routes.get(f"{_ONE}/collaborators", "getOrganizationCollaborators", needs.organization())
async def list_collaborators(call: Call, query: PageQuery) -> Collaborators:
    """List those who are in no team of the organization, but have a role on a repository of it."""
    about = f"getOrganizationCollaborators {call.organization.id}"
    after = pages.position(call.means.seals, query.get("next_page"), about)
    found, more = await call.read(membership.collaborators, call.organization, after=after or "")
    answer: Collaborators = {"collaborators": [_collaborator_view(person) for person in found]}
    if more:
        answer["next_page"] = pages.token(call.means.seals, about, found[-1].name)
    return answer


@routes.get(f"{_ONE}/members", "getOrganizationMembers", needs.organization())
async def list_members(call: Call, query: PageQuery) -> OrgMembers:
    """List the users who are in teams of the organization."""
    about = f"getOrganizationMembers {call.organization.id}"
    after = pages.position(call.means.seals, query.get("next_page"), about)
    found, more = await call.read(membership.members, call.organization, after=after or "")
    answer: OrgMembers = {"members": [_member_view(person) for person in found]}
    if more:
        answer["next_page"] = pages.token(call.means.seals, about, found[-1].name)
    return answer


@routes.get(f"{_ONE}/members/<membername>", "getOrganizationMember", needs.organization())
async def get_member(call: Call, membername: str) -> OrgMember:
    """Get what a member of the organization, or a robot of it, has in it."""
    return _member_view(await call.read(_member, call, membername))


@routes.delete(f"{_ONE}/members/<membername>", "removeOrganizationMember", needs.organization())
async def remove_member(call: Call, membername: str) -> None:
    """
    Remove a user from the organization: from all its teams, from its repositories, and from its default permissions.
    """

    def remove(txn: Transaction) -> None:
        person = _member(txn, call, membername)
        if not membership.remove(txn, call.organization, person.id) or person.kind == "robot":
            raise _no_member(call, membername)
        for name in person.holdings.teams:
            call.record(txn, "org_remove_team_member", member=person.name, team=name)

    await call.write(remove)


def _member(txn: Transaction, call: Call, name: str) -> Person:
    found = namespace.find(txn, name)
    person = None if found is None else membership.member(txn, call.organization, found)
    if person is None:
        raise _no_member(call, name)
    return person


def _no_member(call: Call, name: str) -> NotFound:
    return NotFound(f"{name[:80]!r} is no member of {call.organization.name}.")


def _member_view(person: Person) -> OrgMember:
    return {
        "name": person.name,
        "kind": person.kind,
        "avatar": avatar(person.name, person.kind),
        "teams": [team_of(name) for name in person.holdings.teams],
        "repositories": list(person.holdings.repositories),
    }


def _collaborator_view(person: Person) -> Collaborator:
    return {
        "name": person.name,
        "kind": person.kind,
        "avatar": avatar(person.name, person.kind),
        "repositories": list(person.holdings.repositories),
    }
