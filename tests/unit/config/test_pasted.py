"""What happens to the configuration of a real Quay that somebody pastes: what is used, and what is said."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from quay.config import ConfigError, foreign, load
from quay.config.keys import SETTINGS

DATA = Path(__file__).parents[1] / "data"
STANDALONE = DATA / "quay-3.11-standalone.yaml"
CLUSTER = DATA / "quay-3.12-cluster.yaml"


def test_standalone_is_used() -> None:
    """A standalone Quay's file is accepted, and its values mean what they meant."""
    config = load(STANDALONE, {})
    assert config.hostname == "quay-server.example.com:8080"
    assert config.database_uri.reveal() == "postgresql+psycopg://quayuser:quaypass@quay-server.example.com:5432/quay"
    assert config.storage["default"].options == {"storage_path": "/datastorage/registry"}
    assert config.events_redis and config.events_redis.password
    assert config.events_redis.password.reveal() == "strongpassword"
    assert config.super_users == ("quayadmin",)
    assert config.create_namespace_on_push
    assert config.maximum_layer_size == 100 * 10**9
    assert config.secret_key and config.secret_key.reveal().startswith("8657491862")


def test_standalone_is_told() -> None:
    """Everything in a standalone Quay's file that has no effect is named, subject by subject, and nothing else is."""
    assert load(STANDALONE, {}).warnings == (
        "BUILDLOGS_REDIS, LOG_ARCHIVE_LOCATION, USERFILES_LOCATION, USERFILES_PATH: not implemented yet (building), so "
        "they have no effect.",
        "FEATURE_SECURITY_NOTIFICATIONS, FEATURE_SECURITY_SCANNER, SECURITY_SCANNER_INDEXING_INTERVAL, "
        "SECURITY_SCANNER_V4_ENDPOINT, SECURITY_SCANNER_V4_PSK: not implemented yet (security scanning), so they "
        "have no effect.",
        "REPO_MIRROR_INTERVAL, REPO_MIRROR_TLS_VERIFY: not implemented yet (repository mirroring), so they have no "
        "effect.",
        "ACTION_LOG_ARCHIVE_LOCATION, ACTION_LOG_ARCHIVE_PATH, ACTION_LOG_ROTATION_THRESHOLD: not implemented yet "
        "(rotation and shipping of the audit log), so they have no effect.",
        "FEATURE_USERNAME_CONFIRMATION: not implemented yet (logging in through another service), so it has no effect.",
        "TEAM_RESYNC_STALE_TIME: not implemented yet (team synchronization), so it has no effect.",
        "USER_RECOVERY_TOKEN_LIFETIME: not implemented yet (signing up), so it has no effect.",
        "ENTERPRISE_LOGO_URL, FEATURE_REQUIRE_TEAM_INVITE, REGISTRY_TITLE_SHORT: not implemented yet (the web "
        "console), so they have no effect.",
        "FEATURE_RESTRICTED_V1_PUSH: has no effect here because the first version of the protocol is not spoken.",
        "DB_CONNECTION_ARGS.autorollback, DB_CONNECTION_ARGS.threadlocals: not used by this release.",
        "LISTEN: only this machine can connect, although clients are told quay-server.example.com:8080; use 0.0.0.0.",
    )


def test_cluster_is_refused() -> None:
    """A cluster's file is refused for every reason at once: where data would go, who could log in, what is wrong."""
    with pytest.raises(ConfigError) as caught:
        load(CLUSTER, {})
    assert caught.value.problems == (
        "FEATURE_ANONYMUS_ACCESS: there is no such key. Did you mean FEATURE_ANONYMOUS_ACCESS?",
        "SERVER_HOSTNAME: 'https://quay.corp.example' has a scheme or a path; write only the host, and the port if "
        "there is one.",
        "DB_URI: names a MySQL database, which is not supported; use PostgreSQL or SQLite.",
        "DISTRIBUTED_STORAGE_CONFIG.east: the driver RadosGWStorage is not implemented yet, and blobs need a place; "
        "use LocalStorage.",
        "DISTRIBUTED_STORAGE_CONFIG.west: the driver S3Storage is not implemented yet, and blobs need a place; "
        "use LocalStorage.",
        "AUTHENTICATION_TYPE: LDAP is not implemented yet, so nobody could log in; use Database, or AppToken for "
        "tokens only.",
        "DEFAULT_TAG_EXPIRATION: '2 weeks' is not a duration; write 30s, 55m, 12h, 1d or 2w.",
    )


def test_cluster_is_told() -> None:
    """Restrictions that are not enforced and knobs of nginx are named along with the errors; secrets never are."""
    with pytest.raises(ConfigError) as caught:
        load(CLUSTER, {})
    told = "\n".join(caught.value.warnings)
    for key in ("FEATURE_RESTRICTED_USERS", "RESTRICTED_USERS_WHITELIST", "DISABLE_PUSHES"):
        assert f"{key}: this restriction is not implemented yet and is NOT enforced." in told
    assert "SSL_CIPHERS, SSL_PROTOCOLS: have no effect here because this process speaks TLS itself" in told
    assert "FEATURE_LISTEN_IP_VERSION: has no effect here because LISTEN says which addresses are used." in told
    assert "DISTRIBUTED_STORAGE_DEFAULT_LOCATIONS, FEATURE_STORAGE_REPLICATION: not implemented yet" in told
    assert "AZURE_LOGIN_CONFIG: not implemented yet (logging in through another service)" in told
    assert "hunter2" not in told + str(caught.value) + repr(caught.value)


@pytest.mark.parametrize("path", [STANDALONE, CLUSTER])
def test_no_key_in_silence(path: Path) -> None:
    """A key of the file is used, named in a sentence, or asks for what happens anyway."""
    try:
        told = " ".join(load(path, {}).warnings)
    except ConfigError as error:
        told = f"{error} {' '.join(error.warnings)}"
    for key, value in yaml.safe_load(path.read_text()).items():
        assert key in SETTINGS or key in told or not list(foreign.remarks({key: value}))
