"""
The database and the storage of a Quay, made as its data model is documented, in SQLite or PostgreSQL: what an import of
one begins with. Nothing of ours is used to make it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import bcrypt
import sqlalchemy as sa
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from tests.distribution import Image, digest_of

KEY = "c1a5b2b0-6f1f-4d0a-9f4e-2a1d8d6d3a11"
"""The DATABASE_SECRET_KEY; a UUID, as Quay's own installers make it."""

metadata = sa.MetaData()


def _table(name: str, *columns: sa.Column[Any]) -> sa.Table:
    return sa.Table(name, metadata, sa.Column("id", sa.Integer, primary_key=True), *columns)


def _text(name: str, null: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(255), nullable=null)


def _long(name: str, null: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=null)


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean, nullable=False, default=False)


def _number(name: str, null: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=null)


def _time(name: str, null: bool = True) -> sa.Column[datetime]:
    return sa.Column(name, sa.DateTime, nullable=null, default=datetime(2024, 1, 2, 3, 4, 5, 678))


def _ref(name: str, null: bool = False) -> sa.Column[int]:
    return sa.Column(f"{name}_id", sa.Integer, nullable=null)


user = _table(
    "user",
    _text("uuid", True),
    _text("username"),
    _text("password_hash", True),
    _text("email"),
    _flag("verified"),
    _flag("organization"),
    _flag("robot"),
    _number("removed_tag_expiration_s"),
    sa.Column("enabled", sa.Boolean, nullable=False, default=True),
    *(_text(name, True) for name in ("given_name", "family_name", "company", "location")),
    _time("creation_date"),
    _time("last_accessed"),
)
_table("deletednamespace", _ref("namespace"), _text("original_username"))
_table("robotaccounttoken", _ref("robot_account"), _text("token"), _flag("fully_migrated"))
_table("robotaccountmetadata", _ref("robot_account"), _text("description"), _long("unstructured_json"))
for _name in (
    "teamrole",
    "role",
    "visibility",
    "repositorykind",
    "mediatype",
    "externalnotificationevent",
    "externalnotificationmethod",
    "imagestoragelocation",
    "tagkind",
):
    _table(_name, _text("name"))
_table("labelsourcetype", _text("name"), _flag("mutable"))
_table("team", _text("name"), _ref("organization"), _ref("role"), _long("description"))
_table("teammember", _ref("user"), _ref("team"))
_table("teamsync", _ref("team"), _text("transaction_id"))
_table(
    "permissionprototype",
    _ref("org"),
    _text("uuid"),
    *(_ref(name, True) for name in ("activating_user", "delegate_user", "delegate_team")),
    _ref("role"),
)
_table(
    "repository",
    _ref("namespace_user", True),
    _text("name"),
    _ref("visibility"),
    _long("description", True),
    _ref("kind"),
    _flag("trust_enabled"),
    _number("state"),
)
_table("repositorypermission", _ref("team", True), _ref("user", True), _ref("repository"), _ref("role"))
_table("star", _ref("user"), _ref("repository"), _time("created"))
_table(
    "accesstoken",
    _text("friendly_name", True),
    _text("token_name"),
    _text("token_code"),
    _ref("repository"),
    _ref("role"),
    _flag("temporary"),
)
_table(
    "appspecificauthtoken",
    _ref("user"),
    _text("uuid"),
    _text("title"),
    _text("token_name"),
    _text("token_secret"),
    _time("expiration"),
)
_table(
    "oauthapplication",
    _text("client_id"),
    _text("secure_client_secret", True),
    _text("redirect_uri"),
    _text("application_uri"),
    _ref("organization"),
    _text("name"),
    _long("description"),
    _text("gravatar_email", True),
)
_table(
    "repositorynotification",
    _text("uuid"),
    _ref("repository"),
    _ref("event"),
    _ref("method"),
    _text("title", True),
    _long("config_json"),
    _long("event_config_json"),
)
_table("repomirrorconfig", _ref("repository"), _ref("internal_robot"), _text("external_reference"))
_table(
    "imagestorage",
    _text("uuid"),
    _number("image_size", True),
    sa.Column("cas_path", sa.Boolean, nullable=False, default=True),
    _text("content_checksum", True),
)
_table(
    "manifest",
    _ref("repository"),
    _text("digest"),
    _ref("media_type"),
    _long("manifest_bytes"),
    _text("subject", True),
)
_table("manifestblob", _ref("repository"), _ref("manifest"), _ref("blob"))
_table("manifestchild", _ref("repository"), _ref("manifest"), _ref("child_manifest"))
_table("manifestlabel", _ref("repository"), _ref("manifest"), _ref("label"))
_table("label", _text("uuid"), _text("key"), _long("value"), _ref("media_type"), _ref("source_type"))
_table(
    "tag",
    _text("name"),
    _ref("repository"),
    _ref("manifest", True),
    _number("lifetime_start_ms"),
    _number("lifetime_end_ms", True),
    _flag("hidden"),
    _flag("reversion"),
    _flag("immutable"),
    _ref("tag_kind"),
)

ENUMS = {
    "teamrole": ("admin", "creator", "member"),
    "role": ("admin", "write", "read"),
    "visibility": ("public", "private"),
    "repositorykind": ("image", "application"),
    "mediatype": (
        "text/plain",
        "application/json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
    ),
    "labelsourcetype": ("manifest", "api", "internal"),
    "externalnotificationevent": ("repo_push", "build_queued"),
    "externalnotificationmethod": ("quay_notification", "webhook", "flowdock"),
    "tagkind": ("tag",),
}


