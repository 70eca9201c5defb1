"""The names of the registry, forwards and backwards: whether they lead to this machine."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Final

from appliance.doctor.patient import Host, Patient, is_address
from quay import authority
from quay.authority import Unfit
from quay.condition import Finding, fine, remarkable, wrong
from quay.config import Config
from quay.setup.answers import host_of
from quay.setup.machine import is_loopback

WRONG_NAME: Final = "/docs/runbooks#the-name-does-not-lead-here"
NAMES: Final = 10
ADDRESSES: Final = 8
"""So many are looked at, at most."""


def look(patient: Patient) -> Iterator[Finding]:
    """Forwards, then backwards."""
    own = patient.host.own_addresses()
    yield from _forwards(patient, own)
    yield from _backwards(patient.host, own)


def _forwards(patient: Patient, own: tuple[str, ...]) -> Iterator[Finding]:
    proxied = bool(patient.config.trusted_proxies)
    if patient.config.hostname is not None and is_address(host_of(patient.config.hostname)):
        yield _address(host_of(patient.config.hostname), own, proxied=proxied)
    elif patient.config.hostname is None:
        yield remarkable(
            "The registry has no name: SERVER_HOSTNAME is not set, so each client may call it as he likes.",
            "quay setup url",
        )
    for name in _names(patient.config)[:NAMES]:
        try:
            found = patient.host.addresses(name)
        except OSError as error:
            here = next((each for each in own if not is_loopback(each)), "192.0.2.1")
            yield wrong(
                f"{name} has no address here: {error.strerror or error}. Give it one in the DNS, or in /etc/hosts of "
                "every machine.",
                f"echo {shlex.quote(f'{here} {name}')} >> /etc/hosts",
                WRONG_NAME,
            )
            continue
        yield _judged(name, found, own, proxied=proxied)


def _address(address: str, own: tuple[str, ...], *, proxied: bool) -> Finding:
    """A registry that is called by its address."""
    if address in own or is_loopback(address):
        return fine(f"Clients call the registry {address}, which is an address of this machine.")
    if proxied:
        return fine(f"Clients call the registry {address}, which should be the proxy in front of this machine.")
    return wrong(
        f"Clients call the registry {address} (SERVER_HOSTNAME), which is no address of this machine: they end up "
        "elsewhere.",
        "ip address",
        WRONG_NAME,
    )


def _judged(name: str, found: tuple[str, ...], own: tuple[str, ...], *, proxied: bool) -> Finding:
    listed = ", ".join(found)
    ours = [address for address in found if address in own or is_loopback(address)]
    if all(map(is_loopback, found)):
        if is_loopback(name):
            return fine(f"{name} is {listed}.")
        return remarkable(
            f"{name} is {listed} here, which is this machine itself: that others find it, only the DNS that they ask "
            "can say.",
            f"getent ahosts {shlex.quote(name)}",
            WRONG_NAME,
        )
    if len(ours) == len(found):
        return fine(f"{name} is {listed}, this machine.")
    if proxied:
        return fine(f"{name} is {listed}, which should be the proxy in front of this machine.")
    strange = ", ".join(address for address in found if address not in ours)
    sentence = f"{name} leads to {strange}, which is no address of this machine"
    if ours:
        return wrong(f"{sentence}: some clients end up elsewhere.", f"getent ahosts {shlex.quote(name)}", WRONG_NAME)
    return wrong(f"{sentence}: clients end up elsewhere.", f"getent ahosts {shlex.quote(name)}", WRONG_NAME)


def _names(config: Config) -> tuple[str, ...]:
    """What clients may call the registry, as far as it is written down."""
    configured = [host_of(config.hostname)] if config.hostname is not None else []
    found = [*configured, *_certified(config)]
    return tuple(dict.fromkeys(name for name in found if not (is_address(name) or name.startswith("*."))))


def _certified(config: Config) -> tuple[str, ...]:
    if config.tls_certificate is None or config.tls_key is None:
        return ()
    try:
        pair = authority.read(config.tls_certificate.read_bytes(), config.tls_key.read_bytes())
    except (OSError, Unfit):
        return ()  # the check of the certificate says so
    return authority.names_of(pair.certificate)


def _backwards(host: Host, own: tuple[str, ...]) -> Iterator[Finding]:
    """A name that an address has need not lead anywhere, but if it leads elsewhere, logs and Kerberos go astray."""
    outside = [address for address in own if not is_loopback(address)]
    for address in outside[:ADDRESSES]:
        name = host.name(address)
        if name is None:
            yield fine(f"{address} has no name in the reverse DNS, which nothing here needs.")
            continue
        try:
            back = host.addresses(name)
        except OSError:
            back = ()
        if address in back or all(map(is_loopback, back or ("",))):
            yield fine(f"{address} is called {name}.")
        else:
            yield remarkable(
                f"{address} is called {name} in the reverse DNS, which leads to {', '.join(back) or 'nothing'}.",
                f"getent hosts {address}",
                WRONG_NAME,
            )
