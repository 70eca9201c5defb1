"""The audit log as lines: one to an entry, and harmless to whoever looks at them."""

from __future__ import annotations

import csv
import io
import json

from quay.model.audit import Entry
from quay.model.logs import Owner, Recorded
from quay.registry.logbook import Chapter, heading, lines

HOSTILE = '\r\n\x1b[2J\x9b31m\u2028\u202e\x00,"é'
ENTRY = Entry(
    kind="pull_repo",
    namespace_id=3,
    repository_id=7,
    performer_id=4,
    performer=HOSTILE,
    ip="::1",
    details={"repo": "simple", "tag": HOSTILE, HOSTILE: [HOSTILE]},
)
CHAPTER = Chapter([Recorded(5, 1_700_000_000_123, ENTRY)], {5: Owner("buynlarge", "organization", 0)})


def test_json_lines() -> None:
    """A line of JSON has everything, in printable ASCII."""
    text = lines(CHAPTER, "jsonl")
    assert text.endswith("\n") and text[:-1].isprintable() and text.isascii()
    assert heading("jsonl") == ""
    assert json.loads(text) == {
        "id": 5,
        "datetime": "2023-11-14T22:13:20.123+00:00",
        "kind": "pull_repo",
        "namespace": "buynlarge",
        "performer": HOSTILE,
        "ip": "::1",
        "metadata": {"repo": "simple", "tag": HOSTILE, HOSTILE: [HOSTILE]},
    }


def test_csv() -> None:
    """A row of CSV is one line, and its control characters are escaped."""
    text = heading("csv") + lines(CHAPTER, "csv")
    assert [line.isprintable() for line in text.split("\r\n")] == [True, True, True]
    [row] = csv.DictReader(io.StringIO(text))
    assert row["performer"] == '\\u000d\\u000a\\u001b[2J\\u009b31m\\u2028\\u202e\\u0000,"é'
    assert json.loads(row["metadata"])["tag"] == HOSTILE
    assert (row["id"], row["kind"], row["namespace"]) == ("5", "pull_repo", "buynlarge")


def test_no_formulas() -> None:
    """What a spreadsheet would take for a formula is marked as text."""
    for evil in ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1"):
        chapter = Chapter([Recorded(1, 0, Entry(kind="pull_repo", performer=evil))], {})
        [row] = csv.DictReader(io.StringIO(heading("csv") + lines(chapter, "csv")))
        assert row["performer"][0] in "'\\"


def test_nobody_and_nowhere() -> None:
    """Nobody is null; a namespace that is gone is called as it was when the entry was written."""
    gone = Recorded(1, 0, Entry(kind="pull_repo", namespace_id=3, details={"namespace": "old"}))
    row = json.loads(lines(Chapter([gone], {}), "jsonl"))
    assert (row["performer"], row["ip"], row["namespace"]) == (None, None, "old")
    assert json.loads(lines(Chapter([Recorded(1, 0, Entry(kind="pull_repo"))], {}), "jsonl"))["namespace"] is None
