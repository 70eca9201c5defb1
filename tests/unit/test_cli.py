"""The command: what it writes, what it prints, and how it exits."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from quay import __version__
from quay.cli import quay
from quay.config import default_text, load, reference


def run(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(quay, arguments, obj=environ)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test works in a directory of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_version() -> None:
    """`quay version` says which one this is."""
    assert run("version").output == f"quay {__version__}\n"


def test_version_option() -> None:
    """`quay --version` says the same."""
    assert run("--version").output == run("version").output


def test_help() -> None:
    """Every command explains itself in a line."""
    for arguments in ([], ["config"]):
        listed = run(*arguments, "--help").output
        assert "Usage: quay" in listed
        assert all(line.split(maxsplit=1)[1:] for line in listed.partition("Commands:")[2].splitlines() if line.strip())


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["--nonsense"], ["init", "extra"], ["--config", ".", "config", "check"]]
)
def test_usage(arguments: list[str]) -> None:
    """A command called wrongly exits with 2 and says how it is called."""
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Usage:" in result.stderr


def test_reference_and_default() -> None:
    """The reference and the default file are printed exactly."""
    assert run("config", "reference").output == reference()
    assert run("config", "default").output == default_text()


def test_init(elsewhere: Path) -> None:
    """`quay init` writes a usable file that only its owner can read, in a directory that only its owner can enter."""
    result = run("init", "--data", "here")
    written = elsewhere / "here" / "quay.yaml"
    assert result.exit_code == 0 and "here/quay.yaml" in result.output
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert stat.S_IMODE(written.parent.stat().st_mode) == 0o700
    config = load(written, {})
    assert config.data == elsewhere / "here"
    assert config.secret_key and config.secret_key.reveal() not in result.output


def test_init_where(elsewhere: Path) -> None:
    """Without --data, the file goes into $QUAY_DATA, else into var."""
    assert run("init").exit_code == run("init", QUAY_DATA="other").exit_code == 0
    assert (elsewhere / "var" / "quay.yaml").exists() and (elsewhere / "other" / "quay.yaml").exists()


def test_init_again(elsewhere: Path) -> None:
    """A second `quay init` refuses, and keeps the old secrets if it is forced."""
    run("init")
    written = elsewhere / "var" / "quay.yaml"
    first = written.read_text()
    refused = run("init")
    assert refused.exit_code == 1 and "--force" in refused.stderr and written.read_text() == first
    forced = run("init", "--force")
    assert forced.exit_code == 0 and "quay.yaml.1" in forced.output and written.read_text() != first
    run("init", "--force")
    assert (elsewhere / "var" / "quay.yaml.1").read_text() == first
    assert (elsewhere / "var" / "quay.yaml.2").exists()


def test_init_does_not_follow(elsewhere: Path) -> None:
    """A symbolic link in the place of the file is not written through."""
    (elsewhere / "var").mkdir()
    (elsewhere / "var" / "quay.yaml").symlink_to(elsewhere / "elsewhere")
    assert run("init").exit_code == 1
    assert not (elsewhere / "elsewhere").exists()


def test_init_impossible(elsewhere: Path) -> None:
    """Where nothing can be written, a sentence says why."""
    (elsewhere / "file").write_text("")
    result = run("init", "--data", "file/below")
    assert (result.exit_code, result.stderr) == (1, "file/below/quay.yaml cannot be written: Not a directory.\n")


def test_check(elsewhere: Path) -> None:
    """`quay config check` names the file, where data is and what is remarkable, and no password."""
    Path("q.yaml").write_text("DATA: /srv\nDB_URI: postgresql://quay:hunter2@db/quay\nFEATURE_PROXY_CACHE: true\n")
    result = run("--config", "q.yaml", "config", "check")
    assert result.exit_code == 0
    about = "FEATURE_PROXY_CACHE: not implemented yet (the pull-through cache), so it has no effect."
    assert result.stderr == f"Warning: {about}\n"
    assert result.stdout == (
        "q.yaml can be used.\n"
        "Data: /srv. Database: postgresql://db/quay.\n"
        "Listening on 127.0.0.1:8080, for http clients.\n"
    )


def test_check_fails(elsewhere: Path) -> None:
    """Problems go to standard error, one per line, after the warnings, and the exit status is 1."""
    Path("q.yaml").write_text("SETUP_COMPLETE: 1\nLISTN: x\nFEATURE_PROXY_CACHE: true\n")
    result = run("config", "check", QUAY_CONFIG="q.yaml")
    assert (result.exit_code, result.stdout) == (1, "")
    assert [line.partition(":")[0] for line in result.stderr.splitlines()] == ["Warning", "LISTN", "SETUP_COMPLETE"]


def test_check_absent() -> None:
    """A file that was asked for and is not there is a failure, not the defaults."""
    for result in (
        run("--config", "absent.yaml", "config", "check"),
        run("config", "check", QUAY_CONFIG="absent.yaml"),
    ):
        assert (result.exit_code, result.stderr) == (
            1,
            "The configuration absent.yaml cannot be read: No such file or directory.\n",
        )


def test_which_file(elsewhere: Path) -> None:
    """The file is --config, else $QUAY_CONFIG, else quay.yaml in the data directory, else none."""
    assert "The default configuration can be used." in run("config", "check").output
    for name in ("var", "other"):
        Path(name).mkdir()
        (Path(name) / "quay.yaml").write_text("REGISTRY_TITLE: x")
    Path("a.yaml").write_text("")
    Path("b.yaml").write_text("")
    assert run("config", "check").output.startswith("var/quay.yaml can")
    assert run("config", "check", QUAY_DATA="other").output.startswith(f"{elsewhere}/other/quay.yaml can")
    assert run("config", "check", QUAY_CONFIG="a.yaml").output.startswith("a.yaml can")
    assert run("--config", "b.yaml", "config", "check", QUAY_CONFIG="a.yaml").output.startswith("b.yaml can")


@pytest.mark.parametrize("environ", [{}, {"QUAY_DATA": "var"}])
@pytest.mark.parametrize("text", ["", "DATA: .\n"])
def test_data_is_where_its_file_is(elsewhere: Path, environ: dict[str, str], text: str) -> None:
    """A file found in the data directory belongs to that directory, whether it says so or not."""
    Path("var").mkdir()
    Path("var/quay.yaml").write_text(text)
    found = run("config", "check", **environ).stdout.splitlines()[1]
    assert found == f"Data: {elsewhere}/var. Database: {elsewhere}/var/quay.db."


@pytest.mark.parametrize("arguments", [["migrate"], ["initdb", "--test-data"], ["user", "create", "ada"]])
def test_data_unusable(elsewhere: Path, arguments: list[str]) -> None:
    """A command whose data directory cannot be made says which one, why, and what to do."""
    (elsewhere / "file").write_text("")
    more = ["--email", "ada@example.org", "--password-stdin"] if arguments[0] == "user" else []
    result = CliRunner().invoke(quay, [*arguments, *more], obj={"QUAY_DATA": "file/data"}, input="password")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"The data directory {elsewhere}/file/data cannot be used: Not a directory. Let this user write to it, or give "
        "another one with QUAY_DATA.\n"
    )


def test_password_is_text(elsewhere: Path) -> None:
    """A password that no client could send is refused, and no user is made."""
    arguments = ["user", "create", "ada", "--email", "ada@example.org", "--password-stdin"]
    result = CliRunner().invoke(quay, arguments, obj={}, input=b"\xff\xfe password")
    assert (result.exit_code, "not UTF-8" in result.stderr) == (1, True)
    assert not (elsewhere / "var").exists()


def test_syntax(elsewhere: Path) -> None:
    """A mistake in the syntax is told with its file and its line."""
    Path("q.yaml").write_text("A: [1\n")
    assert run("--config", "q.yaml", "config", "check").stderr.startswith("q.yaml: Line 2")


def test_process(elsewhere: Path) -> None:
    """`python -m quay` takes its environment from the process and exits with the command's status."""
    environ = {**os.environ, "QUAY_LISTEN": "127.0.0.1:99999", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-m", "quay", "config", "check"], env=environ, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("LISTEN[0]: '127.0.0.1:99999' is not an address and a port")


def test_upkeep(elsewhere: Path) -> None:
    """Collecting, checking and scrubbing a new registry find nothing; what is no digest is refused."""
    environ = {
        "PATH": os.environ["PATH"],
        "QUAY_DATA": str(elsewhere / "data"),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    said = [
        subprocess.run(
            [sys.executable, "-m", "quay", *arguments], env=environ, capture_output=True, text=True, check=True
        )
        for arguments in (["gc", "--dry-run"], ["gc"], ["fsck", "--repair"], ["scrub"])
    ]
    nothing = "0 old tags, 0 manifests, 0 links, 0 blobs, 0 bytes."
    assert [one.stdout.splitlines()[-1] for one in said] == [
        f"Would go now: {nothing}",
        f"Removed: {nothing}",
        "0 problems, of which 0 were mended.",
        "No blob has rotted.",
    ]
    unknown = run("gc", "--explain", "sha256:" + "0" * 64, QUAY_DATA=str(elsewhere / "data"))
    assert unknown.output == f"There is no blob sha256:{'0' * 64}.\n"
    assert run("gc", "--explain", "latest", QUAY_DATA=str(elsewhere / "data")).exit_code == 1
