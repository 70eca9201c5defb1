"""Bars of charts."""

from quay.web.console.chart import HEIGHT, STEP, chart


def test_heights():
    """The largest fills the picture, nothing is nothing, and the least is seen beside the most."""
    made = chart([("Mon", 1), ("Tue", 0), ("Wed", 10_000)])
    assert [bar.height for bar in made.bars] == [2, 0, HEIGHT]
    assert [bar.y for bar in made.bars] == [HEIGHT - 2, HEIGHT, 0]
    assert [bar.label for bar in made.bars] == ["Mon: 1", "Tue: 0", "Wed: 10000"]
    assert (made.width, made.total) == (3 * STEP, 10_001)


def test_nothing():
    """No counts are no bars, and counts of nothing are bars without a height."""
    assert chart([]).bars == ()
    assert chart([("Mon", 0)]).bars[0].height == 0
