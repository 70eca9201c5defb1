"""The checks, in the order in which they are told; `quay doctor --only NAME` has their names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from appliance.doctor import (
    audit,
    clock,
    configuration,
    database,
    disk,
    firewall,
    limits,
    locks,
    names,
    ownership,
    ports,
    services,
    speed,
    storage,
    system,
)
from appliance.doctor.patient import Check, Patient
from quay.condition import Finding
from quay.condition.backups import backups
from quay.condition.certificate import certificate


def _certificate(patient: Patient) -> Iterable[Finding]:
    return certificate(patient.config, patient.host.now())


def _backups(patient: Patient) -> Iterable[Finding]:
    return backups(patient.config, patient.host.now())


TABLE: Final = (
    Check("configuration", "what is written down", 5, configuration.look, machine=True),
    Check("system", "kernel, C library, SELinux, AppArmor", 5, system.look, machine=True),
    Check("limits", "open files, memory, control group", 5, limits.look, machine=True),
    Check("lock", "who serves the data directory", 5, locks.look),
    Check("names", "DNS, forwards and backwards", 15, names.look),
    Check("time", "the clock, and who keeps it", 15, clock.look, machine=True),
    Check("certificate", "names, chain, key and end", 5, _certificate),
    Check("ports", "who listens, and what each URL answers", 30, ports.look),
    Check("firewall", "whether the ports are open", 20, firewall.look),
    Check("disk", "room and kind", 15, disk.look),
    Check("speed", "how soon disks have something safe", 40, speed.look),
    Check("ownership", "whose the files are, and who may read them", 15, ownership.look),
    Check("database", "opens, is whole, has the right schema", 25, database.look),
    Check("storage", "takes bytes and gives them back", 40, storage.look),
    Check("backup", "whether there is a recent one that is good", 15, _backups),
    Check("audit", "whether the log is under seal", 15, audit.look),
    Check("redis", "whether it answers", 15, services.redis),
    Check("mail", "whether its server greets", 15, services.mail),
    Check("proxy", "variables that lead clients astray", 5, services.proxies, machine=True),
)
