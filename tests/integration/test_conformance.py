"""
Quay against the conformance suites of the OCI Distribution Specification, with everything that is optional in it.

Without Go, or without the Go modules, they are skipped; QUAY_TEST_REQUIRE=conformance makes that a failure.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance import CURRENT, GINKGO, Suite, SuiteMissing
from tests.conftest import missing
from tests.server import RunningQuay

pytestmark = [pytest.mark.long, pytest.mark.conformance]


@pytest.fixture(params=[GINKGO, CURRENT], ids=lambda suite: suite.name)
def suite(request: pytest.FixtureRequest) -> Suite:
    """A suite that has been built."""
    wanted: Suite = request.param
    try:
        wanted.program()
    except SuiteMissing as reason:
        missing("conformance", reason)
    return wanted


@pytest.fixture
def registry(database_url: str, tmp_path: Path) -> Iterator[RunningQuay]:
    """A server on an empty database of its own; each test runs once on each engine."""
    with RunningQuay(tmp_path / "var", {"QUAY_DB_URI": database_url}) as running:
        yield running


def test_conforms(suite: Suite, registry: RunningQuay, tmp_path: Path) -> None:
    """Every check passes, none is left out, and it is as many as there should be."""
    report = suite.run(registry, registry.add_user("conformance"), tmp_path)
    unsuccessful = {outcome: count for outcome, count in report.counts.items() if outcome not in ("passed", "skipped")}
    assert not unsuccessful, report.summary()
    assert report.counts["passed"] >= suite.passing, report.summary()
    assert report.counts["skipped"] <= suite.skipping, report.summary()
    assert "Traceback" not in registry.log, registry.log[-4000:]
