"""
What is tried by writing, root has tried by the server's own user: so it is seen whether he may, and root follows no
path that he could have laid.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any, Final

from appliance import programs
from appliance.doctor.patient import Patient
from quay.condition import Finding, State, unseen

PATIENCE_S: Final = 30.0


def is_needed(patient: Patient) -> bool:
    """Whether root looks at what is somebody else's."""
    return patient.host.is_root and patient.exists and patient.config.data.stat().st_uid != 0


def asked(patient: Patient, check: str) -> Iterator[Finding]:
    """What the check finds when the owner of the data directory runs it."""
    owner = patient.config.data.stat()
    named = [] if patient.file is None else ["--config", str(patient.file)]
    try:
        done = subprocess.run(
            [*programs.running().command, *named, "doctor", "--only", check, "-o", "json"],
            user=owner.st_uid,
            group=owner.st_gid,
            extra_groups=[],
            env={**patient.host.environ, "QUAY_DATA": str(patient.config.data)},
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
        )
        found = json.loads(done.stdout)["findings"]
    except (OSError, subprocess.SubprocessError, ValueError, KeyError):
        yield unseen(
            f"This could not be tried as the owner of {patient.config.data} (user {owner.st_uid}): run the doctor as "
            "that user.",
        )
        return
    yield from (_finding(each) for each in found)


def _finding(value: dict[str, Any]) -> Finding:
    return Finding(State(value["state"]), str(value["sentence"]), str(value["fix"]), str(value["link"]))
