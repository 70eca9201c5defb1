"""`quay audit`: what it prints, what it writes, and how it exits."""

from __future__ import annotations

import csv
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from time import time

import pytest
import sqlalchemy as sa

from quay.auth.seals import Seals
from quay.database import Transaction, once, schema
from quay.model import namespace, seal
from quay.model.audit import Entry, append

DAY_MS = 24 * 3600 * 1000
NOON = 1_769_860_800_000  # 2026-01-31, in UTC
KEY = "0123456789abcdef0123456789abcdef"


class Installation:
    """A data directory with an audit log of thirty entries under three seals, and the command."""

    def __init__(self, directory: Path) -> None:
        self.url = f"sqlite:///{directory / 'quay.db'}"
        self.environ = {"QUAY_DATA": str(directory), "QUAY_SECRET_KEY": KEY}

    def run(self, *arguments: str, status: int = 0) -> tuple[str, str]:
        """What it says on standard output and standard error; a process of its own, since it runs a reactor."""
        command = [sys.executable, "-m", "quay", "audit", *arguments]
        done = subprocess.run(command, env=os.environ | self.environ, capture_output=True, check=False)
        assert done.returncode == status, done
        return done.stdout.decode(), done.stderr.decode()

    def seal(self) -> None:
        key = Seals(KEY.encode(), time).key("audit")
        while once(self.url, seal.extend, key, 10):
            pass

    def do(self, *statements: sa.Executable) -> None:
        once(self.url, lambda txn: [txn.execute(statement) for statement in statements])


def _written(txn: Transaction) -> None:
    txn.now_ms = NOON - 50 * DAY_MS
    owner = namespace.create_user(txn, "devtable", time_machine_s=1)
    append(
        txn,
        [
            Entry(
                kind="pull_repo",
                namespace_id=owner.id if number % 2 else None,
                performer="devtable",
                details={"number": number, "tag": "\x1b[2J\n"},
                performed_ms=NOON + (number - 20) * DAY_MS,
            )
            for number in range(30)
        ],
    )


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    made = Installation(tmp_path)
    once(made.url, _written)
    made.seal()
    return made


def test_verify(installation: Installation) -> None:
    """A log that nobody touched is in order; its head is printed last, and is found again."""
    said, _ = installation.run("verify")
    head = said.splitlines()[-1].removeprefix("Head: ")
    assert "30 entries under 3 seals: no problems." in said
    assert installation.run("verify", "--head", head)[0] == said


def test_verify_a_changed_log(installation: Installation) -> None:
    """What was changed is told in sentences, and the exit status is 1."""
    entry = sa.select(sa.func.min(schema.audit.c.id)).scalar_subquery()
    installation.do(sa.update(schema.audit).where(schema.audit.c.id == entry).values(ip="::1"))
    said, error = installation.run("verify", status=1)
    assert said.startswith("Entries under seal 1, made 20") and error == "The audit log is not as it was sealed.\n"


def test_verify_a_shortened_log(installation: Installation) -> None:
    """A log whose end was cut off is in order by itself; by its head that was noted, it is not."""
    head = installation.run("verify")[0].splitlines()[-1].removeprefix("Head: ")
    installation.do(
        sa.delete(schema.audit).where(schema.audit.c.seal_id == 3),
        sa.delete(schema.audit_seal).where(schema.audit_seal.c.id == 3),
    )
    assert "20 entries under 2 seals: no problems." in installation.run("verify")[0]
    said, _ = installation.run("verify", "--head", head, status=1)
    assert f"The seal that was noted, {head}, is not in the chain" in said


def test_export(installation: Installation, tmp_path: Path) -> None:
    """All entries, the oldest first, a line each, in a new file that only its owner may read."""
    target = tmp_path / "log.jsonl"
    said, error = installation.run("export", str(target))
    assert (said, error) == ("", "Wrote 30 entries.\n")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    lines = target.read_text().splitlines()
    assert [json.loads(line)["metadata"]["number"] for line in lines] == list(range(30))
    assert all(line.isprintable() for line in lines)


def test_export_a_part(installation: Installation) -> None:
    """The entries of some days and of a namespace, as CSV on standard output; the last day is one of them."""
    said, _ = installation.run(
        "export", "--from", "2026-01-30", "--to", "2026-02-01", "--namespace", "devtable", "--format", "csv", "-"
    )
    rows = list(csv.DictReader(said.splitlines()))
    assert [json.loads(row["metadata"])["number"] for row in rows] == [19, 21]
    assert {row["namespace"] for row in rows} == {"devtable"}
    moments = ("--from", "2026-01-31T12:00:00", "--to", "2026-02-01T14:00:00+02:00")
    assert len(installation.run("export", *moments, "-")[0].splitlines()) == 1


def test_export_refused(installation: Installation, tmp_path: Path) -> None:
    """No file is overwritten, none is left half written, and the sentence says why."""
    target = tmp_path / "log.jsonl"
    target.write_text("precious")
    assert installation.run("export", str(target), status=1)[1] == f"{target} cannot be written: File exists.\n"
    assert target.read_text() == "precious"
    other = tmp_path / "other.jsonl"
    _, error = installation.run("export", "--namespace", "nobody", str(other), status=1)
    assert error == "There is no namespace 'nobody': nothing was exported.\n" and not other.exists()
    assert "Give a day, 2026-01-31, or a moment" in installation.run("export", "--from", "yesterday", "-", status=2)[1]
