"""Statistics of the benchmarks."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.benchmarks.measures import Sample, Target, Timing, longest_stall, median, quantile, ratio


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1))
def test_a_quantile_is_one_of_the_values_and_so_many_are_not_above_it(values, share):
    """A quantile is a value that was measured, and at least the share of all values is not above it."""
    found = quantile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values)


def test_the_99th_percentile_of_a_hundred_values_leaves_out_the_largest():
    """Of a hundred latencies, the 99th percentile is the second largest."""
    assert quantile(range(100), 0.99) == 98


def test_a_timing_is_in_milliseconds_and_has_a_rate():
    """Latencies in seconds become a rate and percentiles in milliseconds."""
    timing = Timing.of([0.001, 0.002, 0.003, 0.004], 2.0)
    assert timing == Timing(4, 2.0, 2.0, 4.0)
    assert timing.rate == 2.0


def test_the_median_of_rounds_is_taken_field_by_field():
    """One slow round changes neither the value nor the cost."""
    samples = [Sample(value, value, value, value, value, value, value) for value in (1.0, 900.0, 2.0)]
    assert median(samples) == Sample(2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0)


@pytest.mark.parametrize(
    ("before", "after", "bound"),
    [
        ({0.01: 5, 0.05: 6, math.inf: 6}, {0.01: 9, 0.05: 10, math.inf: 10}, 10.0),
        ({0.01: 5, 0.05: 6, math.inf: 6}, {0.01: 9, 0.05: 11, math.inf: 11}, 50.0),
        ({}, {0.01: 9, 0.05: 9, math.inf: 10}, math.inf),
        ({0.01: 5, math.inf: 5}, {0.01: 5, math.inf: 5}, 0.0),
        ({}, {}, 0.0),
    ],
)
def test_the_longest_stall_is_bounded_by_the_last_bucket_that_was_hit(before, after, bound):
    """What was counted before the round does not count; a round without a tick has no stall."""
    assert longest_stall(before, after) == bound


@pytest.mark.parametrize(("unit", "expected"), [("req/s", 2.0), ("MB/s", 2.0), ("ms", 0.5), ("MiB", 0.5)])
def test_a_ratio_above_one_is_always_better(unit, expected):
    """Twice the rate is 2, twice the time or the memory is a half."""
    assert ratio(200.0, 100.0, unit) == expected


def test_a_peer_that_did_nothing_is_infinitely_worse():
    """A division by nothing does not end the run."""
    assert ratio(1.0, 0.0, "req/s") == math.inf


@pytest.mark.parametrize(
    ("target", "value", "against", "met"),
    [
        (Target(ratio=2), 9.0, [2.0, 3.0], True),
        (Target(ratio=2), 9.0, [1.9, 3.0], False),
        (Target(ratio=2), 9.0, [], True),
        (Target(at_most=5), 5.0, [0.1], True),
        (Target(at_most=5), 5.1, [9.0], False),
        (Target(), 1.0, [0.1], True),
    ],
)
def test_a_target_is_met_beside_every_peer_or_by_the_value_alone(target, value, against, met):
    """A ratio has to be reached against each peer; a limit holds whatever the peers do; no target is always met."""
    assert target.met(value, against) is met


def test_a_target_says_what_it_is():
    """The table names a target as a person would."""
    assert [str(target) for target in (Target(ratio=1.2), Target(at_most=5), Target())] == ["≥ 1.2×", "≤ 5", ""]
