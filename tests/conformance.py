"""
The conformance suites of the OCI Distribution Specification, as the specification's authors publish them: two programs
in Go, built once at pinned versions and kept in `.cache/`.

`GINKGO` is the older form, which the releases up to 1.1 came with; `CURRENT` is the one of the main branch, with the
checks for 1.1 and what is planned after it. Neither module is tagged: a version is the commit's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

import attrs

from tests.server import REPOSITORY, RunningQuay, User

MODULE: Final = "github.com/opencontainers/distribution-spec/conformance"
CACHE: Final = REPOSITORY / ".cache" / "conformance"
PATIENCE: Final = 300
"""Seconds that a step of the build, or a run of a suite, may take."""


class SuiteMissing(Exception):
    """A suite cannot be built here, and this says why."""


@attrs.frozen
class Report:
    """What a suite found: how each check ended, as `passed`, `failure`, `error` or `skipped`, and what it printed."""

    outcomes: tuple[tuple[str, str], ...]
    output: str

    @property
    def counts(self) -> Counter[str]:
        return Counter(outcome for _, outcome in self.outcomes)

    def summary(self) -> str:
        """For a person: the counts, every check that did not pass, and the end of what was printed."""
        others = [f"{outcome}: {name}" for name, outcome in self.outcomes if outcome != "passed"]
        return "\n".join([str(dict(self.counts)), *others, self.output[-4000:]])


@attrs.frozen
class Suite:
    """One form of the suite: how to build it, how to tell it what to check, and how many checks it should come to."""

    name: str
    version: str
    build: tuple[str, ...]
    settings: Mapping[str, str]
    passing: int
    skipping: int
    """Checks that others exclude: a cross mount that succeeds leaves nothing to do for those of its failure."""

    def program(self) -> Path:
        """The built program. Raises `SuiteMissing`."""
        built = CACHE / f"{self.name}-{self.version}"
        if not built.exists():
            self._build(built)
        return built

    def run(self, registry: RunningQuay, user: User, directory: Path) -> Report:
        """Check `registry` as `user`, who owns the namespace of his name; reports are left in `directory`."""
        done = subprocess.run(
            [self.program()],
            cwd=directory,
            env={"PATH": "/usr/bin:/bin", "HOME": str(directory), **dict(self._told(registry, user))},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return Report(tuple(_outcomes(directory / "junit.xml")), done.stdout)

    def _told(self, registry: RunningQuay, user: User) -> Iterator[tuple[str, str]]:
        for key, value in self.settings.items():
            yield key, value.format(url=registry.url, host=registry.host, user=user.name, password=user.password)

    def _build(self, target: Path) -> None:
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            _go(scratch, "mod", "init", "conformance")
            _go(scratch, "get", "-t", f"{MODULE}@{self.version}")
            _go(scratch, *self.build, "-o", "program", MODULE)
            (Path(scratch) / "program").replace(target)


def _go(directory: str, *arguments: str) -> None:
    go = shutil.which("go")
    if go is None:
        raise SuiteMissing("Go is not installed.")
    done = subprocess.run(
        [go, *arguments],
        cwd=directory,
        env={**os.environ, "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local", "GOWORK": "off", "CGO_ENABLED": "0"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    if done.returncode:
        raise SuiteMissing(f"go {' '.join(arguments)} failed: {done.stderr.strip()[-1000:]}")


def _outcomes(junit: Path) -> Iterator[tuple[str, str]]:
    if not junit.exists():
        return
    for case in ElementTree.parse(junit).getroot().iter("testcase"):
        told = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        yield case.get("name", ""), case.get("status") or (told or ["passed"])[0]


GINKGO: Final = Suite(
    name="ginkgo",
    version="v0.0.0-20230516164017-7fcdf80f3c8b",
    build=("test", "-c"),
    settings={
        "OCI_ROOT_URL": "{url}",
        "OCI_NAMESPACE": "{user}/one",
        "OCI_CROSSMOUNT_NAMESPACE": "{user}/two",
        "OCI_USERNAME": "{user}",
        "OCI_PASSWORD": "{password}",
        "OCI_TEST_PULL": "1",
        "OCI_TEST_PUSH": "1",
        "OCI_TEST_CONTENT_DISCOVERY": "1",
        "OCI_TEST_CONTENT_MANAGEMENT": "1",
        "OCI_AUTOMATIC_CROSSMOUNT": "1",
        "OCI_DELETE_MANIFEST_BEFORE_BLOBS": "1",
    },
    passing=64,
    skipping=4,
)

CURRENT: Final = Suite(
    name="current",
    version="v0.0.0-20260831232431-97274622c111",
    build=("build",),
    settings={
        "OCI_VERSION": "dev",
        "OCI_REGISTRY": "{host}",
        "OCI_TLS": "disabled",
        "OCI_REPO1": "{user}/one",
        "OCI_REPO2": "{user}/two",
        "OCI_USERNAME": "{user}",
        "OCI_PASSWORD": "{password}",
        "OCI_RESULTS_DIR": ".",
        "OCI_API_BLOBS_DIGEST_HEADER": "true",
        "OCI_API_BLOBS_UPLOAD_CANCEL": "true",
        "OCI_API_MANIFESTS_DIGEST_HEADER": "true",
        "OCI_API_MANIFESTS_TAG_PARAM": "true",
        # Pushes an image without one of its layers, which a registry may refuse: here an image is whole, or not there.
        "OCI_DATA_SPARSE": "false",
    },
    passing=780,
    skipping=0,
)
