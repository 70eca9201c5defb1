"""The configuration itself: whether it can be used, and what is remarkable in it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from typing import Final

from appliance.doctor.patient import Patient
from quay.condition import Finding, fine, remarkable, unseen, wrong

MISTAKES: Final = "/docs/operate#change-the-configuration"


def look(patient: Patient) -> Iterator[Finding]:
    """Everything that its parser says."""
    named = "" if patient.file is None else f" --config {shlex.quote(str(patient.file))}"
    check = f"quay{named} config check"
    if patient.broken and patient.file is not None and not os.access(patient.file, os.R_OK):
        yield unseen(
            f"{patient.file} may not be read by this user: try as root, or as the server's user.", "sudo quay doctor"
        )
        return
    for problem in patient.broken:
        yield wrong(problem, check, MISTAKES)
    for warning in patient.config.warnings:
        yield remarkable(warning, check, MISTAKES)
    if not patient.broken:
        yield fine(f"{patient.file or 'The default configuration'} can be used.")
    if not patient.broken and not patient.config.setup_complete:
        yield remarkable("This registry is not set up yet.", "quay setup url", "/docs/quickstart")
