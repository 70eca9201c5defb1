"""A configuration as a whole: defaults, overrides, everything wrong at once, and contradictions."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from quay.auth import token
from quay.config import Config, ConfigError, Endpoint, checks, load, parse
from quay.config.keys import SETTINGS

BASE = Path("/etc/quay")


def problems(text: str, **environ: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parse(text, environ, BASE)
    return caught.value.problems


def warnings(text: str, **environ: str) -> str:
    return "\n".join(parse(text, environ, BASE).warnings)


def test_defaults() -> None:
    """Without a word from the administrator there is a working registry for this machine, and nothing to warn of."""
    config = parse("", {}, BASE)
    assert config.listen == (Endpoint("127.0.0.1", 8080),)
    assert config.scheme == "http"
    assert config.data == BASE / "var"
    assert config.database_uri.reveal() == "sqlite:////etc/quay/var/quay.db"
    assert config.storage["default"].options == {"storage_path": "/etc/quay/var/blobs"}
    assert config.storage_preference == ("default",)
    assert config.warnings == ()


def test_frozen() -> None:
    """A configuration does not change."""
    with pytest.raises(AttributeError):
        parse("", {}, BASE).setup_complete = True  # type: ignore[misc]  # that is the point


def test_null_is_default() -> None:
    """A key without a value has its default."""
    assert parse("\n".join(f"{key}:" for key in SETTINGS), {}, BASE) == parse("", {}, BASE)


def test_nothing_but_attributes_of_config() -> None:
    """Every key has an attribute, and every attribute but the warnings has a key."""
    names = {field.name for field in SETTINGS.values()}
    assert names == {field.name for field in Config.__attrs_attrs__} - {"warnings"}


def test_everything_at_once() -> None:
    """Every error is told in one go, with the path of the value it is about."""
    found = problems(
        """
        LISTEN: [127.0.0.1:8080, nonsense]
        USER_EVENTS_REDIS: {hots: x, port: 99999, ssl: "yes"}
        DB_CONNECTION_ARGS: {sslmode: verify, ssl: {}}
        TRUSTED_PROXIES: 10.0.0.0/8
        UPLOAD_EXPIRATION: 2 weeks
        SUPER_USERS: [alice, 5]
        DISTRIBUTED_STORAGE_CONFIG:
          {a: [S3Storage, {s3_bucket: b}], b: [LocalStorage, {path: x}], c: LocalStorage, 4: []}
        FEATURE_ANONYMOUS_ACCESS: "false"
        REGISTRY_STATE: frozen
        SECRET_KEY: {file: no-such-file}
        """
    )
    assert [problem.partition(":")[0] for problem in found] == [
        "LISTEN[1]",
        "DB_CONNECTION_ARGS.sslmode",
        "DB_CONNECTION_ARGS.ssl.ca",
        "DISTRIBUTED_STORAGE_CONFIG.a",
        "DISTRIBUTED_STORAGE_CONFIG.b",
        "DISTRIBUTED_STORAGE_CONFIG.c",
        "DISTRIBUTED_STORAGE_CONFIG.4",
        "USER_EVENTS_REDIS.host",
        "USER_EVENTS_REDIS.port",
        "USER_EVENTS_REDIS.ssl",
        "USER_EVENTS_REDIS",
        "SECRET_KEY",
        "FEATURE_ANONYMOUS_ACCESS",
        "SUPER_USERS[1]",
        "REGISTRY_STATE",
        "UPLOAD_EXPIRATION",
    ]
    assert "Did you mean host?" in "\n".join(found)
    assert str(ConfigError(*found)) == "\n".join(found)


def test_unknown_keys() -> None:
    """An unknown key is an error that names the key that was probably meant, also among those not implemented."""
    assert problems("SERVER_HOSTNME: x\nserver_hostname: y\nFEATURE_QUOTA_MANAGMENT: true\nXYZZY: 1") == (
        "SERVER_HOSTNME: there is no such key. Did you mean SERVER_HOSTNAME?",
        "server_hostname: there is no such key. Did you mean SERVER_HOSTNAME?",
        "FEATURE_QUOTA_MANAGMENT: there is no such key. Did you mean FEATURE_QUOTA_MANAGEMENT?",
        "XYZZY: there is no such key. `quay config reference` lists them all.",
    )


def test_relative_paths() -> None:
    """DATA begins where the file is; every other relative path begins in DATA."""
    config = parse("DATA: here\nTLS_CERTIFICATE: a.pem\nTLS_KEY: /abs/a.key\nDB_URI: sqlite:///x/q.db", {}, BASE)
    assert config.data == BASE / "here"
    assert (config.tls_certificate, config.tls_key) == (BASE / "here/a.pem", Path("/abs/a.key"))
    assert config.database_uri.place == "/etc/quay/here/x/q.db"


def test_bad_data() -> None:
    """A data directory that is no path is told once, and the rest is still checked."""
    assert problems("DATA: [a]\nSETUP_COMPLETE: 1") == (
        "DATA: is not a path; write text.",
        "SETUP_COMPLETE: 1 is neither true nor false; write one of them, without quotes.",
    )


def test_environment() -> None:
    """Variables replace keys: text, paths, secrets and lists as they stand, everything else as YAML."""
    config = parse(
        "LISTEN: 127.0.0.1:1\nREGISTRY_TITLE: file",
        {
            "QUAY_LISTEN": "[::1]:8080,0.0.0.0:80",
            "QUAY_DATA": "/data: 1",
            "QUAY_REGISTRY_TITLE": "Acme: #1 *registry*",
            "QUAY_SERVER_HOSTNAME": "localhost:5000",
            "QUAY_SECRET_KEY": "*not: an alias, in any way",
            "QUAY_DATABASE_SECRET_KEY": "{env: OTHER}",
            "QUAY_USER_EVENTS_REDIS": "{host: redis, password: {env: OTHER}}",
            "QUAY_FEATURE_LIBRARY_SUPPORT": "false",
            "QUAY_V2_PAGINATION_SIZE": "7",
            "QUAY_DEFAULT_TAG_EXPIRATION": "1w",
            "QUAY_DISTRIBUTED_STORAGE_CONFIG": "{a: [LocalStorage], b: [LocalStorage, {storage_path: b}]}",
            "QUAY_DISTRIBUTED_STORAGE_PREFERENCE": "b, a",
            "QUAY_SUPER_USERS": "[alice, bob]",
            "QUAY_MAXIMUM_LAYER_SIZE": "",
            "OTHER": "sixteen characters",
        },
        BASE,
    )
    assert [str(endpoint) for endpoint in config.listen] == ["[::1]:8080", "0.0.0.0:80"]
    assert config.data == Path("/data: 1")
    assert (config.registry_title, config.hostname) == ("Acme: #1 *registry*", "localhost:5000")
    assert config.secret_key and config.secret_key.reveal() == "*not: an alias, in any way"
    assert config.database_secret_key and config.database_secret_key.reveal() == "sixteen characters"
    assert config.events_redis and config.events_redis.password and config.events_redis.port == 6379
    assert not config.library_support
    assert (config.pagination_size, config.default_tag_expiration) == (7, 604800)
    assert config.storage_preference == ("b", "a")
    assert config.super_users == ("alice", "bob")
    assert config.maximum_layer_size == 20 * 10**9


def test_environment_mistakes() -> None:
    """A variable that names no key is a warning with its nearest; one with a bad value is an error that hides it."""
    assert warnings("", QUAY_LISTN="x", QUAY_CONFIG="y", QUAY_CRASH_AT="z", HOME="/") == (
        "QUAY_LISTN: there is no key LISTN. Did you mean LISTEN?"
    )
    (found,) = problems("", QUAY_USER_EVENTS_REDIS="{host: r, password: *hunter2}")
    assert found.startswith("QUAY_USER_EVENTS_REDIS: is not a YAML value") and "hunter2" not in found


def test_foreign_environment() -> None:
    """A key of Quay that is not implemented is treated alike, wherever it is set."""
    said = warnings("", QUAY_FEATURE_PROXY_CACHE="true")
    assert "FEATURE_PROXY_CACHE: not implemented yet (the pull-through cache)" in said
    assert warnings("", QUAY_FEATURE_PROXY_CACHE="false") == ""


def test_load(tmp_path: Path) -> None:
    """A file is read from where it is; without one, there are the defaults below the working directory."""
    (tmp_path / "quay.yaml").write_text("DATA: .\nREGISTRY_TITLE: Ours")
    config = load(tmp_path / "quay.yaml", {})
    assert (config.registry_title, config.data) == ("Ours", tmp_path)
    assert load(None, {}, data="/srv/quay").data == Path("/srv/quay")
    assert load(None, {}).data == Path.cwd() / "var"
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load(tmp_path / "absent.yaml", {})


@pytest.mark.parametrize(
    ("text", "scheme"),
    [
        ("", "http"),
        ("TLS_CERTIFICATE: a\nTLS_KEY: b", "https"),
        ("EXTERNAL_TLS_TERMINATION: true", "https"),
        ("EXTERNAL_TLS_TERMINATION: true\nPREFERRED_URL_SCHEME: https", "https"),
        ("PREFERRED_URL_SCHEME: http", "http"),
    ],
)
def test_scheme(text: str, scheme: str) -> None:
    """Clients use https where somebody speaks TLS."""
    assert parse(text, {}, BASE).scheme == scheme


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("TLS_KEY: a", "TLS_CERTIFICATE: goes together with TLS_KEY"),
        ("TLS_CERTIFICATE: a", "TLS_CERTIFICATE: goes together with TLS_KEY"),
        ("PREFERRED_URL_SCHEME: https", "but nothing speaks TLS"),
        ("PREFERRED_URL_SCHEME: http\nEXTERNAL_TLS_TERMINATION: true", "is http, but there is TLS"),
        (
            "INSTANCE_SERVICE_KEY_REFRESH: 120",
            "make it 181m or more, or make INSTANCE_SERVICE_KEY_REFRESH (2h) shorter",
        ),
        ("INSTANCE_SERVICE_KEY_EXPIRATION: 115", "expire before the last token that it signed; make it 116m"),
        ("REGISTRY_JWT_AUTH_MAX_FRESH_S: 59", "59s is too short"),
        (
            "DB_URI: postgresql://db/q?sslmode=require\nDB_CONNECTION_ARGS: {sslmode: require}",
            "decides sslmode, and so",
        ),
        ("DB_URI: postgresql://db/q?sslmode=allow\nDB_CONNECTION_ARGS: {ssl: {ca: a}}", "decides sslmode, and so does"),
        ("FEATURE_APP_SPECIFIC_TOKENS: false\nAUTHENTICATION_TYPE: AppToken", "no user could log in"),
        ("FEATURE_APP_SPECIFIC_TOKENS: false\nFEATURE_DIRECT_LOGIN: false", "no user could log in"),
        ("LIBRARY_NAMESPACE: Library", "is not a namespace"),
        ("LIBRARY_NAMESPACE: a/b", "is not a namespace"),
        ("LISTEN: []", "LISTEN: is empty"),
        ('LISTEN: ["127.0.0.1:80", "127.0.0.1:80"]', "twice"),
        ("DISTRIBUTED_STORAGE_PREFERENCE: [east]", "there is no location 'east'; there are default."),
        ("DISTRIBUTED_STORAGE_PREFERENCE: [default, default]", "names a location twice"),
        ("DISTRIBUTED_STORAGE_CONFIG: {a: [LocalStorage], b: [LocalStorage]}", "b: has the same storage_path as a"),
        ("DISTRIBUTED_STORAGE_CONFIG: {}", "is not a mapping of locations"),
        ("DISTRIBUTED_STORAGE_CONFIG: {a: [FtpStorage, {}]}", "there is no driver 'FtpStorage'"),
        ('REGISTRY_TITLE: "a\\nb"', "is not a line of text"),
        ("MAIL_SERVER: mail", "MAIL_DEFAULT_SENDER: says from whom letters come"),
        ("MAIL_SERVER: mail:25\nMAIL_DEFAULT_SENDER: a@b.c", "MAIL_SERVER: has a port in it"),
        ("MAIL_SERVER: mail\nMAIL_DEFAULT_SENDER: a@b.c\nMAIL_USERNAME: a", "goes together with MAIL_PASSWORD"),
        ("MAIL_SERVER: mail\nMAIL_DEFAULT_SENDER: a@b.c\nMAIL_PASSWORD: a", "goes together with MAIL_PASSWORD"),
    ],
)
def test_contradictions(text: str, sentence: str) -> None:
    """What cannot work is refused, with what to do."""
    (found,) = problems(text)
    assert sentence in found


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('LISTEN: "0.0.0.0:80"', "passwords travel in the clear"),
        ("SERVER_HOSTNAME: registry.example.org", "only this machine can connect"),
        ("EXTERNAL_TLS_TERMINATION: true", "TRUSTED_PROXIES: is empty"),
        ("SUPER_USERS: [a]\nFEATURE_SUPER_USERS: false", "SUPER_USERS: is ignored"),
        ("USER_EVENTS_REDIS: {host: r}", "is SQLite, which serves one node"),
        ("DB_CONNECTION_ARGS: {sslmode: require}", "has no effect on the SQLite file"),
        ("SETUP_COMPLETE: false", "background work rests"),
        (
            "MAIL_SERVER: m\nMAIL_DEFAULT_SENDER: a@b\nMAIL_USERNAME: a\nMAIL_PASSWORD: b\nMAIL_USE_TLS: false",
            "MAIL_USE_TLS: is false, so MAIL_PASSWORD travels",
        ),
        ("SECRET_KEY: short", "SECRET_KEY: is shorter than 16"),
        ("USER_EVENTS_REDIS: {host: r, ssl_cert_reqs: none}", "USER_EVENTS_REDIS.ssl_cert_reqs: not used"),
    ],
)
def test_concerns(text: str, sentence: str) -> None:
    """What works and is probably not meant is worth a warning."""
    assert sentence in warnings(text)


def test_warnings_of_a_refused_configuration() -> None:
    """A configuration that is refused still says what else was noticed."""
    with pytest.raises(ConfigError) as caught:
        parse("FEATURE_REPO_MIRROR: true\nSETUP_COMPLETE: maybe", {}, BASE)
    assert caught.value.warnings == (
        "FEATURE_REPO_MIRROR: not implemented yet (repository mirroring), so it has no effect.",
    )


@pytest.mark.parametrize(
    ("written", "arguments"),
    [
        ("{}", {}),
        ("{sslmode: require}", {"sslmode": "require"}),
        ("{ssl: {ca: ca.pem}}", {"sslmode": "verify-full", "sslrootcert": "/etc/quay/var/ca.pem"}),
        ("{sslmode: verify-ca, sslrootcert: /ca.pem}", {"sslmode": "verify-ca", "sslrootcert": "/ca.pem"}),
        ("{threadlocals: true, autorollback: true}", {}),
    ],
)
def test_database_arguments(written: str, arguments: dict[str, str]) -> None:
    """TLS with the database is asked for in libpq's words or in Quay's."""
    assert parse(f"DB_CONNECTION_ARGS: {written}", {}, BASE).database_arguments.for_libpq() == arguments


@pytest.mark.parametrize(
    ("uri", "query"),
    [
        ("postgresql://quay:p%40ss@db:5433/name", {}),
        ("postgresql://quay:p%40ss@db:5433/name?connect_timeout=9", {"connect_timeout": "9"}),
        ("postgresql://quay:p%40ss@db:5433/name?", {}),
    ],
)
def test_database_url(uri: str, query: dict[str, str]) -> None:
    """The address and the arguments are one URL, and a path with signs of a URL in it comes out as it was."""
    config = parse(f"DB_URI: {uri}\nDB_CONNECTION_ARGS: {{sslrootcert: '/c a&b=c?d#e%41+f.pem'}}", {}, BASE)
    found = sa.make_url(config.database_url)
    assert (found.password, found.host, found.port, found.database) == ("p@ss", "db", 5433, "name")
    assert found.query == {**query, "sslmode": "verify-full", "sslrootcert": "/c a&b=c?d#e%41+f.pem"}


def test_database_url_without_arguments() -> None:
    """Without arguments, and for SQLite in any case, the address is what it was."""
    uri = "postgresql+psycopg://quay@db/name?application_name=a%20b"
    assert parse(f"DB_URI: {uri}", {}, BASE).database_url == uri
    assert parse("DB_CONNECTION_ARGS: {sslmode: require}", {}, BASE).database_url == "sqlite:////etc/quay/var/quay.db"


def test_a_key_outlives_its_tokens() -> None:
    """The longest life of a token is the same here and where tokens are made."""
    assert checks.LONGEST_TOKEN_S == token.MAX_LIFETIME


@pytest.mark.parametrize(
    ("text", "mailing"),
    [
        ("", False),
        ("FEATURE_MAILING: true\nMAIL_DEFAULT_SENDER: a@b.c", False),
        ("MAIL_SERVER: mail\nMAIL_DEFAULT_SENDER: Quay <a@b.c>", True),
        ("MAIL_SERVER: mail\nFEATURE_MAILING: false", False),
    ],
)
def test_mailing(text: str, mailing: bool) -> None:
    """Letters are sent where there is a mail server for them, unless that is turned off."""
    assert parse(text, {}, BASE).mailing is mailing


@pytest.mark.parametrize("sender", ["quay", "a@b, c@d", "<a@b>, x", "'a@b\\r\\nBcc: c@d'", "Quay <a@b", "7"])
def test_no_sender(sender: str) -> None:
    """What could not stand in From is refused."""
    (found,) = problems(f"MAIL_DEFAULT_SENDER: {sender}".replace("'", '"'))
    assert found.startswith("MAIL_DEFAULT_SENDER: ") and "is not the sender of a letter" in found
