"""A whole run of the benchmarks, of scenarios of every kind, against this registry alone."""

import json
import math
import time

import pytest

from tests.benchmarks import report, servers
from tests.benchmarks.__main__ import arguments, chosen
from tests.benchmarks.dataset import Sizes
from tests.benchmarks.measures import Sample, Target
from tests.benchmarks.rounds import Work
from tests.benchmarks.run import Result, Run
from tests.benchmarks.scenarios import SCENARIOS, Scenario
from tests.benchmarks.servers import Ours
from tests.benchmarks.wire import MIB, Pool

pytestmark = pytest.mark.long

BRIEF = ("push-tiny-c4", "push-1MiB-streamed", "tls-blob-1MiB-c4", "tags-last", "catalog-last", "referrers", "delete")


def _sample(value):
    return Sample(value, 1.0, 2.0, 3.0, 4.0, 0.5, 100.0, value)


def _run(tmp_path, deadline):
    scenarios = [scenario for scenario in SCENARIOS if scenario.name in BRIEF]
    work = Work(0.01, Pool(tmp_path / "pool", 2 * MIB), Sizes().scaled(0.001))
    return Run(scenarios, [Ours], tmp_path, work, 1, deadline)


def test_every_kind_of_scenario_is_measured(tmp_path, monkeypatch):
    """Plain, over TLS and with the dataset, each scenario gives a value, its cost, and bodies that are right."""
    monkeypatch.setattr(servers, "CACHE", tmp_path / "cache")
    results = list(_run(tmp_path, math.inf).results())
    assert [result.scenario.name for result in results] == list(BRIEF)
    assert [result.failure for result in results] == [""] * len(BRIEF)
    for result in results:
        assert result.medians["ours"].value > 0
        assert result.medians["ours"].peak_mib > 10
        assert result.stall_ms > 0


def test_when_the_time_is_over_nothing_more_is_measured(tmp_path, monkeypatch):
    """A run ends at its deadline, and says of what it left out that it did."""
    monkeypatch.setattr(servers, "CACHE", tmp_path / "cache")
    results = list(_run(tmp_path, time.monotonic() - 1).results())
    assert [result.scenario.name for result in results] == list(BRIEF)
    assert all("over" in result.failure for result in results)


def test_the_table_has_medians_ratios_and_verdicts():
    """Ours beside the peer: what it does, how many times better it is, and whether that is enough."""
    scenario = Scenario("push", lambda server, work: None, "push/s", lambda timing, server: 0.0, Target(ratio=2))
    result = Result(scenario, {"ours": [_sample(90.0), _sample(100.0)], "v3": [_sample(50.0)]})
    *_, row = report.table([result]).splitlines()
    assert row.startswith("| push | push/s | 95 | 50 | 1.9 | 1 / 1 |")
    assert row.endswith("| ≤ 100 | ≥ 2× | **missed** |")


@pytest.mark.parametrize(("worst", "verdict"), [(50.0, "met"), (50.1, "missed")])
def test_the_longest_stall_of_all_has_a_verdict(worst, verdict):
    """One round of one scenario is enough to miss it."""
    results = [Result(SCENARIOS[0], {"ours": [_sample(1.0), _sample(worst), _sample(2.0)]})]
    assert f"{verdict})" in report.stalls(results)


def test_a_scenario_that_failed_says_why_and_is_not_met():
    """A failure takes the place of the numbers."""
    result = Result(SCENARIOS[0], {"ours": []}, "Refused: no")
    assert "Refused: no" in report.table([result])
    assert not result.met


def test_the_results_are_written_with_every_round(tmp_path):
    """The JSON has the rounds, the medians and the ratios, so that others can judge them."""
    result = Result(SCENARIOS[0], {"ours": [_sample(1.0), _sample(3.0)], "v3": [_sample(4.0)]})
    report.write(tmp_path / "deep" / "results.json", [result])
    [found] = json.loads((tmp_path / "deep" / "results.json").read_text())["results"]
    assert [one["value"] for one in found["rounds"]["ours"]] == [1.0, 3.0]
    assert found["medians"]["ours"]["value"] == 2.0
    assert found["ratios"] == {"v3": 2.0}


@pytest.mark.parametrize(("value", "text"), [(12345.6, "12,346"), (99.44, "99.4"), (0.01234, "0.0123"), (None, "")])
def test_numbers_have_three_digits_that_count(value, text):
    """No more precision than was measured."""
    assert report.number(value) == text


def test_scenarios_are_chosen_by_the_beginnings_of_their_names():
    """`--only` takes several; a name that fits none is refused; `--quick` leaves out what takes long."""
    assert {scenario.name for scenario in chosen("delete,start", quick=True)} == {"delete", "start"}
    assert [scenario.name for scenario in chosen("push-1GiB-s", quick=True)] == ["push-1GiB-streamed"]
    assert not any(scenario.large for scenario in chosen("", quick=True))
    assert chosen("", quick=False) == list(SCENARIOS)
    with pytest.raises(SystemExit, match="pish"):
        chosen("pish", quick=False)


def test_the_names_of_scenarios_are_distinct():
    """A name in the results means one scenario."""
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS)


def test_peers_can_be_named_again_and_again():
    """`--peer` adds up."""
    assert arguments(["--peer", "v3", "--peer", "2.8"]).peer == ["v3", "2.8"]
