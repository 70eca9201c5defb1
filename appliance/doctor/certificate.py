"""The certificate: see `quay.condition.certificate`, which the server shows, too."""

from __future__ import annotations

from collections.abc import Iterator

from appliance.doctor.patient import Patient
from quay.condition import Finding
from quay.condition.certificate import certificate


def look(patient: Patient) -> Iterator[Finding]:
    """What clients are shown, and what is above it."""
    return certificate(patient.config, patient.host.now())