class OtherQuay:
    """A Quay's database at `url`, and its blobs below `storage`."""

    def __init__(self, url: str, storage: Path) -> None:
        self.url = url
        self.storage = storage
        self._engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        metadata.create_all(self._engine)
        self._ids: dict[tuple[str, str], int] = {}
        for table, names in ENUMS.items():
            for name in names:
                more = {"mutable": name == "api"} if table == "labelsourcetype" else {}
                self._ids[table, name] = self.add(table, name=name, **more)

    def close(self) -> None:
        self._engine.dispose()

    def add(self, table: str, **values: Any) -> int:
        """A row; what ends in an underscore is the name of an enumerated value. Its id."""
        found = metadata.tables[table]
        enums = {"role_": "role_id", "team_role_": "role_id", "visibility_": "visibility_id", "kind_": "kind_id"}
        row = {}
        for name, value in values.items():
            if name in enums:
                kind = {"team_role_": "teamrole", "kind_": "repositorykind"}.get(name, name.rstrip("_"))
                row[enums[name]] = self._ids[kind, value]
            else:
                row[name] = value
        with self._engine.begin() as connection:
            made = connection.execute(sa.insert(found).values(**row).returning(found.c.id)).scalar_one()
        return int(made)

    def encrypted(self, value: str) -> str:
        """As Quay keeps secrets."""
        key = (bytes.fromhex(KEY.replace("-", "")) * 2)[:32]
        nonce = os.urandom(13)
        return "v0$$" + base64.b64encode(nonce + AESCCM(key).encrypt(nonce, value.encode(), None)).decode()

    # --- people

    def account(self, name: str, *, password: str | None = None, organization: bool = False, **more: Any) -> int:
        hashed = None if password is None else bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
        return self.add(
            "user",
            username=name,
            password_hash=hashed,
            organization=organization,
            **{"email": f"{name}@example.org", "verified": True, "removed_tag_expiration_s": 1209600} | more,
        )

    def robot(self, name: str, token: str) -> int:
        made = self.account(name, robot=True, email=token[:20])
        self.add("robotaccounttoken", robot_account_id=made, token=self.encrypted(token), fully_migrated=True)
        self.add("robotaccountmetadata", robot_account_id=made, description="builds", unstructured_json='{"a": 1}')
        return made

    def team(self, organization: int, name: str, role: str, *members: int) -> int:
        made = self.add("team", name=name, organization_id=organization, team_role_=role, description=f"the {name}")
        for member in members:
            self.add("teammember", user_id=member, team_id=made)
        return made

    # --- contents

    def repository(self, namespace: int, name: str, *, public: bool = False, state: int = 0, **more: Any) -> int:
        return self.add(
            "repository",
            namespace_user_id=namespace,
            name=name,
            visibility_="public" if public else "private",
            kind_=more.pop("kind", "image"),
            state=state,
            **{"description": f"About {name}"} | more,
        )

    def grant(self, repository: int, role: str, *, user: int | None = None, team: int | None = None) -> None:
        self.add("repositorypermission", repository_id=repository, role_=role, user_id=user, team_id=team)

    def blob(self, data: bytes) -> int:
        digest = digest_of(data)
        place = self.storage / "sha256" / digest[7:9] / digest[7:]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        return self.add("imagestorage", uuid=digest[7:43], image_size=len(data), content_checksum=digest)

    def image(self, repository: int, image: Image) -> int:
        """The moved manifest of an image, with its blobs."""
        document = json.loads(image.moved)
        made = self.manifest(repository, image.moved, document["mediaType"])
        for data in (*image.layers, image.config):
            self.add("manifestblob", repository_id=repository, manifest_id=made, blob_id=self.blob(data))
        return made

    def manifest(self, repository: int, content: bytes, media_type: str, subject: str | None = None) -> int:
        return self.add(
            "manifest",
            repository_id=repository,
            digest=f"sha256:{hashlib.sha256(content).hexdigest()}",
            media_type_id=self._ids["mediatype", media_type],
            manifest_bytes=content.decode(),
            subject=subject,
        )

    def tag(self, repository: int, name: str, manifest: int, start: int, end: int | None = None, **more: Any) -> None:
        self.add(
            "tag",
            repository_id=repository,
            name=name,
            manifest_id=manifest,
            lifetime_start_ms=start,
            lifetime_end_ms=end,
            tag_kind_id=self._ids["tagkind", "tag"],
            **more,
        )

    def label(self, repository: int, manifest: int, key: str, value: str, source: str = "api") -> None:
        made = self.add(
            "label",
            uuid=os.urandom(8).hex(),
            key=key,
            value=value,
            media_type_id=self._ids["mediatype", "text/plain"],
            source_type_id=self._ids["labelsourcetype", source],
        )
        self.add("manifestlabel", repository_id=repository, manifest_id=manifest, label_id=made)

    def notification(self, repository: int, event: str, method: str, config: dict[str, Any]) -> None:
        self.add(
            "repositorynotification",
            uuid=os.urandom(8).hex(),
            repository_id=repository,
            event_id=self._ids["externalnotificationevent", event],
            method_id=self._ids["externalnotificationmethod", method],
            title="told",
            config_json=json.dumps(config),
            event_config_json="{}",
        )
