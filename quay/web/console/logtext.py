"""
What the audit log tells people: a line for each kind of entry, with what happened to what.

A line is written with `{member}` for a member of the entry's metadata, and what stands in brackets is left out where
the entry has not all the members in them. Whatever an entry says is escaped here, whoever wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from markupsafe import Markup, escape

from quay.web.pages import short_digest

SHOWN: Final = 200
"""Characters of one member that a line shows at most."""

_TAG: Final = "the tag {tag} of {repo}"
TEXTS: Final[Mapping[str, str]] = {
    "create_repo": "Made the repository {repo}",
    "rename_repo": "Renamed[ {old_namespace}/{old_repo} to {namespace}/{repo}][ {repo} to {new_namespace}/{new_repo}]",
    "push_repo": "Pushed[ {tag}] to {repo}[, {manifest_digest}]",
    "pull_repo": "Pulled[ {tag}] from {repo}[, {manifest_digest}]",
    "push_repo_failed": "Could not push[ {tag}] to {repo}[: {message}]",
    "pull_repo_failed": "Could not pull[ {tag}] from {repo}[: {message}]",
    "delete_repo": "Deleted the repository {repo}",
    "change_repo_visibility": "Made {repo} {visibility}",
    "change_repo_trust": "Changed whether {repo} is signed[: {trust_enabled}]",
    "change_repo_state": "Set the state of {repo} to {state_changed}",
    "set_repo_description": "Changed the description of {repo}",
    "add_repo_permission": "Gave[ {username}][ the team {team}] the role {role} on {repo}",
    "change_repo_permission": "Gave[ {username}][ the team {team}] the role {role} on {repo}",
    "delete_repo_permission": "Took the role on {repo} from[ {username}][ the team {team}]",
    "create_prototype_permission": "Made a default permission[ of {delegate_user}][ of the team {delegate_team}]"
    "[: {role}][ on what {activating_username} makes]",
    "modify_prototype_permission": "Changed a default permission[ of {delegate_user}][ of the team {delegate_team}]"
    "[ from {original_role}][ to {role}]",
    "delete_prototype_permission": "Deleted a default permission[ of {delegate_user}][ of the team {delegate_team}]",
    "add_repo_notification": "Added a notification of {event} to {repo}[, by {method}]",
    "delete_repo_notification": "Deleted a notification of {event} from {repo}[, by {method}]",
    "reset_repo_notification": "Switched a notification of {event} on again in {repo}[, by {method}]",
    "create_tag": f"Made {_TAG}[, {{manifest_digest}}]",
    "move_tag": f"Moved {_TAG}[ from {{original_manifest_digest}}] to {{manifest_digest}}",
    "delete_tag": f"Deleted {_TAG}[, {{manifest_digest}}]",
    "delete_tag_failed": f"Could not delete {_TAG}",
    "revert_tag": f"Restored {_TAG} to {{manifest_digest}}",
    "permanently_delete_tag": f"Deleted {_TAG} for good[, {{manifest_digest}}]",
    "change_tag_expiration": f"Changed when {_TAG} expires[ from {{old_expiration_date}}][ to {{expiration_date}}]",
    "change_tag_immutability": f"Locked or unlocked {_TAG}[: immutable {{immutable}}]",
    "manifest_label_add": "Added the label {key}[ = {value}] to {manifest_digest} in {repo}",
    "manifest_label_delete": "Deleted the label {key}[ = {value}] from {manifest_digest} in {repo}",
    "login_success": "Signed in",
    "login_failure": "Could not sign in[: {message}]",
    "logout_success": "Signed out",
    "account_change_password": "Changed the password",
    "account_convert": "Turned the account {username} into an organization[ that {admin} administers]",
    "user_create": "Made the user {username}",
    "user_delete": "Deleted the user {username}",
    "user_disable": "Disabled the user {username}",
    "user_enable": "Enabled the user {username}",
    "user_change_email": "Changed the e-mail address[ from {old_email}] to {email}",
    "user_change_password": "Changed the password[ of {username}]",
    "user_change_name": "Renamed the user {old_username} to {new_username}",
    "user_change_tag_expiration": "Let deleted tags be restored for {tag_expiration} seconds",
    "user_change_second_factor": "Changed the second factor[: on {enabled}][, recovery codes {recovery_codes}]",
    "create_robot": "Made the robot {robot}[: {description}]",
    "delete_robot": "Deleted the robot {robot}",
    "regenerate_robot_token": "Made a new token for the robot {robot}",
    "create_app_specific_token": "Made the app token {app_specific_token_title}",
    "revoke_app_specific_token": "Revoked the app token {app_specific_token_title}",
    "org_create": "Made the organization {namespace}",
    "org_delete": "Deleted the organization {namespace}",
    "org_change_email": "Changed the e-mail address[ from {old_email}] to {email}",
    "org_change_name": "Renamed the organization[ from {old_name}][ to {new_name}]",
    "org_change_tag_expiration": "Let deleted tags be restored for {tag_expiration} seconds",
    "org_create_team": "Made the team {team}",
    "org_delete_team": "Deleted the team {team}",
    "org_set_team_description": "Changed the description of the team {team}",
    "org_set_team_role": "Gave the team {team} the role {role} in the organization",
    "org_add_team_member": "Took {member} into the team {team}",
    "org_remove_team_member": "Put {member} out of the team {team}",
    "create_application": "Made the application {application_name}",
    "update_application": "Changed the application {application_name}",
    "delete_application": "Deleted the application {application_name}",
    "reset_application_client_secret": "Made a new secret for the application {application_name}",
    "oauth_token_assigned": "Gave[ {assigned_user}] a token of the application {application_name}",
    "oauth_token_revoked": "Revoked a token of the application {oauth_token_application}",
    "take_ownership": "Took over the {entity_type} {namespace}",
    "export_logs_success": "Exported the log[ from {start_time} to {end_time}]",
    "export_logs_failure": "Could not export the log[: {message}]",
    "service_key_create": "Made the service key {kid}[ of {service}]",
    "service_key_approve": "Approved the service key {kid}[ of {service}]",
    "service_key_delete": "Deleted the service key {kid}[ of {service}]",
    "service_key_extend": "Changed when the service key {kid} expires",
    "service_key_rotate": "Replaced the service key {kid}[ of {service}]",
    "job_create": "Asked for the job {job_kind}",
    "job_cancel": "Cancelled the job {job_kind}",
    "bundle_make": "Asked for a bundle[ of {choices}]",
    "bundle_receive": "Began to bring a bundle",
    "bundle_verify": "Asked that a bundle be verified",
    "bundle_load": "Asked that a bundle be loaded[ into {into}]",
    "bundle_delete": "Deleted a bundle that was kept here",
    "bundle_receipt_put": "Brought the receipt {receipt}",
    "bundle_receipt_delete": "Deleted the receipt {receipt}",
    "bundle_key_trust": "Trusts the key {key}[ with the fingerprint {fingerprint}]",
    "bundle_key_distrust": "Trusts the key {key} no more",
    "import_registry": "Asked for an import from {registry}[ into {into}]",
    "create_global_message": "Published a message[ ({severity})]",
    "delete_global_message": "Withdrew a message",
}
"""The lines; what has none is told by the words of its kind and by its metadata."""

_PLACE: Final = re.compile(r"\{(\w+)\}")
_OPTIONAL: Final = re.compile(r"\[([^\]]*)\]")
_IMPLIED: Final = frozenset({"namespace", "repo", "user-agent", "auth", "superuser"})


def text_of(entry: Mapping[str, Any]) -> Markup:
    """The line for an entry of the log, as the API shows it (`LogEntryView`)."""
    known: Mapping[str, Any] = entry["metadata"]
    line = TEXTS.get(entry["kind"])
    if line is None:
        return _told(entry["kind"], known)

    def kept(found: re.Match[str]) -> str:
        return found[1] if all(_is_said(known, name) for name in _PLACE.findall(found[1])) else ""

    return _filled(_OPTIONAL.sub(kept, line), known)


def kind_text(kind: str) -> str:
    """A kind of entries, in words: `push repo`."""
    return kind.replace("_", " ")


def _is_said(known: Mapping[str, Any], name: str) -> bool:
    return known.get(name) not in (None, "")


def _filled(line: str, known: Mapping[str, Any]) -> Markup:
    parts = _PLACE.split(line)  # texts, and between them the names of members
    return Markup("").join(
        _value(parts[number], known.get(parts[number])) if number % 2 else escape(parts[number])
        for number in range(len(parts))
    )


def _told(kind: str, known: Mapping[str, Any]) -> Markup:
    members = [(name, known[name]) for name in known if name not in _IMPLIED and _is_said(known, name)]
    said = Markup(", ").join(Markup("{}: {}").format(name[:SHOWN], _value(name, value)) for name, value in members[:8])
    return Markup("{}{}{}").format(kind_text(kind).capitalize(), ": " if members else "", said)


def _value(name: str, value: Any) -> Markup:
    text = "?" if value is None else str(value)
    if name.endswith("digest"):
        text = short_digest(text)
    return Markup("<code>{}</code>").format(text if len(text) <= SHOWN else text[:SHOWN] + "…")
