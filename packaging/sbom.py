"""
The bill of materials of the program, in the JSON of CycloneDX 1.6: the packages that its files came from, no others.

An environment has more installed than ends up in the program, and the program has more than an environment knows of:
the interpreter, and libraries of the operating system. So it is the files that are asked where they come from.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

import PyInstaller

LICENSED: Final = "License :: OSI Approved :: "
OURS: Final = "quay-on-one-reactor"


def written(version: str, sources: Iterable[Path], epoch: int) -> str:
    """The document for the program with this version, which was made from `sources`."""
    components = sorted(_components(set(sources)), key=lambda one: str(one["bom-ref"]))
    about = _component("application", OURS, version, f"pkg:pypi/{OURS}@{version}", "Apache-2.0")
    maker = {"type": "application", "name": "PyInstaller", "version": PyInstaller.__version__}
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, json.dumps(components))}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "tools": {"components": [maker]},
            "component": about,
        },
        "components": components,
        "dependencies": [
            {"ref": about["bom-ref"], "dependsOn": [one["bom-ref"] for one in components]},
            *({"ref": one["bom-ref"]} for one in components),
        ],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def installed() -> Iterator[str]:
    """Every package of this environment with its version."""
    return (f"{one.name}=={one.version}" for one in distributions())


def _components(sources: set[Path]) -> Iterator[dict[str, Any]]:
    owners = {owner.name: owner for owner in map(_owners().get, sources) if owner}
    yield from (_packaged(owner) for owner in owners.values())
    others = {source for source in sources if source not in _owners()}
    version = platform.python_version()
    yield _component("application", "cpython", version, f"pkg:generic/cpython@{version}", "Python-2.0")
    yield from _of_system({source for source in others if not source.is_relative_to(sys.base_prefix)})


@cache
def _owners() -> dict[Path, Distribution]:
    """The installed package that each file belongs to."""
    return {Path(str(one.locate_file(file))): one for one in distributions() for file in one.files or ()}


def _packaged(owner: Distribution) -> dict[str, Any]:
    name = owner.name.lower().replace("_", "-").replace(".", "-")
    return _component("library", owner.name, owner.version, f"pkg:pypi/{name}@{owner.version}", _license(owner))


def _license(owner: Distribution) -> str:
    """As an expression of SPDX, or else in the package's own words."""
    told: Any = owner.metadata
    kinds = [one.removeprefix(LICENSED) for one in told.get_all("Classifier") or () if one.startswith(LICENSED)]
    own = told.get("License") or ""
    return told.get("License-Expression") or (own if own and "\n" not in own else " AND ".join(kinds))


def _of_system(libraries: set[Path]) -> Iterator[dict[str, Any]]:
    """Libraries of the operating system, by its packages; one that no package has stands there by its name."""
    system = platform.freedesktop_os_release()["ID"] if libraries else ""
    for name in sorted({_system_package(one) or one.name for one in libraries if ".so" in one.name}):
        known = subprocess.run(
            ["dpkg-query", "-W", "-f", "${Version} ${Architecture}", name], capture_output=True, text=True, check=False
        )
        version, _, architecture = known.stdout.partition(" ")
        place = f"pkg:deb/{system}/{name}@{version}?arch={architecture}" if version else f"pkg:generic/{name}"
        yield _component("library", name, version, place, "")


def _system_package(library: Path) -> str | None:
    """The Debian package that has this file."""
    for path in {library, library.resolve(), *(Path("/", *one.resolve().parts[2:]) for one in [library])}:
        found = subprocess.run(["dpkg-query", "-S", path], capture_output=True, text=True, check=False)
        if found.returncode == 0:
            return found.stdout.split(":")[0]
    return None


def _component(kind: str, name: str, version: str, place: str, terms: str) -> dict[str, Any]:
    """One component; `place` is its package URL."""
    licenses = [{"expression": terms} if _is_expression(terms) else {"license": {"name": terms}}] if terms else []
    described = {"type": kind, "bom-ref": place, "name": name, "version": version, "purl": place}
    return {**described, **({"licenses": licenses} if licenses else {})}


def _is_expression(terms: str) -> bool:
    """Whether it has the form of an SPDX expression: single words, and what joins them."""
    joined = {"AND", "OR", "WITH"}
    words = terms.replace("(", " ").replace(")", " ").split()
    return all(word in joined or index % 2 == 0 for index, word in enumerate(words)) and terms.isascii()
