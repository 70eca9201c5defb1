"""
The configuration as one frozen value: every key that this release implements, with its type, default and meaning.

This class is the only list of keys: the parser, the commented default file and the reference are all made from it.
Source: Quay's configuration (names and meanings); keys that Quay does not have are marked as ours.
"""

# ruff: noqa: RUF009  # setting() is attrs.field() with a name, and numbers cannot change

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import attrs

from quay.config.secrets import DatabaseUri, Secret
from quay.config.values import (
    Authentication,
    Count,
    Duration,
    Endpoint,
    Hostname,
    Index,
    Kept,
    MailSender,
    Minutes,
    Network,
    Port,
    Size,
    TimeOfDay,
)

SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
LogLevel = Literal["debug", "info", "warn", "error", "critical"]

LISTENING: Final = "Where it listens"
KEEPING: Final = "Where things are kept"
BACKUPS: Final = "Backups"
SECRETS: Final = "Secrets"
ACCESS: Final = "Who may do what"
REGISTRY: Final = "The registry"
TAGS: Final = "Tags, expiration and the time machine"
TOKENS: Final = "Tokens and keys"
OUTSIDE: Final = "Calls to other servers"
MAIL: Final = "E-mail"
PROCESS: Final = "The process"


@attrs.frozen
class Setting:
    """One key: its name, its default as it would stand in the file, what it means, and where the reference puts it."""

    key: str
    default: object
    doc: str
    section: str
    ours: bool


def setting(key: str, default: object, section: str, doc: str, *, ours: bool = False) -> Any:
    """An attribute that the configuration file calls `key`. Its value always comes from the parser."""
    return attrs.field(metadata={"setting": Setting(key, default, doc, section, ours)})


@attrs.frozen(kw_only=True)
class Redis:
    """How to reach a Redis server."""

    host: str
    port: Port = Port(6379)
    password: Secret | None = None
    ssl: bool = False
    db: Index = Index(0)


@attrs.frozen(kw_only=True)
class Authority:
    """Whom to believe about the identity of a server: a file of CA certificates."""

    ca: Path


@attrs.frozen(kw_only=True)
class DatabaseArguments:
    """How to speak TLS with PostgreSQL, in libpq's words or in Quay's (`ssl: {ca: path}`)."""

    sslmode: SslMode | None = None
    sslrootcert: Path | None = None
    ssl: Authority | None = None

    def for_libpq(self) -> dict[str, str]:
        """The arguments of `connect`. A CA without a mode means that the server must prove its name."""
        ca = self.sslrootcert or (self.ssl and self.ssl.ca)
        mode = self.sslmode or ("verify-full" if ca else None)
        return {key: str(value) for key, value in (("sslmode", mode), ("sslrootcert", ca)) if value}


@attrs.frozen
class StorageLocation:
    """A place where blobs are, and the driver that reaches it; paths among its options are absolute."""

    name: str
    driver: str
    options: Mapping[str, str]


