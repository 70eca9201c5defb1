"""Limits, the system, locks, and what the environment says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from appliance.doctor import configuration, limits, locks, services, system
from appliance.doctor.patient import Patient
from quay.condition import State
from tests.unit.appliance.doctor.patients import NOW, machine, only, patient, states, well
from tests.unit.appliance.doctor.test_ports import serving

MEMINFO = "MemTotal: {total} kB\nMemFree: 1 kB\nMemAvailable: {free} kB\nSwapTotal: 0 kB\n"
GIB = 1024 * 1024
FILES = (
    "Limit                     Soft Limit           Hard Limit           Units\nMax open files  {soft}  {hard}  files\n"
)
NAME = "registry.example.org"


def test_enough(tmp_path: Path) -> None:
    """A server with many files and much memory."""
    files = {
        "/proc/meminfo": MEMINFO.format(total=8 * GIB, free=6 * GIB),
        "/proc/4321/limits": FILES.format(soft=1024, hard=524288),
    }
    whom = patient(tmp_path, machine(tmp_path / "machine", files))
    with serving(whom, 4321):
        assert well(limits.look, whom)


def test_few_files(tmp_path: Path) -> None:
    """The hard limit of the running server counts."""
    files = {
        "/proc/meminfo": MEMINFO.format(total=8 * GIB, free=6 * GIB),
        "/proc/4321/limits": FILES.format(soft=64, hard=64),
    }
    whom = patient(tmp_path, machine(tmp_path / "machine", files))
    with serving(whom, 4321):
        assert "The server may open 64 files" in only(limits.look, whom, State.REMARKABLE).sentence


@pytest.mark.parametrize(
    ("total", "free", "state"),
    [
        (8 * GIB, GIB // 10, State.WRONG),
        (GIB // 4, GIB // 4 - 1, State.WRONG),
        (GIB * 3 // 10, GIB * 3 // 10, State.REMARKABLE),
    ],
)
def test_little_memory(tmp_path: Path, total: int, free: int, state: State) -> None:
    """Too little for now, or in all."""
    host = machine(tmp_path / "machine", {"/proc/meminfo": MEMINFO.format(total=total, free=free)})
    assert "memory" in only(limits.look, patient(tmp_path, host), state).sentence


def test_a_small_group(tmp_path: Path) -> None:
    """A container may have less than its machine."""
    files = {
        "/proc/meminfo": MEMINFO.format(total=8 * GIB, free=6 * GIB),
        "/proc/self/cgroup": "0::/system.slice/quay.service\n",
        "/sys/fs/cgroup/system.slice/quay.service/memory.max": "268435456\n",
        "/sys/fs/cgroup/system.slice/quay.service/pids.max": "max\n",
    }
    finding = only(limits.look, patient(tmp_path, machine(tmp_path / "machine", files)), State.REMARKABLE)
    assert "has 256.0 MiB of memory" in finding.sentence


def test_the_system(tmp_path: Path) -> None:
    """What it is, in a sentence; without SELinux and AppArmor."""
    host = machine(tmp_path / "machine", {"/etc/os-release": 'NAME="D"\nPRETTY_NAME="Debian GNU/Linux 12"\n'})
    whom = patient(tmp_path, host)
    assert well(system.look, whom)
    assert "on Debian GNU/Linux 12, Linux " in states(system.look, whom)[0][1]


def test_selinux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A label under which a service may not write is wrong, where that is enforced."""
    whom = patient(tmp_path, machine(tmp_path / "machine", {"/sys/fs/selinux/enforce": "1"}))
    monkeypatch.setattr(system, "_label", lambda path: "unconfined_u:object_r:user_home_t:s0")
    finding = only(system.look, whom, State.WRONG)
    assert f"restorecon -R {whom.config.data}" in finding.fix
    monkeypatch.setattr(system, "_label", lambda path: "system_u:object_r:var_lib_t:s0")
    assert well(system.look, whom)


def test_apparmor(tmp_path: Path) -> None:
    """A profile that holds the server is worth a word."""
    files = {"/sys/module/apparmor/parameters/enabled": "Y\n", "/proc/4321/attr/current": "quay (enforce)\n"}
    whom = patient(tmp_path, machine(tmp_path / "machine", files))
    assert well(system.look, whom)
    with serving(whom, 4321):
        assert "profile quay (enforce)" in only(system.look, whom, State.REMARKABLE).sentence


