"""How large the file is and how fast it starts, for a person to read: nothing depends on it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final

PATIENCE_S: Final = 60.0


def taken(file: Path, program: Path) -> Iterator[str]:
    """Lines that say what the file comes to; `program` is what it unpacks."""
    unpacked = sum(path.stat().st_size for path in program.rglob("*") if not path.is_symlink())
    yield f"size: {file.stat().st_size / 1e6:.1f} MB, which unpack to {unpacked / 1e6:.1f} MB"
    with tempfile.TemporaryDirectory() as directory:
        environment = {"XDG_CACHE_HOME": directory, "PATH": os.environ["PATH"]}
        first = _timed_version(file, environment)
        again = min(_timed_version(file, environment) for _ in range(5))
        yield f"quay version: {again:.2f} s; {first:.2f} s the first time, when it unpacks itself"
        answers = [_timed_start(file, environment, Path(directory) / f"data{number}") for number in range(2)]
        yield f"start to first answer: {min(answers):.2f} s in a new data directory"


def _timed_version(file: Path, environment: dict[str, str]) -> float:
    began = time.monotonic()
    subprocess.run([file, "version"], env=environment, stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - began


def _timed_start(file: Path, environment: dict[str, str], data: Path) -> float:
    """Seconds from the start of a server until /health is 200."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {**environment, "QUAY_DATA": str(data), "QUAY_LISTEN": f"127.0.0.1:{port}"}
    began = time.monotonic()
    server = subprocess.Popen([file, "serve"], env=settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not _healthy(port):
            if server.poll() is not None or time.monotonic() - began > PATIENCE_S:
                raise SystemExit(f"{file} serve does not answer; see what it says in {data}.")
            time.sleep(0.01)
        return time.monotonic() - began
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(PATIENCE_S)
        shutil.rmtree(data, ignore_errors=True)


def _healthy(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