@attrs.frozen(kw_only=True)
class Config:
    """Everything that an administrator has decided. Made by `quay.config.load` or `parse`; never changes."""

    listen: tuple[Endpoint, ...] = setting(
        "LISTEN", "127.0.0.1:8080", LISTENING, "The address and port to listen on, or a list of them.", ours=True
    )
    tls_certificate: Path | None = setting(
        "TLS_CERTIFICATE", None, LISTENING, "A PEM file: the certificate, then those that lead to its CA.", ours=True
    )
    tls_key: Path | None = setting(
        "TLS_KEY", None, LISTENING, "The PEM file with the private key of TLS_CERTIFICATE.", ours=True
    )
    plain_listen: tuple[Endpoint, ...] = setting(
        "PLAIN_LISTEN",
        [],
        LISTENING,
        "Addresses and ports where, beside TLS, plain HTTP serves the certificate of the registry's own authority "
        "(/ca), and sends everything else on to https.",
        ours=True,
    )
    external_tls_termination: bool = setting(
        "EXTERNAL_TLS_TERMINATION", False, LISTENING, "Whether a proxy in front speaks TLS with the clients."
    )
    preferred_scheme: Literal["http", "https"] | None = setting(
        "PREFERRED_URL_SCHEME", None, LISTENING, "What clients use; if not given, https where there is TLS, else http."
    )
    hostname: Hostname | None = setting(
        "SERVER_HOSTNAME",
        None,
        LISTENING,
        "How clients reach the registry: host or host:port; if not given, what each request says in its Host header.",
    )
    trusted_proxies: tuple[Network, ...] = setting(
        "TRUSTED_PROXIES",
        [],
        LISTENING,
        "The networks of the proxies whose X-Forwarded-For and X-Forwarded-Proto are believed.",
        ours=True,
    )
    metrics_networks: tuple[Network, ...] = setting(
        "METRICS_NETWORKS",
        ["127.0.0.0/8", "::1"],
        LISTENING,
        "The networks from which /metrics may be read; whoever comes through a proxy that is not one of "
        "TRUSTED_PROXIES may not.",
        ours=True,
    )
    maximum_connections: Count = setting(
        "MAXIMUM_CONNECTIONS", 1000, LISTENING, "How many connections may be open at once.", ours=True
    )

    data: Path = setting(
        "DATA",
        "var",
        KEEPING,
        "The directory of all data and the start of every other relative path; relative itself, it begins where this "
        "file is.",
        ours=True,
    )
    database_uri: DatabaseUri = setting(
        "DB_URI",
        "sqlite:///quay.db",
        KEEPING,
        "The database: sqlite:///path, or postgresql://user:password@host:5432/name for several nodes.",
    )
    database_arguments: DatabaseArguments = setting(
        "DB_CONNECTION_ARGS", {}, KEEPING, "TLS with PostgreSQL: sslmode, and sslrootcert or ssl: {ca: path}."
    )
    storage: Mapping[str, StorageLocation] = setting(
        "DISTRIBUTED_STORAGE_CONFIG",
        {"default": ["LocalStorage", {"storage_path": "blobs"}]},
        KEEPING,
        "Where blobs are: {name: [driver, {options}]}. The driver of this release is LocalStorage, with its option "
        "storage_path.",
    )
    storage_preference: tuple[str, ...] = setting(
        "DISTRIBUTED_STORAGE_PREFERENCE",
        [],
        KEEPING,
        "The locations in the order in which this node reads them; it writes to the first. Empty means all of them.",
    )
    events_redis: Redis | None = setting(
        "USER_EVENTS_REDIS",
        None,
        KEEPING,
        "The Redis through which several nodes agree: host, port, password, ssl and db. One node needs none.",
    )

    backup_directory: Path | None = setting(
        "BACKUP_DIRECTORY",
        None,
        BACKUPS,
        "The directory in which the server makes backups by itself: on another disk than DATA, or on another machine "
        "that is mounted there. Without it, it makes none.",
        ours=True,
    )
    backup_schedule: tuple[TimeOfDay, ...] = setting(
        "BACKUP_SCHEDULE",
        ["02:00"],
        BACKUPS,
        "The times of day, of the clock of this machine, at which a backup begins; a time that was missed is made up "
        "for. Empty means only when somebody asks.",
        ours=True,
    )
    backup_blobs: bool = setting(
        "BACKUP_BLOBS",
        True,
        BACKUPS,
        "Whether there are blobs in these backups; if false, somebody else has to take care of the storage.",
        ours=True,
    )
    backup_keep_daily: Kept = setting(
        "BACKUP_KEEP_DAILY",
        7,
        BACKUPS,
        "For how many days the last backup of each is kept, besides the latest one.",
        ours=True,
    )
    backup_keep_weekly: Kept = setting(
        "BACKUP_KEEP_WEEKLY", 4, BACKUPS, "For how many weeks the last backup of each is kept.", ours=True
    )
    backup_keep_monthly: Kept = setting(
        "BACKUP_KEEP_MONTHLY", 6, BACKUPS, "For how many months the last backup of each is kept.", ours=True
    )

    secret_key: Secret | None = setting(
        "SECRET_KEY",
        None,
        SECRETS,
        "Protects sessions and page tokens, the same on every node; `quay init` makes one. If not given, it is made at "
        "the first start and kept in DATA.",
    )
    database_secret_key: Secret | None = setting(
        "DATABASE_SECRET_KEY",
        None,
        SECRETS,
        "Encrypts secrets in the database, which are lost if it changes, the same on every node; `quay init` makes "
        "one. If not given, it is made at the first start and kept in DATA.",
    )

    authentication: Authentication = setting(
        "AUTHENTICATION_TYPE", "Database", ACCESS, "Who may log in: Database, or AppToken for tokens and robots only."
    )
    direct_login: bool = setting("FEATURE_DIRECT_LOGIN", True, ACCESS, "Whether a user may log in with a password.")
    app_specific_tokens: bool = setting(
        "FEATURE_APP_SPECIFIC_TOKENS",
        True,
        ACCESS,
        "Whether users may have tokens for docker, podman and scripts, and log in with them as $app.",
    )
    app_specific_token_expiration: Duration | None = setting(
        "APP_SPECIFIC_TOKEN_EXPIRATION",
        None,
        ACCESS,
        "How long a new app-specific token is good; if not given, until somebody revokes it.",
    )
    expired_app_specific_token_gc: Duration | None = setting(
        "EXPIRED_APP_SPECIFIC_TOKEN_GC",
        "1d",
        ACCESS,
        "How long an expired app-specific token is still shown to its user; null means for ever.",
    )
    anonymous_access: bool = setting(
        "FEATURE_ANONYMOUS_ACCESS", True, ACCESS, "Whether public repositories can be pulled without logging in."
    )
    aggregated_log_counts: bool = setting(
        "FEATURE_AGGREGATED_LOG_COUNT_RETRIEVAL", True, ACCESS, "Whether the entries of the audit log can be counted."
    )
    log_export: bool = setting(
        "FEATURE_LOG_EXPORT", True, ACCESS, "Whether a part of the audit log can be exported through the API."
    )
    super_users: tuple[str, ...] = setting("SUPER_USERS", [], ACCESS, "The users who administer the registry.")
    super_users_allowed: bool = setting(
        "FEATURE_SUPER_USERS", True, ACCESS, "Whether SUPER_USERS have any power; if false, the list is ignored."
    )
    user_last_accessed: bool = setting(
        "FEATURE_USER_LAST_ACCESSED", True, ACCESS, "Whether the time of each user's and robot's last login is kept."
    )
    robots_disallow: bool = setting(
        "ROBOTS_DISALLOW", False, ACCESS, "Whether robots are kept out, and none can be made, but for ROBOTS_WHITELIST."
    )
    robots_whitelist: tuple[str, ...] = setting(
        "ROBOTS_WHITELIST", [], ACCESS, "The robots, as namespace+robot, that there may be in spite of ROBOTS_DISALLOW."
    )
    superusers_org_creation_only: bool = setting(
        "FEATURE_SUPERUSERS_ORG_CREATION_ONLY", False, ACCESS, "Whether only superusers may make organizations."
    )
    create_private_repo_on_push: bool = setting(
        "CREATE_PRIVATE_REPO_ON_PUSH", True, ACCESS, "Whether a repository that a push creates is private."
    )
    create_namespace_on_push: bool = setting(
        "CREATE_NAMESPACE_ON_PUSH", False, ACCESS, "Whether a push to an unknown namespace creates an organization."
    )

    user_creation: bool = setting(
        "FEATURE_USER_CREATION", True, ACCESS, "Whether anybody may make an account for himself; superusers always may."
    )
    invite_only_user_creation: bool = setting(
        "FEATURE_INVITE_ONLY_USER_CREATION",
        False,
        ACCESS,
        "Whether only those who were invited may; without e-mail nobody is, so it means nobody.",
    )
    user_initialize: bool = setting(
        "FEATURE_USER_INITIALIZE",
        False,
        ACCESS,
        "Whether the first user of an empty registry, a superuser, can be made with /api/v1/user/initialize.",
    )
    user_rename: bool = setting(
        "FEATURE_USER_RENAME",
        False,
        ACCESS,
        "Whether users may change their names, and with them those of their robots and repositories.",
    )

    session_lifetime: Duration = setting(
        "SESSION_LIFETIME", "30d", ACCESS, "How long a browser stays logged in after it was last here.", ours=True
    )
    fresh_login_timeout: Duration = setting(
        "FRESH_LOGIN_TIMEOUT", "10m", ACCESS, "How long after a login dangerous things are done without the password."
    )

    local_oauth_handler: str = setting(
        "LOCAL_OAUTH_HANDLER", "/oauth/localapp", ACCESS, "The page to which any application may have a token sent."
    )
    direct_oauth_clients: tuple[str, ...] = setting(
        "DIRECT_OAUTH_CLIENTID_WHITELIST",
        [],
        ACCESS,
        "The client ids of applications that may take a user's name and password instead of asking him in a browser.",
    )

    registry_title: str = setting("REGISTRY_TITLE", "Quay", REGISTRY, "What the registry calls itself.")
    registry_state: Literal["normal", "readonly"] = setting(
        "REGISTRY_STATE", "normal", REGISTRY, "readonly refuses every push and deletion; pulls go on."
    )
    library_support: bool = setting(
        "FEATURE_LIBRARY_SUPPORT", True, REGISTRY, "Whether a name without a namespace means LIBRARY_NAMESPACE."
    )
    library_namespace: str = setting(
        "LIBRARY_NAMESPACE", "library", REGISTRY, "The namespace of repositories that are named without one."
    )
    extended_repository_names: bool = setting(
        "FEATURE_EXTENDED_REPOSITORY_NAMES", True, REGISTRY, "Whether a repository's name may have slashes in it."
    )
    public_catalog: bool = setting(
        "FEATURE_PUBLIC_CATALOG", False, REGISTRY, "Whether the catalog also lists public repositories."
    )
    referrers_api: bool = setting(
        "FEATURE_REFERRERS_API", True, REGISTRY, "Whether signatures and other artifacts are found by their subject."
    )
    sparse_index: bool = setting(
        "FEATURE_SPARSE_INDEX", True, REGISTRY, "Whether an index may be pushed of which not every manifest is here."
    )
    signing: bool = setting(
        "FEATURE_SIGNING", False, REGISTRY, "Whether a repository can say that its tags are signed (content trust)."
    )
    search_results_per_page: Count = setting(
        "SEARCH_RESULTS_PER_PAGE", 10, REGISTRY, "How many repositories one page of a search has."
    )
    search_max_result_page_count: Count = setting(
        "SEARCH_MAX_RESULT_PAGE_COUNT", 10, REGISTRY, "How many pages of a search there are at most."
    )
    partial_user_autocomplete: bool = setting(
        "FEATURE_PARTIAL_USER_AUTOCOMPLETE",
        True,
        ACCESS,
        "Whether users are found by the beginning of a name; if false, by the whole name only.",
    )
    maximum_layer_size: Size = setting("MAXIMUM_LAYER_SIZE", "20G", REGISTRY, "The largest blob that may be pushed.")
    pagination_size: Count = setting(
        "V2_PAGINATION_SIZE", 100, REGISTRY, "How many tags or repositories one page of /v2/ has at most."
    )
    upload_expiration: Duration = setting(
        "UPLOAD_EXPIRATION", "2d", REGISTRY, "How long an unfinished upload is kept after its last byte.", ours=True
    )

    default_tag_expiration: Duration = setting(
        "DEFAULT_TAG_EXPIRATION",
        "2w",
        TAGS,
        "How long a deleted or moved tag can be restored, unless the namespace says.",
    )
    tag_expiration_options: tuple[Duration, ...] = setting(
        "TAG_EXPIRATION_OPTIONS",
        ["0s", "1d", "1w", "2w", "4w"],
        TAGS,
        "What a user or an organization can choose instead of DEFAULT_TAG_EXPIRATION.",
    )
    push_temp_tag_expiration: Duration = setting(
        "PUSH_TEMP_TAG_EXPIRATION_SEC", 3600, TAGS, "How long pushed content is safe from collection without a tag."
    )

    change_tag_expiration: bool = setting(
        "FEATURE_CHANGE_TAG_EXPIRATION",
        True,
        TAGS,
        "Whether users may say when a tag expires, and for how long their deleted tags can be restored.",
    )
    labeled_expiration_minimum: Duration = setting(
        "LABELED_EXPIRATION_MINIMUM", "1h", TAGS, "The shortest life that the label quay.expires-after gives a tag."
    )
    labeled_expiration_maximum: Duration = setting(
        "LABELED_EXPIRATION_MAXIMUM", "104w", TAGS, "The longest life that the label quay.expires-after gives a tag."
    )
    immutable_tags: bool = setting(
        "FEATURE_IMMUTABLE_TAGS", True, TAGS, "Whether a tag can be locked, so that it is neither moved nor deleted."
    )
    image_pull_stats: bool = setting(
        "FEATURE_IMAGE_PULL_STATS", True, TAGS, "Whether it is counted how often tags are pulled, and when last."
    )
    permanently_delete_tags: bool = setting(
        "PERMANENTLY_DELETE_TAGS", False, TAGS, "Whether users may put a tag beyond restoration before its time is up."
    )
    label_key_reserved_prefixes: tuple[str, ...] = setting(
        "LABEL_KEY_RESERVED_PREFIXES", [], TAGS, "Prefixes of labels that users may not add, besides the next key's."
    )
    default_label_key_reserved_prefixes: tuple[str, ...] = setting(
        "DEFAULT_LABEL_KEY_RESERVED_PREFIXES",
        [
            "com.docker.",
            "io.docker.",
            "org.dockerproject.",
            "org.opencontainers.",
            "io.cncf.",
            "io.kubernetes.",
            "io.k8s.",
            "io.quay",
            "com.coreos",
            "com.tectonic",
            "internal",
            "quay",
        ],
        TAGS,
        "The prefixes that are always reserved; quay.expires-after may be added all the same.",
    )

    garbage_collection: bool = setting(
        "FEATURE_GARBAGE_COLLECTION", True, TAGS, "Whether what nobody can reach or restore is removed; `quay gc` does."
    )
    garbage_collection_frequency: Duration = setting(
        "GARBAGE_COLLECTION_FREQUENCY", 30, TAGS, "How long the garbage collector rests between two runs."
    )

    jwt_maximum_age: Duration = setting(
        "REGISTRY_JWT_AUTH_MAX_FRESH_S", 3660, TOKENS, "How long a bearer token is good; never for more than an hour."
    )
    service_key_service: str = setting(
        "INSTANCE_SERVICE_KEY_SERVICE", "quay", TOKENS, "The service in whose name signing keys are made."
    )
    service_key_expiration: Minutes = setting(
        "INSTANCE_SERVICE_KEY_EXPIRATION", 120, TOKENS, "How long a signing key lives without being refreshed."
    )
    service_key_refresh: Minutes = setting(
        "INSTANCE_SERVICE_KEY_REFRESH", 55, TOKENS, "How often a node refreshes its signing key."
    )

    egress_networks: tuple[Network, ...] = setting(
        "EGRESS_NETWORKS",
        [],
        OUTSIDE,
        "The networks besides the public ones that webhooks and other addresses which users choose may lead to: "
        "10.0.0.0/8, say. Loopback, link-local, multicast and cloud metadata need a network within their own range.",
        ours=True,
    )
    egress_ca: Path | None = setting(
        "EGRESS_CA",
        None,
        OUTSIDE,
        "A PEM file: the CAs that are believed about servers which are called, instead of those of the machine.",
        ours=True,
    )
    webhook_hostname_blacklist: tuple[str, ...] = setting(
        "WEBHOOK_HOSTNAME_BLACKLIST", [], OUTSIDE, "Names of hosts that are not called, whatever their addresses are."
    )

    mailing_allowed: bool = setting(
        "FEATURE_MAILING", True, MAIL, "Whether letters are sent; without MAIL_SERVER, none are."
    )
    mail_server: Hostname | None = setting(
        "MAIL_SERVER", None, MAIL, "The name of the server that takes letters (SMTP), without a port."
    )
    mail_port: Port = setting("MAIL_PORT", 587, MAIL, "The port of MAIL_SERVER.")
    mail_use_tls: bool = setting(
        "MAIL_USE_TLS",
        True,
        MAIL,
        "Whether MAIL_SERVER must speak TLS (STARTTLS), with a certificate for its name; if false, letters and "
        "MAIL_PASSWORD travel in the clear.",
    )
    mail_username: str | None = setting(
        "MAIL_USERNAME", None, MAIL, "The name with which to log in to MAIL_SERVER; if not given, nobody logs in."
    )
    mail_password: Secret | None = setting("MAIL_PASSWORD", None, MAIL, "The password of MAIL_USERNAME.")
    mail_default_sender: MailSender | None = setting(
        "MAIL_DEFAULT_SENDER",
        None,
        MAIL,
        "From whom letters come, quay@example.org or Quay <quay@example.org>; needed where there is MAIL_SERVER.",
    )

    log_level: LogLevel = setting(
        "LOG_LEVEL", "info", PROCESS, "The least important events that are logged.", ours=True
    )
    setup_console: bool = setting(
        "FEATURE_SETUP_CONSOLE",
        True,
        PROCESS,
        "Whether the registry can be set up in a browser: by who has the address that the first start prints, and "
        "afterwards by superusers.",
        ours=True,
    )
    setup_complete: bool = setting(
        "SETUP_COMPLETE", True, PROCESS, "Whether this registry is set up; while false, background work rests."
    )

    warnings: tuple[str, ...] = ()

    @property
    def database_url(self) -> str:
        """What the database is opened with: DB_URI and DB_CONNECTION_ARGS in one. There may be a password in it."""
        return self.database_uri.reveal_with(self.database_arguments.for_libpq())

    @property
    def mailing(self) -> bool:
        """Whether letters are sent: then there are a server and a sender."""
        return self.mailing_allowed and self.mail_server is not None

    @property
    def scheme(self) -> Literal["http", "https"]:
        """What clients use, whether they speak with us or with a proxy in front of us."""
        tls = self.tls_certificate is not None or self.external_tls_termination
        return self.preferred_scheme or ("https" if tls else "http")


attrs.resolve_types(Config)
SETTINGS: Final[Mapping[str, attrs.Attribute[Any]]] = {
    field.metadata["setting"].key: field for field in attrs.fields(Config) if "setting" in field.metadata
}
