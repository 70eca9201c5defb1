"""
What only several keys together can get wrong, and what is allowed but worth a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from quay.config.keys import Config
from quay.config.secrets import Secret
from quay.config.values import Duration
from quay.oci.errors import NameInvalid
from quay.oci.reference import RepositoryName

LONGEST_TOKEN_S: Final = 3660
"""The longest life of a token that a key signs: for so long a key outlives its last use."""
SHORTEST_TOKEN_S: Final = 60
"""Clients take every token for as good as this (Docker Registry v2 authentication, `expires_in`)."""


def contradictions(config: Config) -> Iterator[str]:
    """A sentence for every pair of keys that cannot both be meant."""
    yield from _tls(config)
    yield from _database(config)
    yield from _locations(config)
    yield from _tokens(config)
    yield from _mail(config)
    yield from _backups(config)
    passwords = config.direct_login and config.authentication == "Database"
    if not passwords and not config.app_specific_tokens:
        yield "FEATURE_APP_SPECIFIC_TOKENS: without passwords and tokens no user could log in; allow one of them."
    if not _is_namespace(config.library_namespace):
        yield "LIBRARY_NAMESPACE: is not a namespace; use lower-case letters and digits, separated by '.', '_' or '-'."
    if len(set(config.listen)) < len(config.listen) or not config.listen:
        yield "LISTEN: is empty or names an address twice; name each address once."


def _is_namespace(name: str) -> bool:
    try:
        return RepositoryName.parse(f"{name}/repository").namespace == name
    except NameInvalid:
        return False


def _tls(config: Config) -> Iterator[str]:
    ours = config.tls_certificate is not None
    if ours is not (config.tls_key is not None):
        yield "TLS_CERTIFICATE: goes together with TLS_KEY; give both, or neither."
    if config.preferred_scheme == "https" and not ours and not config.external_tls_termination:
        yield (
            "PREFERRED_URL_SCHEME: is https, but nothing speaks TLS; give TLS_CERTIFICATE and TLS_KEY (Quay's ssl.cert "
            "and ssl.key will do), or say EXTERNAL_TLS_TERMINATION: true if a proxy in front does."
        )
    if config.preferred_scheme == "http" and (ours or config.external_tls_termination):
        yield "PREFERRED_URL_SCHEME: is http, but there is TLS; write https, or leave the key out."


def _database(config: Config) -> Iterator[str]:
    for name in sorted(config.database_uri.options.intersection(config.database_arguments.for_libpq())):
        yield f"DB_CONNECTION_ARGS: decides {name}, and so does DB_URI; say it in one of them."


def _locations(config: Config) -> Iterator[str]:
    names = config.storage_preference
    for name in (name for name in names if name not in config.storage):
        yield f"DISTRIBUTED_STORAGE_PREFERENCE: there is no location {name!r}; there are {', '.join(config.storage)}."
    if len(set(names)) < len(names):
        yield "DISTRIBUTED_STORAGE_PREFERENCE: names a location twice; name each once."


def _tokens(config: Config) -> Iterator[str]:
    least = Duration(config.service_key_refresh + LONGEST_TOKEN_S)
    if config.service_key_expiration < least:
        yield (
            f"INSTANCE_SERVICE_KEY_EXPIRATION: a key would expire before the last token that it signed; make it {least}"
            f" or more, or make INSTANCE_SERVICE_KEY_REFRESH ({config.service_key_refresh}) shorter."
        )
    if config.jwt_maximum_age < SHORTEST_TOKEN_S:
        yield (
            f"REGISTRY_JWT_AUTH_MAX_FRESH_S: {config.jwt_maximum_age} is too short, because clients use a token for a "
            "minute at least; make it 1m or more."
        )


def _mail(config: Config) -> Iterator[str]:
    if config.mailing and config.mail_default_sender is None:
        yield "MAIL_DEFAULT_SENDER: says from whom letters come, and MAIL_SERVER sends none without; give it."
    if re.search(r":[0-9]+$", config.mail_server or ""):
        yield "MAIL_SERVER: has a port in it; write that as MAIL_PORT."
    if config.mailing and (config.mail_username is None) is not (config.mail_password is None):
        yield "MAIL_USERNAME: goes together with MAIL_PASSWORD; give both, or neither."


def _backups(config: Config) -> Iterator[str]:
    directory = config.backup_directory
    stores = [Path(location.options.get("storage_path", "")) for location in config.storage.values()]
    if directory is not None and (directory == config.data or any(map(directory.is_relative_to, stores))):
        yield "BACKUP_DIRECTORY: is where the registry itself keeps its data; name a directory elsewhere."


def concerns(config: Config) -> Iterator[str]:
    """A sentence for everything that works and is probably not meant."""
    tls = config.tls_certificate is not None or config.external_tls_termination
    if not tls and any(not endpoint.is_loopback for endpoint in config.listen):
        yield "LISTEN: other machines can connect, but without TLS passwords travel in the clear; give TLS_CERTIFICATE."
    if _is_out_of_reach(config):
        yield f"LISTEN: only this machine can connect, although clients are told {config.hostname}; use 0.0.0.0."
    if config.external_tls_termination and not config.trusted_proxies:
        yield "TRUSTED_PROXIES: is empty, so every request seems to come from the proxy; name the proxy's network."
    if config.mailing and config.mail_password is not None and not config.mail_use_tls:
        yield "MAIL_USE_TLS: is false, so MAIL_PASSWORD travels to the mail server in the clear."
    if config.super_users and not config.super_users_allowed:
        yield "SUPER_USERS: is ignored because FEATURE_SUPER_USERS is false."
    if config.events_redis is not None and config.database_uri.is_sqlite:
        yield "DB_URI: is SQLite, which serves one node, but USER_EVENTS_REDIS is for several; use PostgreSQL."
    if config.database_arguments.for_libpq() and config.database_uri.is_sqlite:
        yield "DB_CONNECTION_ARGS: is for PostgreSQL, and has no effect on the SQLite file that DB_URI names."
    if not config.setup_complete:
        yield "SETUP_COMPLETE: is false, so background work rests: tags do not expire, and dead uploads stay."
    if config.events_redis is not None and None in (config.secret_key, config.database_secret_key):
        yield "SECRET_KEY, DATABASE_SECRET_KEY: must be given, and be the same on every node, where there are several."
    yield from _weak("SECRET_KEY", config.secret_key)
    yield from _weak("DATABASE_SECRET_KEY", config.database_secret_key)


def _is_out_of_reach(config: Config) -> bool:
    """Whether nobody else can connect although the registry has a name, and no proxy is there to help."""
    local = all(endpoint.is_loopback for endpoint in config.listen)
    behind_proxy = bool(config.trusted_proxies) or config.external_tls_termination
    name = (config.hostname or "localhost").lower()
    return local and not behind_proxy and not name.startswith(("localhost", "127.", "[::1]"))


def _weak(key: str, secret: Secret | None) -> Iterator[str]:
    if secret is not None and len(secret.reveal()) < 16:
        yield f"{key}: is shorter than 16 characters and can be guessed; `quay init` writes a good one."
