"""
The shapes of what the REST API takes and gives, written once: as TypedDicts.

From a TypedDict come the types of the code, the JSON Schema in the discovery documents, and the check of what a client
sends. `Annotated[str, Schema(maxLength=255)]` says what a type cannot. Of a body, only what its shape names reaches a
handler. Source: JSON Schema 2020-12; OpenAPI 3.1.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    NotRequired,
    Required,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from quay.web.api.errors import BadRequest

Json = dict[str, Any]

_PRIMITIVES: Final[Mapping[Any, Json]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    Any: {},
}

_INTEGER: Final = re.compile(r"-?[0-9]{1,18}")  # any database holds it
_NUMBER: Final = re.compile(r"-?[0-9]{1,18}(?:\.[0-9]{1,18})?")


class Schema:
    """Keywords of JSON Schema for the type that is annotated with it: `Schema(minimum=1, description="…")`."""

    def __init__(self, **keywords: Any) -> None:
        self.keywords = keywords


class Definitions(dict[str, Json]):
    """The named schemas of a document, by the names of their TypedDicts; `prefix` is where the document keeps them."""

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix
        self._names: dict[Any, str] = {}

    def refer(self, shape: Any, name: str | None = None) -> Json:
        """
        A reference to the schema of the TypedDict `shape`, which is defined here from now on: as `name`, else as it is
        called in the code, and if another module has one that is called so too, with its module's name before it.
        """
        if shape not in self._names:
            name = name or shape.__name__
            if name in self:
                name = shape.__module__.rpartition(".")[2].title().replace("_", "") + name
            self._names[shape] = name
            self[name] = {}  # a shape may hold itself
            self[name] = _object(shape, self)
        return {"$ref": f"{self._prefix}{self._names[shape]}"}


def schema_of(shape: Any, definitions: Definitions | None = None) -> Json:
    """The JSON Schema of a type: whole, or with references into `definitions` for its TypedDicts."""
    if get_origin(shape) in (Required, NotRequired):
        return schema_of(get_args(shape)[0], definitions)
    if get_origin(shape) is Annotated:
        kind, *notes = get_args(shape)
        keywords = {k: v for note in notes if isinstance(note, Schema) for k, v in note.keywords.items()}
        return schema_of(kind, definitions) | keywords
    if is_typeddict(shape):
        return _object(shape, None) if definitions is None else definitions.refer(shape)
    if shape in _PRIMITIVES:
        return dict(_PRIMITIVES[shape])
    return _compound(shape, definitions)


def _compound(shape: Any, definitions: Definitions | None) -> Json:
    origin, arguments = get_origin(shape), get_args(shape)
    if origin is Literal:
        return {"enum": list(arguments)} | ({"type": "string"} if all(isinstance(a, str) for a in arguments) else {})
    if origin is list:
        return {"type": "array", "items": schema_of(arguments[0], definitions)}
    if origin is dict:
        return {"type": "object", "additionalProperties": schema_of(arguments[1], definitions)}
    if origin in (Union, types.UnionType):
        return _union([schema_of(argument, definitions) for argument in arguments])
    raise TypeError(f"{shape!r} has no JSON Schema here: use a TypedDict, str, int, float, bool, list, dict, Literal.")


def _union(members: list[Json]) -> Json:
    kinds = [member.get("type") for member in members]
    if {"type": "null"} in members and len(members) == 2 and all(isinstance(kind, str) for kind in kinds):
        (other,) = (member for member in members if member != {"type": "null"})
        choices = {"enum": [*other["enum"], None]} if "enum" in other else {}
        return other | {"type": [other["type"], "null"]} | choices
    return {"anyOf": members}


def _object(shape: Any, definitions: Definitions | None) -> Json:
    fields = get_type_hints(shape, include_extras=True)
    made: Json = {
        "type": "object",
        "properties": {name: schema_of(kind, definitions) for name, kind in fields.items()},
    }
    required = [name for name, kind in fields.items() if _is_required(kind, name in shape.__required_keys__)]
    if required:
        made["required"] = required
    if shape.__doc__ and not shape.__doc__.startswith("dict("):
        made["description"] = " ".join(shape.__doc__.split())
    return made


def _is_required(kind: Any, otherwise: bool) -> bool:
    """Whether a member must be there. Where annotations are strings, Python itself sees no NotRequired in them."""
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return {Required: True, NotRequired: False}.get(get_origin(kind), otherwise)


# --- what clients send --------------------------------------------------------------------------------------------


class Body:
    """Checks the JSON bodies of one route, which `schema` describes."""

    def __init__(self, shape: Any) -> None:
        self.shape = shape
        self.schema = schema_of(shape)
        self._validator = Draft202012Validator(self.schema)

    def parse(self, value: Any) -> Any:
        """`value`, with those members only that the shape names. Raises `BadRequest`."""
        problem = next(iter(self._validator.iter_errors(value)), None)
        if problem is not None:
            raise BadRequest(sentence(problem))
        return _only(self.schema, value)


def _only(schema: Json, value: Any) -> Any:
    """What `schema` names of `value`, which is valid."""
    if "anyOf" in schema:
        fitting = (member for member in schema["anyOf"] if Draft202012Validator(member).is_valid(value))
        return _only(next(fitting), value)
    if isinstance(value, dict) and "properties" in schema:
        properties = schema["properties"]
        return {name: _only(properties[name], member) for name, member in value.items() if name in properties}
    if isinstance(value, dict) and "additionalProperties" in schema:
        return {name: _only(schema["additionalProperties"], member) for name, member in value.items()}
    if isinstance(value, list) and "items" in schema:
        return [_only(schema["items"], member) for member in value]
    return value


def sentence(problem: ValidationError) -> str:
    """What is wrong, and where, in one sentence; what was sent is not repeated, because it may be a secret."""
    where = ".".join(str(step) for step in problem.absolute_path)
    subject = f"{where!r}" if where else "The body"
    return f"{subject} {_complaint(problem)}."


def _complaint(problem: ValidationError) -> str:
    keyword, wanted = str(problem.validator), cast("Any", problem.validator_value)
    instance = cast("Any", problem.instance)
    if keyword == "required":
        missing = [name for name in wanted if name not in instance]
        return f"lacks {', '.join(map(repr, missing))}"
    if keyword == "enum":
        return f"must be one of {', '.join(repr(choice) for choice in wanted)}"
    if keyword == "type":
        kinds = [wanted] if isinstance(wanted, str) else wanted
        return f"must be of the type {' or '.join(kinds)}"
    said = {
        "maxLength": f"is longer than {wanted} characters",
        "minLength": f"is shorter than {wanted} characters",
        "minimum": f"must not be less than {wanted}",
        "maximum": f"must not be more than {wanted}",
        "maxItems": f"has more than {wanted} members",
        "minItems": f"has fewer than {wanted} members",
        "maxProperties": f"has more than {wanted} members",
        "pattern": f"does not match {wanted}",
        "anyOf": "is none of the things that it may be",
    }
    return said.get(keyword, f"is not valid ({keyword})")


class Query:
    """Checks the query of one route, whose shape has members of the types str, int, float and bool only."""

    def __init__(self, shape: Any) -> None:
        self.shape = shape
        self._schema = schema_of(shape)
        self._validator = Draft202012Validator(self._schema)

    def parameters(self) -> Iterator[tuple[str, Json, bool]]:
        """Name, schema and whether it must be given, of each parameter."""
        required = self._schema.get("required", [])
        for name, schema in self._schema["properties"].items():
            yield name, schema, name in required and "default" not in schema

    def parse(self, given: Mapping[str, str]) -> Any:
        """The parameters, in their types; one that is missing has its default, if it has one. Raises `BadRequest`."""
        found = {
            name: _typed(name, schema, given[name]) if name in given else schema["default"]
            for name, schema in self._schema["properties"].items()
            if name in given or "default" in schema
        }
        problem = next(iter(self._validator.iter_errors(found)), None)
        if problem is not None:
            raise BadRequest(sentence(problem).replace("The body", "The query"))
        return found


def _typed(name: str, schema: Json, text: str) -> Any:
    kind = schema.get("type")
    if kind == "boolean":
        return text.lower() not in ("", "0", "false", "no", "off")
    if kind == "integer":
        if _INTEGER.fullmatch(text) is None:
            raise BadRequest(f"{name!r} must be a whole number of 18 digits at most.")
        return int(text)
    if kind == "number":
        if _NUMBER.fullmatch(text) is None:
            raise BadRequest(f"{name!r} must be a number.")
        return float(text)
    return text
