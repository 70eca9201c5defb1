"""
What the forms of the console do: each is a call of the API, with the same rights, checks, words and audit entries.

A form names the route; its fields `path.NAME` are the parameters of the path, `query.NAME` those of the query, and
`field.NAME` the members of the body (`field.delegate.name` for a nested one), in the types that the route's schema
says. A time in seconds since the epoch may be written as a date, as browsers send what was picked in a calendar. The
same declaration gives the command line that does it without a browser.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qs, quote, urlencode

import attrs

from quay.oci.errors import NameInvalid
from quay.oci.reference import RepositoryName
from quay.web.api.errors import BadRequest, NotFound
from quay.web.api.route import Route

Fields = Mapping[str, Sequence[str]]
"""What a form sent: each name with its values."""

PATH: Final = "path."
QUERY: Final = "query."
FIELD: Final = "field."
EACH: Final = "each"
OWN: Final = 10
"""Fields that an action of several may have of its own."""


@attrs.frozen
class Action:
    """A call of the API that a form stands for."""

    route: Route
    path: Mapping[str, Any]
    body: Any
    query: Mapping[str, str] = attrs.field(factory=dict)

    @classmethod
    def of(cls, route: Route, fields: Fields) -> Action:
        """The action that a form for `route` describes. Raises `BadRequest`, `NotFound`."""
        path = {name: _parameter(name, fields.get(PATH + name, [""])[0]) for name in route.parameters}
        body = None if route.body is None else _object(route.body.schema, fields, FIELD)
        query = {name[len(QUERY) :]: values[0] for name, values in fields.items() if name.startswith(QUERY)}
        return cls(route, path, body, query)

    @classmethod
    def each(cls, route: Route, fields: Fields) -> list[Action]:
        """
        One action for each value of the parameter of the path that the form sends several times; or for each field
        `each`, which is written as a query is, and has the fields that are that action's own. Raises as `of`.
        """
        if EACH in fields:
            return [cls.of(route, {**fields, **_own(text)}) for text in fields[EACH]]
        given = {PATH + name: fields.get(PATH + name, ()) for name in route.parameters}
        if not given or not all(given.values()):
            raise BadRequest("Nothing was chosen, so nothing was done.")
        count = max(map(len, given.values()))
        return [
            cls.of(route, {**fields, **{name: values[number : number + 1] or values for name, values in given.items()}})
            for number in range(count)
        ]

    def command(self, base: str) -> str:
        """How to do the same with curl, for the server at `base`; the token is left to the reader's environment."""
        address = self.route.template
        for name, value in self.path.items():
            address = address.replace(f"{{{name}}}", quote(str(value)))
        parts = ["curl", "-X", self.route.method, "-H", '"Authorization: Bearer $TOKEN"']
        if self.body is not None:
            parts += ["-H", "'Content-Type: application/json'", "-d", shlex.quote(json.dumps(self.body))]
        asked = f"?{urlencode(self.query)}" if self.query else ""
        return " ".join([*parts, shlex.quote(base + address + asked)])


def _own(text: str) -> Fields:
    """The fields of one action of several. Raises `BadRequest`."""
    try:
        return parse_qs(text, max_num_fields=OWN)
    except ValueError:
        raise BadRequest(f"The form cannot be read: an action has more than {OWN} fields of its own.") from None


def _parameter(name: str, text: str) -> Any:
    if name != "repository":
        return text
    try:
        return RepositoryName.parse(text)
    except NameInvalid as error:
        raise NotFound(f"There is no repository {text[:80]!r}.") from error


def _object(schema: Mapping[str, Any], fields: Fields, prefix: str) -> dict[str, Any]:
    if "properties" not in schema:
        return _free(fields, prefix)
    made: dict[str, Any] = {}
    for name, member in schema["properties"].items():
        value = _member(member, fields, prefix + name)
        if value is not _ABSENT:
            made[name] = value
    return made


def _free(fields: Fields, prefix: str) -> dict[str, Any]:
    """The members of an object whose schema names none: texts, and objects of texts."""
    made: dict[str, Any] = {}
    for whole in (name for name in fields if name.startswith(prefix)):
        name, _, below = whole[len(prefix) :].partition(".")
        if below:
            made[name] = {**(made[name] if isinstance(made.get(name), dict) else {}), below: fields[whole][-1]}
        else:
            made[name] = fields[whole][-1]
    return made


_ABSENT: Final = object()


def _kinds(schema: Mapping[str, Any]) -> list[str]:
    """The types that a value may have."""
    if "anyOf" in schema:
        return [kind for member in schema["anyOf"] for kind in _kinds(member)]
    kinds = schema.get("type", "string")
    return [kinds] if isinstance(kinds, str) else kinds


def _member(schema: Mapping[str, Any], fields: Fields, name: str) -> Any:
    kinds = _kinds(schema)
    if "object" in kinds:  # it is there with a member of it, or empty, with a field of its own name
        nested = name in fields or any(other.startswith(f"{name}.") for other in fields)
        return _object(schema, fields, f"{name}.") if nested else _ABSENT
    if name not in fields:
        return _ABSENT
    if "array" in kinds:
        return [_scalar(schema.get("items", {}).get("type", "string"), value, name) for value in fields[name] if value]
    text = fields[name][-1]  # a checkbox comes after the hidden field that says that it is there
    if kinds == ["string"]:  # several boxes are one text, with the words that were checked: scopes are so
        text = " ".join(value for value in fields[name] if value)
    if text == "" and "null" in kinds:
        return None
    return _scalar(next(kind for kind in kinds if kind != "null"), text, name)


def _scalar(kind: str, text: str, name: str) -> Any:
    if kind == "boolean":
        return text not in ("", "0", "false", "off")
    if kind not in ("integer", "number"):
        return text
    for number in (int if kind == "integer" else float, _moment):
        try:
            return number(text)
        except ValueError:
            continue
    raise BadRequest(f"{name.removeprefix(FIELD)!r} must be a number.")


def _moment(text: str) -> int:
    """A date, or a date and time, in UTC unless it says otherwise, in seconds since the epoch. Raises `ValueError`."""
    moment = datetime.fromisoformat(text)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
