"""
The one file on a bare machine: no Python, no route to anywhere, nothing on the PATH, nothing in the environment.
"""

from __future__ import annotations

import json
import os
import re
import signal
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
import yaml
from alembic import command
from alembic.config import Config

from quay import __version__
from quay.authority import pem_of
from quay.database.engines import migrating, open_engine
from quay.database.migrations import status
from quay.database.schema import SCHEMA
from quay.setup.certificates import CertificateFiles
from quay.web.explorer import FILES
from quay.web.static import TYPES
from tests.clients.conftest import installed, logins
from tests.clients.images import held, image, write_directory
from tests.clients.programs import Program
from tests.packaging.island import BinaryQuay, Island
from tests.postgres import PostgresServer
from tests.server import PATIENCE, REPOSITORY, User

pytestmark = pytest.mark.long

PAGES = REPOSITORY / "quay" / "web" / "pages"
ADA = User("ada", "correct-horse-battery")


@pytest.fixture
def quay(binary: Path, island: Island, tmp_path: Path) -> Iterator[BinaryQuay]:
    """A server that was not started yet."""
    server = BinaryQuay(binary, island, tmp_path / "data")
    yield server
    server.kill()


def skopeo(island: Island, tmp_path: Path, *hosts: str) -> Program:
    """skopeo on the island, which knows the password of ada."""
    installed("skopeo", os.environ)
    (tmp_path / "auth.json").write_text(logins(ADA, *hosts))
    (tmp_path / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    env = {"PATH": os.environ["PATH"], "REGISTRY_AUTH_FILE": tmp_path / "auth.json", "TMPDIR": tmp_path}
    return island.program("skopeo", "--policy", tmp_path / "policy.json", env=env)


def spoiled(binary: Path, target: Path, pattern: str, replacement: str) -> Path:
    """A copy of the file whose script says something else."""
    text, changes = re.subn(pattern.encode(), replacement.encode(), binary.read_bytes(), count=1)
    assert changes
    target.write_bytes(text)
    target.chmod(0o755)
    return target


def test_nothing_around_it(binary: Path, island: Island, tmp_path: Path) -> None:
    """It says its version where there is neither an environment nor a home; its exit status and arguments pass."""
    bare = island.program(binary, env={})
    assert bare("version") == f"quay {__version__}\n"
    assert "No such command 'what is this'" in bare.refused("what is this")
    promised = island.program("sh", "-c", "! python3 --version && ip route", env={"PATH": "/usr/sbin:/usr/bin:/bin"})
    assert promised() == ""


def test_from_setup_to_a_pull(quay: BinaryQuay, island: Island, tmp_path: Path) -> None:
    """Set up by a file of answers, it serves over TLS by its own authority, and an image comes back as it went."""
    given = {
        "administrator": {"name": ADA.name, "email": "ada@example.org", "password": ADA.password},
        "names": {"hostname": quay.host, "listen": [quay.host], "plain": [], "tls": "own"},
    }
    (tmp_path / "answers.yaml").write_text(yaml.safe_dump(given))
    quay.command("setup", "--answers", str(tmp_path / "answers.yaml"))
    authority = CertificateFiles(quay.data).authority()
    assert authority is not None
    trust = tmp_path / "trust"
    trust.mkdir()
    (trust / "ca.crt").write_bytes(pem_of(authority))
    quay.tls = ssl.create_default_context(cafile=str(trust / "ca.crt"))
    quay.start()

    client, pushed = skopeo(island, tmp_path, quay.host), image("binary")
    there = f"docker://{quay.host}/ada/image:1"
    source = f"dir:{write_directory(pushed, tmp_path / 'pushed')}"
    client("copy", "--quiet", "--preserve-digests", "--dest-cert-dir", trust, source, there)
    client("copy", "--quiet", "--preserve-digests", "--src-cert-dir", trust, there, f"dir:{tmp_path / 'pulled'}")
    assert pushed.everything().items() <= held(tmp_path / "pulled").items()
    assert quay.command("fsck").endswith("0 problems, of which 0 were mended.\n")
    assert quay.stop() == 0
    assert "Traceback" not in quay.log


def test_pages(quay: BinaryQuay) -> None:
    """What pages are made of is all in it: templates, styles, the documentation, the API explorer."""
    static = [f"/static/{path.name}" for path in (PAGES / "static").iterdir() if path.suffix in TYPES]
    written = [f"/docs/{path.stem}" for path in (REPOSITORY / "quay" / "docs").glob("*.md")]
    quay.start()
    for path in ("/", "/signin", "/api-explorer/", *(f"/api-explorer/{name}" for name in FILES), *static, *written):
        connection = quay.island.http(quay.port)
        connection.request("GET", path)
        answer = connection.getresponse()
        assert (path, answer.status) == (path, 200)
        if path in static:
            assert answer.read() == (PAGES / path[1:]).read_bytes()
        connection.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def old_database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database as the first release left it, with a user."""
    if request.param == "sqlite":
        (tmp_path / "data").mkdir()
        url = f"sqlite:///{tmp_path}/data/quay.db"
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        server.create("old_of_binary")
        request.addfinalizer(lambda: server.drop("old_of_binary"))
        url = server.url("old_of_binary")
    engine = open_engine(url)
    with migrating(engine) as connection:
        history = Config(attributes={"connection": connection})
        history.set_main_option("script_location", "quay.database:migrations")
        command.upgrade(history, "0001")
        connection.execute(sa.text("INSERT INTO setting (key, value) VALUES ('schema', '1'), ('schema_compat', '1')"))
        connection.execute(
            sa.text(
                "INSERT INTO namespace (uuid, name, kind, email, time_machine_s, created_ms)"
                " VALUES ('5c5a2a1e-0000-4000-8000-000000000001', 'grace', 'user', 'grace@example.org', 1209600, 1)"
            )
        )
    engine.dispose()
    return url


def test_an_old_database(binary: Path, island: Island, tmp_path: Path, old_database: str) -> None:
    """It brings the database of the first release up to date by itself, and serves what is in it."""
    with BinaryQuay(binary, island, tmp_path / "data", {"QUAY_DB_URI": old_database}) as quay:
        assert "grace" in quay.command("user", "list")
        assert quay.stop() == 0
    engine = open_engine(old_database)
    assert status(engine).schema == SCHEMA
    engine.dispose()


def test_its_materials(binary: Path) -> None:
    """Beside it is what it consists of: packages in the versions that were asked for, Python, and no tools."""
    document = json.loads(Path(f"{binary}.cdx.json").read_bytes())
    found = {one["name"]: one["version"] for one in document["components"]}
    pinned = dict(
        re.findall(r"^(\S+)==(\S+)$", (REPOSITORY / "packaging" / "constraints.txt").read_text(), re.MULTILINE)
    )
    assert (document["bomFormat"], document["metadata"]["component"]["version"]) == ("CycloneDX", __version__)
    assert {"cpython", "Twisted", "SQLAlchemy", "cryptography", "psycopg-binary", "flask-swagger-ui"} <= found.keys()
    assert {name: version for name, version in found.items() if name in pinned}.items() <= pinned.items()
    assert found.keys().isdisjoint({"pip", "setuptools", "pyelftools", "Flask", "pytest", "libgcc-s1"})


def test_it_unpacks_itself_once(binary: Path, island: Island, tmp_path: Path) -> None:
    """What it unpacks is its caller's alone, stays for the next time, and replaces what another version left."""
    place = tmp_path / "quay"
    old = place / "program-of-another-version"
    old.mkdir(parents=True)
    (old / "quay").write_text("old")
    program = island.program(binary, env={"XDG_CACHE_HOME": tmp_path})
    program("version")
    (unpacked,) = place.iterdir()
    before = unpacked.stat()
    assert (unpacked.stat().st_mode & 0o777, place.stat().st_mode & 0o777) == (0o700, 0o700)
    program("version")
    assert unpacked.stat() == before


def test_another_version_that_runs_is_left_alone(binary: Path, island: Island, tmp_path: Path) -> None:
    """Whoever runs keeps what he runs from, while another version unpacks itself beside it; afterwards it goes."""
    cache = {"XDG_CACHE_HOME": str(tmp_path)}
    other = island.program(spoiled(binary, tmp_path / "other", "program=program-", "program=program-other-"), env=cache)
    with BinaryQuay(binary, island, tmp_path / "data", cache) as quay:
        (running,) = (tmp_path / "quay").iterdir()
        other("version")
        assert running.is_dir()
        assert quay.stop() == 0
    (tmp_path / "quay" / running.name.replace("-", "-other-")).rename(tmp_path / "gone")
    other("version")
    assert not running.exists()


def test_signals(quay: BinaryQuay) -> None:
    """A signal to the process that was started is one to the server; its status is the server's."""
    quay.start()
    os.kill(quay.pid, signal.SIGINT)
    assert quay.wait() == 0
    quay.start()
    quay.kill()
    assert not quay.healthy()


def test_unfit_machines(binary: Path, island: Island, tmp_path: Path) -> None:
    """A machine that cannot run it is told why in a sentence, before anything is unpacked."""
    env = {"XDG_CACHE_HOME": tmp_path / "cache"}
    for pattern, replacement, said in (
        (r'-ge "\d+"', '-ge "99"', "the C library of this system is too old (glibc "),
        (r'"\$machine" = "\w+"', '"$machine" = "pdp11"', "machines, and this one is "),
        (r"libc=\$\(", "libc=$(echo musl libc; false ", "the C library of this system is musl"),
    ):
        file = spoiled(binary, tmp_path / "unfit", pattern, replacement)
        assert said in island.program(file, env=env).refused("version")
    assert not (tmp_path / "cache").exists()


def test_damage(binary: Path, island: Island, tmp_path: Path) -> None:
    """A file that was cut short, or where a bit is another one, says so, and leaves nothing behind."""
    whole = binary.read_bytes()
    middle = len(whole) // 2
    for damaged in (whole[:-100], whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]):
        file = tmp_path / "damaged"
        file.write_bytes(damaged)
        file.chmod(0o755)
        said = island.program(file, env={"XDG_CACHE_HOME": tmp_path}).refused("version")
        assert "is damaged or incomplete: copy it again" in said
        assert list((tmp_path / "quay").iterdir()) == []


def test_no_place(binary: Path, island: Island, tmp_path: Path) -> None:
    """Where no program may run, where there is no room, and where somebody else was before, it says what to do."""
    options = {"noexec": "noexec,size=300m", "small": "size=5m"}
    for name, how in options.items():
        mount = "mount", "-t", "tmpfs", "-o", how, "none", tmp_path / name
        (tmp_path / name).mkdir()
        subprocess.run(island.command(*mount), check=True, timeout=PATIENCE)
    for name, said in (("noexec", "which is mounted noexec; set XDG_CACHE_HOME"), ("small", "make room, or set XDG_")):
        assert said in island.program(binary, env={"XDG_CACHE_HOME": tmp_path / name}).refused("version")
    theirs = tmp_path / "theirs" / "quay"
    theirs.mkdir(parents=True)
    os.chown(theirs, 12345, 12345)
    program = island.program(binary, env={"XDG_CACHE_HOME": tmp_path / "theirs"})
    assert program("version") == f"quay {__version__}\n"
    assert list(theirs.iterdir()) == []  # not a place to run a program from, for somebody else
