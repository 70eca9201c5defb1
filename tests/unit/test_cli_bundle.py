"""`quay bundle`: sizes as people write them, and how far something is, in lines."""

from __future__ import annotations

import attrs
import click
import pytest
from click.testing import CliRunner

from quay.cli import quay
from quay.cli.bundle import _bytes, make
from quay.cli.meter import Meter, size, span


@pytest.mark.parametrize(
    ("text", "count"),
    [("650M", 650_000_000), ("4G", 4 * 10**9), ("4GiB", 2**32), ("4gb", 4 * 10**9), ("1.5k", 1500), ("700", 700)],
)
def test_sizes(text: str, count: int) -> None:
    """K, M and G are thousands, so that 4G fits where a file may have 4 GiB less a byte; KiB and so on are of 1024."""
    parameter = next(one for one in make.params if one.name == "limit")
    assert _bytes(click.Context(make), parameter, text) == count


@pytest.mark.parametrize("text", ["", "4X", "-4G", "G", "4 4", "1e9"])
def test_no_sizes(text: str) -> None:
    """What is no size is told, and nothing is done."""
    result = CliRunner().invoke(quay, ["bundle", "plan", "a/b", f"--max-size={text}"], obj={})
    assert (result.exit_code, "650M" in result.output) == (2, True)


@attrs.define
class Measured:
    done: int = 0
    total: int = 0


def test_a_meter(capsys: pytest.CaptureFixture[str]) -> None:
    """Where there is no terminal, a line comes now and then: how far, how fast, how long still."""
    moment = [0.0]
    measured = Measured()
    meter = Meter("Writing", measured, lambda: moment[0])
    meter.tick()
    assert capsys.readouterr().err == ""
    measured.done, measured.total, moment[0] = 2**20, 2**22, 20.0
    meter.tick()
    meter.tick()
    assert capsys.readouterr().err == "Writing 25%, 1.0 MiB of 4.0 MiB, 51.2 KiB/s, 60 s left\n"
    measured.done = measured.total
    assert meter.line(bar=True).startswith("Writing [################] 100%, 4.0 MiB of 4.0 MiB")
    assert len(meter.line(bar=True)) < 80


def test_words() -> None:
    """Bytes and times, as people read them."""
    assert [size(one) for one in (0, 1023, 1024, 5 * 2**30)] == ["0 B", "1023 B", "1.0 KiB", "5.0 GiB"]
    assert [span(one) for one in (5, 100, 7200)] == ["5 s", "2 min", "2.0 h"]
