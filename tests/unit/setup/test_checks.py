"""Answers are tried, not believed; each refusal is a sentence, and nothing that was tried is left behind."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from quay.config.secrets import Vault
from quay.setup import Keeping, Names, checks, read_answers
from quay.setup.checks import CheckFailed

VAULT = Vault({}, Path("/data"))


def refused(bound: tuple[int, ...] = (), **answers: Any) -> list[str]:
    given = {"hostname": "registry.example.org", "listen": ["127.0.0.1:0"], **answers}
    return list(checks.names(read_answers(Names, given, VAULT), bound))


def keeping(data: Path, **answers: Any) -> tuple[str, ...]:
    return checks.keeping(read_answers(Keeping, answers, VAULT), data).remarks


def test_names_that_will_do() -> None:
    """Host names and addresses of both kinds are names, and any free port will do."""
    assert refused(others=["a", "a-b.example", "10.0.0.5", "fd00::5", "under_score"]) == []


@pytest.mark.parametrize("name", ["a:443", "https://a", "a b", "-a", "a..b", "ü", "a/b", "x" * 64, "<script>"])
def test_what_is_no_name(name: str) -> None:
    """What could not stand in a certificate is named."""
    (sentence,) = refused(others=[name])
    assert sentence.startswith("others: ")


def test_a_port_that_is_taken() -> None:
    """Where another program listens, this server could not; unless it is this server itself."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        (sentence,) = refused(listen=[f"127.0.0.1:{port}"])
        assert sentence == (
            f"listen: this server cannot listen on 127.0.0.1:{port}: another program listens there; stop it, or take "
            "another port."
        )
        assert refused((port,), listen=[f"127.0.0.1:{port}"]) == []


def test_an_address_of_another_machine() -> None:
    """It cannot listen where it is not."""
    (sentence,) = refused(listen=["192.0.2.77:8443"])
    assert "this machine has no such address" in sentence


def test_nowhere() -> None:
    """It has to listen somewhere."""
    assert refused(listen=[]) == ["listen: is empty; name an address and a port, such as 0.0.0.0:8443."]


def test_plain_and_tls_in_one_place() -> None:
    """One port cannot speak both."""
    (sentence,) = refused((8080,), listen=["0.0.0.0:8080"], plain=["0.0.0.0:8080"])
    assert sentence.startswith("plain: ")


def test_a_proxy_has_an_address() -> None:
    """A proxy that is not named would hide every client."""
    (sentence,) = refused(tls="proxy")
    assert sentence.startswith("proxies: is empty")


def test_as_it_is(tmp_path: Path) -> None:
    """Who answers nothing keeps what he has."""
    assert keeping(tmp_path) == (
        "The database stays the one in which this registry runs now.",
        "Blobs stay where this registry keeps them now.",
    )


def test_a_directory(tmp_path: Path) -> None:
    """A directory is written to, and what is free is said; nothing is left in it."""
    remarks = keeping(tmp_path, database="sqlite", blobs="deep/down")
    assert remarks[0] == f"The database is the file {tmp_path / 'quay.db'}."
    assert "can be written, with" in remarks[1]
    (tmp_path / "there").mkdir()
    keeping(tmp_path, blobs="there")
    assert list((tmp_path / "there").iterdir()) == []
    assert not (tmp_path / "deep" / "down").exists()


def test_no_directory(tmp_path: Path) -> None:
    """What is no directory is refused with the system's reason."""
    (tmp_path / "file").touch()
    with pytest.raises(CheckFailed, match=r"Blobs cannot be kept in .*/file: File exists"):
        keeping(tmp_path, blobs="file")


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk without room is refused before anybody pushes to it."""
    little = SimpleNamespace(free=1 << 20)
    monkeypatch.setattr("quay.setup.checks.shutil.disk_usage", lambda path: little)
    with pytest.raises(CheckFailed, match="1 MiB free"):
        keeping(tmp_path, blobs="there")


def test_redis_with_sqlite(tmp_path: Path) -> None:
    """Redis is for several nodes, and SQLite for one."""
    with pytest.raises(CheckFailed, match="choose PostgreSQL"):
        keeping(tmp_path, database="sqlite", redis={"host": "127.0.0.1"})


def test_everything_that_is_wrong(tmp_path: Path) -> None:
    """All that does not work is said at once."""
    (tmp_path / "file").touch()
    with pytest.raises(CheckFailed) as failed:
        keeping(tmp_path, database="sqlite", redis={"host": "x"}, blobs="file")
    assert len(failed.value.problems) == 2


def test_a_directory_that_the_service_may_not_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What systemd shows read-only is told apart from what belongs to somebody else, with what root does about it."""

    def fail(*arguments: object, **options: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", fail)
    with pytest.raises(CheckFailed, match=r"Read-only file system\. Let the service write there.*--writable"):
        keeping(tmp_path, blobs="elsewhere")
