"""
The audit log: who did what to which repository or namespace, when and from where. Rows are added, never changed, and
stay when what they speak of is gone. How they are read stands in `quay.model.logs`, what shows that nobody changed them
afterwards in `quay.model.seal`.

Source: Quay's usage logs, whose names of kinds are kept, because people search and alert for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.prepared import Prepared
from quay.database.schema import audit
from quay.model import activity

_KINDS: Final = """
create_repo rename_repo push_repo pull_repo push_repo_failed pull_repo_failed delete_repo repo_verb take_ownership
change_repo_visibility change_repo_trust change_repo_state set_repo_description
add_repo_permission change_repo_permission delete_repo_permission
create_prototype_permission modify_prototype_permission delete_prototype_permission
add_repo_accesstoken delete_repo_accesstoken
add_repo_notification delete_repo_notification reset_repo_notification add_repo_webhook delete_repo_webhook

create_tag move_tag delete_tag delete_tag_failed revert_tag permanently_delete_tag
change_tag_expiration change_tag_immutability
manifest_label_add manifest_label_delete

account_change_plan account_change_cc account_change_password account_convert
login_success login_failure logout_success
user_create user_delete user_disable user_enable
user_change_email user_change_password user_change_name user_change_invoicing user_change_tag_expiration
user_change_metadata user_change_second_factor
create_robot delete_robot regenerate_robot_token
create_robot_federation delete_robot_federation federated_robot_token_exchange
create_app_specific_token revoke_app_specific_token

org_create org_delete org_change_email org_change_name org_change_invoicing org_change_tag_expiration
org_create_team org_delete_team org_set_team_description org_set_team_role
org_add_team_member org_remove_team_member org_invite_team_member org_delete_team_member_invite
org_team_member_invite_accepted org_team_member_invite_declined enable_team_sync disable_team_sync
org_create_quota org_change_quota org_delete_quota
org_create_quota_limit org_change_quota_limit org_delete_quota_limit

create_application update_application delete_application reset_application_client_secret
oauth_token_assigned oauth_token_revoked create_oauth_api_token revoke_oauth_api_token
create_global_message delete_global_message
service_key_create service_key_approve service_key_delete service_key_modify service_key_extend service_key_rotate
job_create job_cancel
bundle_make bundle_receive bundle_verify bundle_load bundle_delete
bundle_receipt_put bundle_receipt_delete bundle_key_trust bundle_key_distrust
import_registry

build_dockerfile setup_repo_trigger delete_repo_trigger toggle_repo_trigger start_build_trigger cancel_build

repo_mirror_enabled repo_mirror_disabled repo_mirror_config_changed repo_mirror_sync_now_requested
repo_mirror_sync_started repo_mirror_sync_success repo_mirror_sync_failed
repo_mirror_sync_tag_success repo_mirror_sync_tag_failed
repo_mirror_sync_test_started repo_mirror_sync_test_success repo_mirror_sync_test_failed
create_proxy_cache_config delete_proxy_cache_config

create_namespace_autoprune_policy update_namespace_autoprune_policy delete_namespace_autoprune_policy
create_repository_autoprune_policy update_repository_autoprune_policy delete_repository_autoprune_policy
autoprune_tag_delete export_logs_success export_logs_failure
"""
KINDS: Final = frozenset(_KINDS.split())
"""What can be done, as Quay spells it."""


def _known(entry: Entry, attribute: attrs.Attribute[str], kind: str) -> None:
    if kind not in KINDS:
        raise ValueError(f"{kind!r} is not a kind of audit entry; add it to KINDS if it is to be one.")


@attrs.frozen(kw_only=True)
class Entry:
    """
    What somebody did. `performer` is the name by which he goes in the log, "" for nobody; `details` is JSON by kind:
    repo, tag, manifest_digest, member and the like. No secrets. `performed_ms` is when, if not now.
    """

    kind: str = attrs.field(validator=_known)
    namespace_id: int | None = None
    repository_id: int | None = None
    performer_id: int | None = None
    performer: str = ""
    ip: str | None = None
    details: Mapping[str, Any] = attrs.field(factory=dict)
    performed_ms: int | None = attrs.field(default=None, eq=False)


_INSERT: Final = Prepared(sa.insert(audit))


def append(txn: Transaction, entries: Sequence[Entry]) -> None:
    """
    Record the entries, in this order; those without a time of their own, at the time of the transaction. Those of a
    repository count as its activity.
    """
    if entries:
        rows = [_values(entry, txn.now_ms) for entry in entries]
        txn.execute(_INSERT, rows)
        activity.add(txn, ((row["repository_id"], row["performed_ms"]) for row in rows if row["repository_id"]))


def _values(entry: Entry, now_ms: int) -> dict[str, Any]:
    performed_ms = now_ms if entry.performed_ms is None else entry.performed_ms
    return attrs.asdict(entry, recurse=False) | {"performed_ms": performed_ms}
