"""What a server does to itself when it has started."""

from __future__ import annotations

import gc

from quay.service.appliance import _spare_the_collector


def test_the_collector_passes_by_what_was_there_at_the_start() -> None:
    """After the start, a full collection looks through what came since, and through nothing else."""
    marker: list[object] = [[]]
    try:
        _spare_the_collector()
        assert gc.get_freeze_count() > 0
        assert all(found is not marker for found in gc.get_objects())
    finally:
        gc.unfreeze()
