"""
From one file to a service: `quay install` on a machine that systemd has started, and all that follows from it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509

from quay import __version__, authority
from tests.clients.conftest import installed, logins
from tests.clients.images import held, image, write_directory
from tests.clients.programs import POLL, Program
from tests.distribution import Answer
from tests.founding import Browser
from tests.packaging.island import Island
from tests.packaging.machine import Machine
from tests.server import User

pytestmark = pytest.mark.long

ADA = User("ada", "correct-horse-battery")
DATA = Path("/var/lib/quay")
STARTING = 120.0
CAP_NET_BIND_SERVICE = 10
NOBODY = 65534


@pytest.fixture
def quay(binary: Path, machine: Machine) -> Program:
    """The file, copied to root's home on the machine."""
    shutil.copy2(binary, machine.root / "root" / "quay")
    return machine.program("/root/quay")


def wait(until: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + STARTING
    while not until():
        assert time.monotonic() < deadline, f"{what} did not happen within {STARTING:.0f} s"
        time.sleep(POLL)


def shown(machine: Machine, *properties: str) -> list[str]:
    """What systemd says of the unit."""
    asked = machine.program("systemctl", "show", "quay", "--value", *(f"--property={name}" for name in properties))
    return [line for line in asked().splitlines() if line]


def plainly(machine: Machine, path: str, **headers: str) -> Answer:
    """What plain HTTP answers there."""
    connection = machine.http(80)
    connection.request("GET", path, headers={"Host": "127.0.0.1", **headers})
    answer = connection.getresponse()
    return Answer(answer.status, answer.headers, answer.read())


def trusting(machine: Machine, directory: Path) -> Path:
    """The certificate of the authority as plain HTTP hands it out, in a directory as skopeo wants it."""
    directory.mkdir()
    (directory / "ca.crt").write_bytes(plainly(machine, "/ca").expect(200).body)
    return directory


def skopeo(machine: Machine, tmp_path: Path) -> Program:
    """Another machine's skopeo, which knows the password of ada."""
    installed("skopeo", os.environ)
    (tmp_path / "auth.json").write_text(logins(ADA, "127.0.0.1"))
    (tmp_path / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    env = {"PATH": os.environ["PATH"], "REGISTRY_AUTH_FILE": tmp_path / "auth.json", "TMPDIR": tmp_path}
    return machine.visitor("skopeo", "--policy", tmp_path / "policy.json", env=env)


def listens(machine: Machine, port: int) -> bool:
    """Whether somebody listens there."""
    lines = (machine.root / "proc/1/net/tcp").read_text().splitlines()
    return any(f":{port:04X} " in line and " 0A " in line for line in lines)


def owners(machine: Machine, directory: Path) -> set[int]:
    """Whose the files below the directory are."""
    found = machine.root / directory.relative_to("/")
    return {path.lstat().st_uid for path in (found, *found.rglob("*"))}


def test_a_service(machine: Machine, quay: Program, tmp_path: Path) -> None:
    """
    One command makes a service of the file: as a user of its own, who can do nothing but listen on low ports; a client
    that trusts its authority pushes and pulls; what root's commands write is the service's; and after an upgrade, an
    end that keeps the data and a new beginning, the image is still there. Then, nothing is left.
    """
    said = quay("install")
    lines = [line for line in said.splitlines() if line.strip()]
    assert len(lines) <= 10, said
    assert re.search(r"https://127\.0\.0\.1/setup/\?token=\S+", said), said

    command = machine.program("/usr/local/bin/quay")
    assert command("version") == f"quay {__version__}\n"
    pid = shown(machine, "MainPID")[0]
    assert shown(machine, "Type", "ActiveState", "UnitFileState") == ["notify", "active", "enabled"]
    process = dict(
        line.split(":\t", 1) for line in (machine.root / f"proc/{pid}/status").read_text().splitlines() if ":\t" in line
    )
    user = int(machine.program("id", "-u", "quay")())
    assert {int(number) for number in process["Uid"].split()} == {user}
    assert int(process["CapEff"], 16) == int(process["CapBnd"], 16) == 1 << CAP_NET_BIND_SERVICE
    assert process["NoNewPrivs"] == "1" and process["Seccomp"] == "2"

    trusted = trusting(machine, tmp_path / "trusted")
    own = x509.load_pem_x509_certificate((trusted / "ca.crt").read_bytes())
    assert authority.fingerprint(own) in said
    create = ("user", "create", ADA.name, "--email", "ada@example.org", "--superuser", "--password-stdin")
    command(*create, stdin=ADA.password)
    client, pushed = skopeo(machine, tmp_path), image("installed")
    target = "docker://127.0.0.1/ada/image:1"
    source = f"dir:{write_directory(pushed, tmp_path / 'pushed')}"
    client("copy", f"--dest-cert-dir={trusted}", source, target)
    pulls = 0

    def pull() -> None:
        nonlocal pulls
        pulls += 1
        place = tmp_path / f"pulled-{pulls}"
        client("copy", f"--src-cert-dir={trusted}", target, f"dir:{place}")
        assert pushed.everything().items() <= held(place).items()

    pull()
    assert "Removed" in command("gc")
    assert owners(machine, DATA) == {user}

    assert "is healthy" in command("status")
    nobody = machine.program("setpriv", f"--reuid={NOBODY}", "--clear-groups", "/usr/local/bin/quay")
    seen = json.loads(nobody("status", "-o", "json"))
    assert (seen["health"], seen["version"], seen["urls"]) == ("healthy", __version__, ["https://0.0.0.0:443"])
    assert re.search(r"quay\[\d+\]: Listening on https://0\.0\.0\.0:443\n", command("logs"))
    assert "Only root" in nobody.refused("install")

    assert "is installed" in quay("install")
    assert shown(machine, "MainPID")[0] != pid
    pull()
    assert f"Kept {DATA}" in command("uninstall", "--keep-data", "--yes")
    assert not (machine.root / "usr/local/bin/quay").is_symlink()
    assert "does not run" in quay.refused("status")
    assert "is installed" in quay("install")
    pull()

    said = command("uninstall", "--yes")
    assert f"Removed {DATA} with all data in it." in said
    for path in ("var/lib/quay", "opt/quay", "etc/quay", "usr/local/bin/quay", "etc/systemd/system/quay.service"):
        assert not os.path.lexists(machine.root / path)
    machine.program("id", "quay").refused()


def test_set_up_in_a_browser(machine: Machine, quay: Program) -> None:
    """The address that was printed leads through the setup, and the restart at its end is the same process."""
    address = re.search(r"https://127\.0\.0\.1(/setup/\?token=\S+)", quay("install"))
    assert address is not None
    before = shown(machine, "MainPID")
    trust = ssl.create_default_context(cadata=plainly(machine, "/ca").expect(200).body.decode())
    page = plainly(machine, "/ca", Accept="text/html").expect(200).body.decode()
    for way in ("/etc/docker/certs.d", "/etc/containers/certs.d", "hosts.toml", "update-ca-trust", "certutil"):
        assert way in page
    assert plainly(machine, "/repository/").expect(308).headers["Location"] == "https://127.0.0.1/repository/"
    browser = Browser(lambda: machine.http(443, trust))
    assert browser.get(address[1]).expect(303).headers["Location"] == "/setup/administrator"
    told = {"name": ADA.name, "email": "ada@example.org", "password": ADA.password, "repeated": ADA.password}
    browser.send("/setup/administrator", told).expect(303)
    named = {"hostname": "127.0.0.1", "listen": "0.0.0.0:443", "plain": "0.0.0.0:80", "tls": "own", "others": "machine"}
    browser.send("/setup/names", named).expect(303)
    browser.send("/setup/storage", {"database": "kept", "blobs": "elsewhere"}).expect(303)
    browser.send("/setup/apply", {"restart": "1"}, page="/setup/summary").expect(200)
    wait(lambda: (machine.root / "var/lib/quay/elsewhere").exists(), "the restart")
    wait(lambda: shown(machine, "ActiveState") == ["active"], "its end")
    assert (shown(machine, "MainPID"), shown(machine, "NRestarts")) == (before, ["0"])
    assert "is healthy" in quay("status")


def test_a_server_that_stands_still(machine: Machine, quay: Program) -> None:
    """A server that has stopped to say that it is well is ended and started anew, and serves again."""
    quay("install")
    dropped = machine.root / "etc/systemd/system/quay.service.d"
    dropped.mkdir()
    (dropped / "impatient.conf").write_text("[Service]\nWatchdogSec=3s\n")
    machine.program("systemctl", "daemon-reload")()
    machine.program("systemctl", "restart", "quay")()
    machine.program("kill", "-STOP", shown(machine, "MainPID")[0])()
    wait(lambda: shown(machine, "NRestarts", "ActiveState") == ["1", "active"], "the new start")
    assert "is healthy" in quay("status")


def test_an_image(machine: Machine, quay: Program) -> None:
    """Into the file system of an image go the program and the unit, and no secret; its first start makes those."""
    root = Path("/tmp/image")
    machine.program("mkdir", "-p", root / "etc", root / "bin")()
    machine.program("cp", "/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow", root / "etc")()
    assert "begins with /var/lib/quay" in quay("install", "--root", root)
    placed = machine.root / root.relative_to("/")
    assert {path.name for path in (placed / "var/lib/quay").iterdir()} == {"installation.json"}
    assert (placed / "opt/quay/current").readlink() == Path(__version__)
    assert (placed / "usr/local/bin/quay").readlink() == Path("/opt/quay/current/quay")
    wanted = placed / "etc/systemd/system/multi-user.target.wants/quay.service"
    assert wanted.readlink() == Path("/etc/systemd/system/quay.service")
    assert "\nquay:" in (placed / "etc/passwd").read_text()
    assert "\nquay:" not in (machine.root / "etc/passwd").read_text()


def test_a_first_start_makes_what_it_needs(machine: Machine, quay: Program) -> None:
    """With --no-start, the first start makes secrets and certificates, and takes the usual ports by its capability."""
    assert "begins with" in quay("install", "--no-start", "--data", "/srv/quay")
    assert {path.name for path in (machine.root / "srv/quay").iterdir()} == {"installation.json"}
    machine.program("systemctl", "start", "quay")()
    assert "https://0.0.0.0:443" in quay("status")
    written = (machine.root / "srv/quay/quay.yaml").read_text()
    assert "\nLISTEN: 0.0.0.0:443\n" in written and "\nPLAIN_LISTEN: 0.0.0.0:80\n" in written


def test_what_is_refused(machine: Machine, quay: Program) -> None:
    """What stands in the way is told in a sentence before anything is changed, with the process that has the port."""
    machine.program("mkdir", "/srv/full")()
    (machine.root / "srv/full/letter").write_text("mine")
    assert "none of Quay's" in quay.refused("install", "--data", "/srv/full")
    assert "is for other things" in quay.refused("install", "--data", "/etc/quay")
    assert "absolute path" in quay.refused("install", "--data", "relative")
    taken = machine.program("systemd-run", "--unit=taken", "systemd-socket-activate", "-l", "0.0.0.0:443", "cat")
    taken()
    wait(lambda: listens(machine, 443), "the listening")  # else what is to be refused would succeed
    said = quay.refused("install")
    assert "systemd-socket" in said and "process" in said
    assert not (machine.root / "opt/quay").exists()
    assert "\nquay:" not in (machine.root / "etc/passwd").read_text()
    served = machine.program("systemd-run", "--unit=served", "--setenv=QUAY_DATA=/srv/other", "/root/quay", "serve")
    served()
    wait(lambda: (machine.root / "srv/other/server.lock").exists(), "another server")
    assert "Another server is using /srv/other: process" in quay.refused(
        "install", "--data", "/srv/other", "--listen", "0.0.0.0:444", "--plain", "none"
    )


def test_another_port_and_a_name(machine: Machine, quay: Program) -> None:
    """Ports and a name are chosen once, and told everywhere; an upgrade takes none."""
    said = quay("install", "--listen", "0.0.0.0:8443", "--plain", "none", "--hostname", "registry.test")
    assert "https://registry.test:8443/setup/?token=" in said
    assert "To trust it" not in said
    assert "is configured already" in quay.refused("install", "--listen", "0.0.0.0:443")
    assert "https://0.0.0.0:8443" in quay("status")


@pytest.fixture
def anywhere() -> Iterator[Path]:
    """A directory of somebody's; what pytest makes is for root alone."""
    with tempfile.TemporaryDirectory() as made:
        os.chown(made, NOBODY, NOBODY)
        yield Path(made)


def test_without_root(binary: Path, island: Island, anywhere: Path) -> None:
    """Anybody serves a registry from any directory: over TLS on 8443, with an authority that plain HTTP hands out."""
    program = shutil.copy2(binary, anywhere / "quay")
    somebody = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    line = island.command(*somebody, program, "serve", directory=anywhere)
    said = anywhere / "log"
    with said.open("wb") as log:
        env = {"PATH": "/usr/bin:/bin", "HOME": str(anywhere)}
        server = subprocess.Popen(line, env=env, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait(lambda: "Set it up" in said.read_text() or server.poll() is not None, "the start")
        told = said.read_text()
        assert re.search(r"Set it up, within a day, at https://127\.0\.0\.1:8443/setup/\?token=\S+\n", told), told
        plain = island.http(8080)
        plain.request("GET", "/ca", headers={"Host": "127.0.0.1:8080"})
        pem = plain.getresponse().read()
        assert authority.fingerprint(x509.load_pem_x509_certificate(pem)) in told
        secure = island.http(8443, ssl.create_default_context(cadata=pem.decode()))
        secure.request("GET", "/health")
        assert secure.getresponse().status == 200
        assert {path.lstat().st_uid for path in (anywhere / "var").rglob("*")} == {NOBODY}
    finally:
        server.terminate()
        server.wait(STARTING)
