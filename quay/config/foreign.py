"""
Quay's keys that this release does not implement, and what is said about each: nothing of a pasted configuration is
ignored in silence.

Four kinds: what is still to come, restrictions that are therefore not enforced, what cannot be turned off, and what
has no place in this design. Source: the names in Quay's configuration schema, versions 3.1 to 3.15.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Final

LATER: Final[Mapping[str, str]] = {
    "building": """FEATURE_BUILD_SUPPORT FEATURE_GITHUB_BUILD FEATURE_BITBUCKET_BUILD FEATURE_GITLAB_BUILD
        FEATURE_READER_BUILD_LOGS BUILD_MANAGER BUILDMAN_HOSTNAME GITHUB_TRIGGER_CONFIG GITLAB_TRIGGER_CONFIG
        GITLAB_TRIGGER_KIND BITBUCKET_TRIGGER_CONFIG BUILDLOGS_OPTIONS DEFAULT_NAMESPACE_MAXIMUM_BUILD_COUNT
        BILLED_NAMESPACE_MAXIMUM_BUILD_COUNT THREAT_NAMESPACE_MAXIMUM_BUILD_COUNT USERFILES_LOCATION USERFILES_PATH
        LOG_ARCHIVE_LOCATION LOG_ARCHIVE_PATH SUCCESSIVE_TRIGGER_FAILURE_DISABLE_THRESHOLD
        SUCCESSIVE_TRIGGER_INTERNAL_ERROR_DISABLE_THRESHOLD BUILDLOGS_REDIS""",
    "security scanning": """FEATURE_SECURITY_SCANNER FEATURE_SECURITY_NOTIFICATIONS
        FEATURE_SECURITY_SCANNER_NOTIFY_ON_NEW_INDEX NOTIFICATION_MIN_SEVERITY_ON_NEW_INDEX SECURITY_SCANNER_*""",
    "repository mirroring": "FEATURE_REPO_MIRROR FEATURE_ORG_MIRROR REPO_MIRROR_*",
    "the pull-through cache": "FEATURE_PROXY_CACHE",
    "storage replication": "FEATURE_STORAGE_REPLICATION DISTRIBUTED_STORAGE_DEFAULT_LOCATIONS CLEAN_BLOB_UPLOAD_FOLDER",
    "quota management": """FEATURE_QUOTA_MANAGEMENT FEATURE_EDIT_QUOTA FEATURE_VERIFY_QUOTA FEATURE_QUOTA_NOTIFICATIONS
        FEATURE_QUOTA_SUPPRESS_FAILURES DEFAULT_SYSTEM_REJECT_QUOTA_BYTES QUOTA_*""",
    "automatic pruning": "FEATURE_AUTO_PRUNE DEFAULT_NAMESPACE_AUTOPRUNE_POLICY",
    "notifications": """FEATURE_IMAGE_EXPIRY_TRIGGER NOTIFICATION_SEND_TIMEOUT
        NOTIFICATION_TASK_RUN_MINIMUM_INTERVAL_MINUTES""",
    "rotation and shipping of the audit log": """FEATURE_ACTION_LOG_ROTATION FEATURE_USER_LOG_ACCESS
        FEATURE_DISABLE_PULL_LOGS_FOR_FREE_NAMESPACES LOGS_MODEL
        LOGS_MODEL_CONFIG ACTION_LOG_* ALLOW_PULLS_WITHOUT_STRICT_LOGGING ALLOW_WITHOUT_STRICT_LOGGING
        DISABLED_FOR_AUDIT_LOGS DISABLED_FOR_PULL_LOGS SERVICE_LOG_ACCOUNT_ID""",
    "LDAP": "LDAP_*",
    "Keystone": "KEYSTONE_*",
    "JWT authentication": "JWT_VERIFY_ENDPOINT JWT_QUERY_ENDPOINT JWT_GETUSER_ENDPOINT JWT_AUTH_*",
    "logging in through another service": """FEATURE_GITHUB_LOGIN FEATURE_GOOGLE_LOGIN *_LOGIN_CONFIG
        INTERNAL_OIDC_SERVICE_ID FEATURE_USERNAME_CONFIRMATION""",
    "team synchronization": """FEATURE_TEAM_SYNCING FEATURE_NONSUPERUSER_TEAM_SYNCING_SETUP TEAM_RESYNC_STALE_TIME
        TEAM_SYNC_WORKER_FREQUENCY""",
    "OAuth applications": "FEATURE_ASSIGN_OAUTH_TOKEN",
    "signing up": """FEATURE_PROGRAMMATIC_BOOTSTRAP FEATURE_RECAPTCHA RECAPTCHA_* FEATURE_BLACKLISTED_EMAILS
        BLACKLISTED_EMAIL_DOMAINS USER_RECOVERY_TOKEN_LIFETIME ACCOUNT_RECOVERY_MODE""",
    "the web console": """FEATURE_UI_V2 FEATURE_UI_MODELCARD FEATURE_UI_DELAY_AFTER_WRITE UI_* REGISTRY_TITLE_SHORT
        CONTACT_INFO BRANDING ENTERPRISE_LOGO_URL FOOTER_LINKS DOCUMENTATION_ROOT AVATAR_KIND AVATAR_COLORS
        PUBLIC_NAMESPACES
        FEATURE_PERMANENT_SESSIONS FEATURE_USER_METADATA FEATURE_REQUIRE_TEAM_INVITE
        SESSION_COOKIE_* BROWSER_API_CALLS_XHR_ONLY CORS_ORIGIN PAGE_TOKEN_KEY""",
    "the wider power of superusers": """FEATURE_SUPERUSERS_FULL_ACCESS FEATURE_SUPERUSER_CONFIGDUMP
        GLOBAL_READONLY_SUPER_USERS""",
    "metrics and tracing": """PROMETHEUS_* FEATURE_OTEL_TRACING OTEL_* HEALTH_CHECKER ENABLE_HEALTH_DEBUG_SECRET
        SENTRY_DSN SENTRY_PUBLIC_DSN EXCEPTION_LOG_TYPE""",
    "content trust and torrents": """SIGNING_ENGINE GPG2_* TUF_* FEATURE_BITTORRENT BITTORRENT_*
        FEATURE_ACI_CONVERSION FEATURE_APP_REGISTRY FEATURE_READONLY_APP_REGISTRY APP_REGISTRY_*
        MAXIMUM_CNR_LAYER_SIZE""",
    "serving blobs through a content network": "CDN_SPECIFIC_NAMESPACES IP_DATA_API_KEY",
    "this fine-tuning of tags, labels and logins": """RESET_CHILD_MANIFEST_EXPIRATION LAST_ACCESSED_UPDATE_THRESHOLD_S
        UNAPPROVED_SERVICE_KEY_TTL_SEC EXPIRED_SERVICE_KEY_TTL_SEC SIGNED_GRANT_EXPIRATION_SEC
        BLOBUPLOAD_DELETION_DATE_THRESHOLD""",
    "reading from database replicas": "DB_READ_REPLICAS",
}

UNENFORCED: Final = """DISABLE_PUSHES FEATURE_RESTRICTED_USERS RESTRICTED_USERS_*
    FEATURE_REQUIRE_ENCRYPTED_BASIC_AUTH FEATURE_RATE_LIMITS
    NON_RATE_LIMITED_NAMESPACES FEATURE_FIPS ALLOWED_OCI_ARTIFACT_TYPES OCI_NAMESPACE_WHITELIST
    V22_NAMESPACE_BLACKLIST"""

ALWAYS: Final = """FEATURE_GENERAL_OCI_SUPPORT FEATURE_HELM_OCI_SUPPORT FEATURE_ADVERTISE_V2
    FEATURE_NAMESPACE_GARBAGE_COLLECTION FEATURE_REPOSITORY_GARBAGE_COLLECTION DB_CONNECTION_POOLING
    FEATURE_REPOSITORY_ACTION_COUNTER FEATURE_CLEAR_EXPIRED_RAC_ENTRIES"""

NO_EFFECT: Final[Mapping[str, str]] = {
    "this process speaks TLS itself, without nginx": "SSL_CIPHERS SSL_PROTOCOLS",
    "there is no nginx in front of it": "FEATURE_PROXY_STORAGE MANIFESTS_ENDPOINT_READ_TIMEOUT USE_X_SENDFILE",
    "LISTEN says which addresses are used": "FEATURE_LISTEN_IP_VERSION",
    "LOG_LEVEL says what is logged": "LOGGING_LEVEL DEBUG",
    "a registry under test is no different": "TESTING",
    "MAIL_USERNAME says whether it logs in to the mail server": "MAIL_USE_AUTH",
    "what came of a letter is always on record": "MAIL_FAIL_SILENTLY",
    "caches are in memory and always exact": "DATA_MODEL_CACHE_CONFIG",
    "pulls are counted in memory, and kept in the database": "PULL_METRICS_REDIS",
    "nothing is signed by a separate proxy": "JWTPROXY_SIGNER JWTPROXY_AUDIENCE",
    "signing keys are kept in the database": "INSTANCE_SERVICE_KEY_KID_LOCATION INSTANCE_SERVICE_KEY_LOCATION",
    "there are no worker processes": """STAGGER_WORKERS GREENLET_TRACING *_QUEUE_NAME QUEUE_METRICS_TYPE
        QUEUE_WORKER_METRICS_REFRESH_SECONDS""",
    "it does not run on Flask": """JSONIFY_PRETTYPRINT_REGULAR SEND_FILE_MAX_AGE_DEFAULT PROPAGATE_EXCEPTIONS
        APPLICATION_ROOT SESSION_REFRESH_EACH_REQUEST TRAP_HTTP_EXCEPTIONS EXPLAIN_TEMPLATE_LOADING MAX_COOKIE_SIZE
        DB_TRANSACTION_FACTORY""",
    "the first version of the protocol is not spoken": """FEATURE_RESTRICTED_V1_PUSH V1_PUSH_WHITELIST V1_ONLY_DOMAIN
        BLACKLIST_V2_SPEC""",
    "its data never was in an older format": """FEATURE_MANIFEST_SIZE_BACKFILL FEATURE_MANIFEST_SUBJECT_BACKFILL
        V3_UPGRADE_MODE""",
    "it belongs to the service quay.io": """FEATURE_BILLING BILLING_TYPE ANALYTICS_TYPE USE_CDN STATIC_SITE_BUCKET
        STATUS_TAGS CHANNEL_COLORS MIXPANEL_KEY MARKETO_MUNCHKIN_ID STRIPE_PUBLISHABLE_KEY FEATURE_RH_MARKETPLACE
        FEATURE_ENTITLEMENT_RECONCILIATION ENTITLEMENT_RECONCILIATION_* FEATURE_EXPORT_COMPLIANCE
        EXPORT_COMPLIANCE_ENDPOINT""",
}

# Options inside a key that is implemented.
WITHIN: Final[Mapping[str, str]] = {
    "USER_EVENTS_REDIS": "ssl_ca_certs ssl_certfile ssl_keyfile ssl_cert_reqs ssl_check_hostname username",
    "DB_CONNECTION_ARGS": """threadlocals autorollback connect_timeout keepalives keepalives_idle keepalives_interval
        keepalives_count max_connections stale_timeout timeout sslcert sslkey sslcrl check_same_thread""",
}
STORAGE_LATER: Final = """RadosGWStorage S3Storage STSS3Storage GoogleCloudStorage SwiftStorage AzureStorage
    CloudFrontedS3Storage CloudFlareS3Storage AkamaiS3Storage MultiCDNStorage RHOCSStorage IBMCloudStorage
    DistributedStorage"""

_OFF: Final[tuple[object, ...]] = (None, False, "", [], {})
_NEUTRAL: Final[Mapping[str, object]] = {"LOGS_MODEL": "database", "AVATAR_KIND": "local", "DEBUG": False}


def _patterns(*tables: str) -> list[str]:
    return [pattern for table in tables for pattern in table.split()]


KNOWN: Final = _patterns(*LATER.values(), UNENFORCED, ALWAYS, *NO_EFFECT.values())


def is_known(key: str) -> bool:
    """Whether Quay has a key of this name that this release does not implement."""
    return _matches(key, KNOWN)


def remarks(written: Mapping[str, object]) -> Iterator[str]:
    """
    What an administrator should know about the known keys of `written`, one sentence for each subject. A key that
    asks for what happens anyway is passed over.
    """
    asked = {key: value for key, value in written.items() if not _is_neutral(key, value)}
    for subject, table in LATER.items():
        if keys := [key for key in asked if _matches(key, _patterns(table))]:
            yield f"{_join(keys)}: not implemented yet ({subject}), so {_it_has(keys)} no effect."
    for key in (key for key in asked if _matches(key, _patterns(UNENFORCED))):
        advice = " Use REGISTRY_STATE: readonly to refuse pushes." if key == "DISABLE_PUSHES" else ""
        yield f"{key}: this restriction is not implemented yet and is NOT enforced.{advice}"
    for key in (key for key in ALWAYS.split() if asked.get(key, True) is not True):
        yield f"{key}: this cannot be turned off here."
    for reason, table in NO_EFFECT.items():
        if keys := [key for key in asked if _matches(key, _patterns(table))]:
            yield f"{_join(keys)}: {'has' if len(keys) == 1 else 'have'} no effect here because {reason}."


def is_driver_to_come(name: str) -> bool:
    """Whether Quay has a storage driver of this name that this release does not implement."""
    return name in STORAGE_LATER.split()


def take_options(key: str, value: object) -> tuple[object, list[str]]:
    """`value` of the implemented `key` without those of Quay's options in it that are not, and a remark on these."""
    later = WITHIN.get(key, "").split()
    if not later or not isinstance(value, dict) or not any(name in value for name in later):
        return value, []
    paths = [f"{key}.{name}" for name in value if name in later]
    rest = {name: option for name, option in value.items() if name not in later}
    return rest, [f"{_join(paths)}: not used by this release."]


def _is_neutral(key: str, value: object) -> bool:
    if key in ALWAYS.split():
        return value is True
    return any(value is off or (value == off and type(value) is type(off)) for off in (*_OFF, _NEUTRAL.get(key)))


def _matches(key: str, patterns: list[str]) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in patterns)


def _join(keys: list[str]) -> str:
    return ", ".join(keys)


def _it_has(keys: list[str]) -> str:
    return "it has" if len(keys) == 1 else "they have"