# --- the lock


def test_a_server_runs(tmp_path: Path) -> None:
    """It is named."""
    whom = patient(tmp_path, machine(tmp_path / "machine"))
    with serving(whom, 4321):
        assert only(locks.look, whom, State.FINE).sentence == "The server runs: process 4321 on this-machine."


def test_a_server_of_another_machine(tmp_path: Path) -> None:
    """A lock does not reach there."""
    whom = patient(tmp_path, machine(tmp_path / "machine"))
    (whom.config.data / "server.lock").write_text("process 9 on another-machine\n")
    assert "make sure that it does not run there" in only(locks.look, whom, State.REMARKABLE).sentence


def test_drafts(tmp_path: Path) -> None:
    """Files that were never finished are named when they are old."""
    whom = patient(tmp_path, machine(tmp_path / "machine"))
    draft = whom.config.data / ".quay.yaml.0123456789abcdef"
    draft.touch()
    os.utime(draft, (NOW.timestamp() - 3600,) * 2)
    assert well(locks.look, whom)
    os.utime(draft, (NOW.timestamp() - 100_000,) * 2)
    assert only(locks.look, whom, State.REMARKABLE).fix == f"rm -- {draft}"


# --- proxies


@pytest.mark.parametrize(
    ("spared", "name", "covered"),
    [
        ("", NAME, False),
        (NAME, NAME, True),
        (".example.org", NAME, True),
        ("example.org", NAME, True),
        ("*.example.org", NAME, True),
        ("*", NAME, True),
        ("localhost, registry.example.org:443", NAME, True),
        ("ample.org", NAME, False),
        ("10.0.0.5", "10.0.0.5", True),
        ("0.0.5", "10.0.0.5", False),
    ],
)
def test_no_proxy(spared: str, name: str, covered: bool) -> None:
    """Names, their endings and * keep the proxy away."""
    assert services.covers(spared, name) is covered


def test_a_proxy_in_between(tmp_path: Path) -> None:
    """Its address, in which there may be a password, is not repeated; units of docker count, too."""
    unit = '[Service]\nEnvironment="HTTPS_PROXY=http://me:hunter2@proxy:3128" NO_PROXY=localhost\n'
    host = machine(
        tmp_path / "machine",
        {"/etc/systemd/system/docker.service.d/proxy.conf": unit},
        environ={"https_proxy": "http://me:hunter2@proxy:3128", "no_proxy": ".example.org"},
    )
    whom = patient(tmp_path, host, SERVER_HOSTNAME=NAME)
    found = list(services.proxies(whom))
    assert [finding.state for finding in found] == [State.FINE, State.REMARKABLE]
    assert found[1].fix == f"export NO_PROXY=localhost,{NAME}"
    assert "hunter2" not in str(found)


def test_no_proxies(tmp_path: Path) -> None:
    """Usually there are none."""
    assert well(services.proxies, patient(tmp_path, machine(tmp_path)))


# --- the configuration


def test_what_is_written_down(tmp_path: Path) -> None:
    """What can be used is fine; warnings are remarkable, mistakes wrong."""
    assert well(configuration.look, patient(tmp_path))
    warned = patient(
        tmp_path, MAIL_SERVER="mail.example.org", MAIL_DEFAULT_SENDER="quay@example.org", MAIL_USE_TLS=False
    )
    assert [state for state, _ in states(configuration.look, warned)].count(State.WRONG) == 0
    broken = Patient(patient(tmp_path).config, machine(tmp_path), None, ("LISTEN: is nothing.", "DATA: is nothing."))
    assert [state for state, _ in states(configuration.look, broken)] == [State.WRONG] * 2


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is wrong with what somebody may not see."""
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    file = tmp_path / "quay.yaml"
    whom = Patient(patient(tmp_path).config, machine(tmp_path), file, (f"{file} cannot be read.",))
    assert only(configuration.look, whom, State.UNSEEN).fix == "sudo quay doctor"
    assert len(states(configuration.look, whom)) == 1
