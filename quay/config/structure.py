"""
Plain YAML values to the types of `keys`, collecting a sentence with its path for every value that does not fit.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import GenericAlias
from typing import Any, Final, Literal, get_args, get_origin

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn

from quay.config import foreign
from quay.config.keys import StorageLocation
from quay.config.secrets import Secret, Vault
from quay.config.values import (
    Authentication,
    Count,
    Duration,
    Endpoint,
    Hostname,
    MailSender,
    Network,
    Size,
    TimeOfDay,
    parse_network,
    shown,
)

Hook = Callable[[Any, Any], Any]
SCALARS: Final = (Duration, Size, Count, Hostname, MailSender, Endpoint, Authentication, TimeOfDay)


class Misfit(ValueError):
    """Several things wrong within one value: pairs of a path inside it and a sentence."""

    def __init__(self, found: Iterable[tuple[str, str]]) -> None:
        self.found = tuple(found)
        super().__init__("; ".join(sentence for _, sentence in self.found))


def nearest(name: str, choices: Iterable[str]) -> str:
    """` Did you mean …?` with the choice that looks most like `name`, or nothing if none does."""
    spelled = {choice.upper(): choice for choice in choices}
    found = difflib.get_close_matches(name[:80].upper(), spelled, n=1)
    return f" Did you mean {spelled[found[0]]}?" if found else ""


def converter(vault: Vault) -> cattrs.Converter:
    """A converter that reads secrets from `vault` and begins relative paths in its directory."""
    made = cattrs.Converter(forbid_extra_keys=True, detailed_validation=True)
    for scalar in SCALARS:
        made.register_structure_hook(scalar, lambda value, kind: kind.parse(value))
    made.register_structure_hook(Secret, lambda value, kind: vault.read(value, kind))
    made.register_structure_hook(Path, lambda value, _: vault.data / _path(value))
    made.register_structure_hook(bool, _boolean)
    made.register_structure_hook(str, _text)
    made.register_structure_hook(Network, lambda value, _: parse_network(value))
    made.register_structure_hook_func(lambda kind: _is_kind_of(kind, Literal), _choice)
    made.register_structure_hook_factory(lambda kind: _is_kind_of(kind, tuple), lambda kind: _sequence(made, kind))
    made.register_structure_hook_factory(attrs.has, lambda kind: _mapping(made, kind))
    made.register_structure_hook_func(
        lambda kind: kind == Mapping[str, StorageLocation], lambda value, _: storage_locations(value, vault.data)
    )
    return made


def sentences(error: Exception, path: str) -> Iterator[str]:
    """What is wrong, one sentence for each leaf of `error`, each with its path in front."""
    match error:
        case Misfit():
            yield from (f"{path}{inner}: {sentence}" for inner, sentence in error.found)
        case cattrs.ClassValidationError():
            found, others = error.group_exceptions()
            for inner, note in found:
                yield from sentences(inner, f"{path}.{note.name}")
            for other in others:
                yield from sentences(other, path)
        case cattrs.IterableValidationError():
            for inner, item in error.group_exceptions()[0]:
                yield from sentences(inner, f"{path}[{item.index}]")
        case cattrs.ForbiddenExtraKeysError():
            names = [field.name for field in attrs.fields(error.cl)]
            for name in sorted(map(str, error.extra_fields)):
                yield f"{path}: there is no option {name[:80]!r}; there are {', '.join(names)}.{nearest(name, names)}"
        case KeyError():
            yield f"{path}: is missing."
        case _:
            yield f"{path}: {error}"


def storage_locations(value: object, data: Path) -> Mapping[str, StorageLocation]:
    """The locations that `value`, `{name: [driver, {options}]}`, describes. Raises `Misfit`."""
    if not isinstance(value, dict) or not value:
        raise ValueError("is not a mapping of locations; write {default: [LocalStorage, {storage_path: blobs}]}.")
    found: dict[str, StorageLocation] = {}
    wrong: list[tuple[str, str]] = []
    for name, described in value.items():
        try:
            found[name] = _location(name, described, data)
        except ValueError as error:
            wrong.append((f".{str(name)[:80]}", str(error)))
    wrong += [(f".{first}", f"has the same storage_path as {second}.") for first, second in _same_path(found)]
    if wrong:
        raise Misfit(wrong)
    return found


def _location(name: object, described: object, data: Path) -> StorageLocation:
    if not isinstance(name, str) or not 0 < len(name) <= 255:
        raise ValueError("the name of a location is a text of at most 255 characters; put quotes around it.")
    match described:
        case [str(driver)]:
            return StorageLocation(name, _driver(driver), _local_options({}, data))
        case [str(driver), dict(options)]:
            return StorageLocation(name, _driver(driver), _local_options(options, data))
    raise ValueError("is not a pair of a driver and its options; write [LocalStorage, {storage_path: blobs}].")


def _driver(name: str) -> str:
    if foreign.is_driver_to_come(name):
        raise ValueError(f"the driver {name} is not implemented yet, and blobs need a place; use LocalStorage.")
    if name != "LocalStorage":
        raise ValueError(f"there is no driver {name[:80]!r}; use LocalStorage.")
    return name


def _local_options(options: Mapping[object, object], data: Path) -> Mapping[str, str]:
    if extra := [str(name)[:80] for name in options if name != "storage_path"]:
        raise ValueError(f"LocalStorage has no option {extra[0]!r}; its only option is storage_path.")
    return {"storage_path": str(data / _path(options.get("storage_path", "blobs")))}


def _same_path(found: Mapping[str, StorageLocation]) -> Iterator[tuple[str, str]]:
    owners: dict[str, str] = {}
    for name, location in found.items():
        owner = owners.setdefault(location.options["storage_path"], name)
        if owner != name:
            yield name, owner


def _is_kind_of(kind: object, origin: object) -> bool:
    return get_origin(kind) is origin


def _path(value: object) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError(f"{shown(value)} is not a path; write text.")
    return value


def _boolean(value: object, _: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{shown(value)} is neither true nor false; write one of them, without quotes.")
    return value


def _text(value: object, _: object) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError(f"{shown(value)} is not a line of text; put quotes around it.")
    return value


def _choice(value: object, kind: Any) -> object:
    choices = get_args(kind)
    if value not in choices:
        raise ValueError(f"{shown(value)} is not one of {', '.join(choices)}.")
    return value


def _sequence(made: cattrs.Converter, kind: Any) -> Hook:
    """A list, or one line of text with commas, which is how an environment variable spells a list."""
    items: Any = GenericAlias(list, get_args(kind)[:1])

    def hook(value: object, _: object) -> tuple[object, ...]:
        if isinstance(value, str):
            value = [item.strip() for item in value.split(",") if item.strip()]
        if not isinstance(value, list):
            raise ValueError(f"{shown(value)} is not a list; write [a, b].")
        return tuple(made.structure(value, items))

    return hook


def _mapping(made: cattrs.Converter, kind: type[Any]) -> Hook:
    structure = make_dict_structure_fn(kind, made, _cattrs_forbid_extra_keys=True, _cattrs_detailed_validation=True)
    names = ", ".join(field.name for field in attrs.fields(kind))

    def hook(value: object, _: object) -> object:
        if not isinstance(value, dict):
            raise ValueError(f"is not a mapping; write {{option: value}} with some of {names}.")
        return structure({name: option for name, option in value.items() if option is not None}, kind)

    return hook
