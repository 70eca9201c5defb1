"""
What the forms of the console do: each is a call of the API, with the same rights, checks, words and audit entries.

A form names the route; its fields `path.NAME` are the parameters of the path, and `field.NAME` the members of the body
(`field.delegate.name` for a nested one), in the types that the route's schema says. The same declaration gives the
command line that does it without a browser.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

import attrs

from quay.oci.errors import NameInvalid
from quay.oci.reference import RepositoryName
from quay.web.api.errors import BadRequest, NotFound
from quay.web.api.route import Route

Fields = Mapping[str, Sequence[str]]
"""What a form sent: each name with its values."""

PATH: Final = "path."
FIELD: Final = "field."


@attrs.frozen
class Action:
    """A call of the API that a form stands for."""

    route: Route
    path: Mapping[str, Any]
    body: Any

    @classmethod
    def of(cls, route: Route, fields: Fields) -> Action:
        """The action that a form for `route` describes. Raises `BadRequest`, `NotFound`."""
        path = {name: _parameter(name, fields.get(PATH + name, [""])[0]) for name in route.parameters}
        body = None if route.body is None else _object(route.body.schema, fields, FIELD)
        return cls(route, path, body)

    def command(self, base: str) -> str:
        """How to do the same with curl, for the server at `base`; the token is left to the reader's environment."""
        address = self.route.template
        for name, value in self.path.items():
            address = address.replace(f"{{{name}}}", quote(str(value)))
        parts = ["curl", "-X", self.route.method, "-H", '"Authorization: Bearer $TOKEN"']
        if self.body is not None:
            parts += ["-H", "'Content-Type: application/json'", "-d", shlex.quote(json.dumps(self.body))]
        return " ".join([*parts, shlex.quote(base + address)])


def _parameter(name: str, text: str) -> Any:
    if name != "repository":
        return text
    try:
        return RepositoryName.parse(text)
    except NameInvalid as error:
        raise NotFound(f"There is no repository {text[:80]!r}.") from error


def _object(schema: Mapping[str, Any], fields: Fields, prefix: str) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, member in schema.get("properties", {}).items():
        value = _member(member, fields, prefix + name)
        if value is not _ABSENT:
            made[name] = value
    return made


_ABSENT: Final = object()


def _member(schema: Mapping[str, Any], fields: Fields, name: str) -> Any:
    kinds = schema.get("type", "string")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if "object" in kinds:
        nested = any(other.startswith(f"{name}.") for other in fields)
        return _object(schema, fields, f"{name}.") if nested else _ABSENT
    if name not in fields:
        return _ABSENT
    if "array" in kinds:
        return [_scalar(schema.get("items", {}).get("type", "string"), value, name) for value in fields[name] if value]
    text = fields[name][-1]  # a checkbox comes after the hidden field that says that it is there
    if text == "" and "null" in kinds:
        return None
    return _scalar(next(kind for kind in kinds if kind != "null"), text, name)


def _scalar(kind: str, text: str, name: str) -> Any:
    if kind == "boolean":
        return text not in ("", "0", "false", "off")
    if kind not in ("integer", "number"):
        return text
    try:
        return int(text) if kind == "integer" else float(text)
    except ValueError:
        raise BadRequest(f"{name.removeprefix(FIELD)!r} must be a number.") from None
