"""
The systemd unit of the server: how it is started, watched and ended, and how little of the machine it sees.

Source: systemd.service(5), systemd.exec(5), systemd.resource-control(5); written for systemd 239 (RHEL 8) and newer.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import attrs

from appliance.layout import USER

PATIENCE_S: Final = 60
"""A server that has not said for so long that it is well is ended, and started anew."""
HOMES: Final = ("/home", "/root", "/run/user")

TEXT: Final = """\
# Written by `quay install`, and again by every upgrade: change it by `systemctl edit quay`, which no upgrade touches.
[Unit]
Description=Quay, a container registry
Wants=network-online.target
After=network-online.target
RequiresMountsFor={data}
# It is never given up: what keeps it from starting may be over in the next minute.
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
User={user}
Group={user}
Environment=QUAY_DATA={data}
WorkingDirectory={data}
ExecStart={command} serve
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=5s
WatchdogSec={patience}s
# A start asks for more time as long as it goes on; a stop finishes what is under way, and then suspends it.
TimeoutStartSec=90s
TimeoutStopSec=90s
KillMode=mixed
LimitNOFILE=65536
LimitCORE=0
UMask=0077

# The one thing of root's that it may do: listen on ports below 1024.
AmbientCapabilities=CAP_NET_BIND_SERVICE
CapabilityBoundingSet=CAP_NET_BIND_SERVICE
NoNewPrivileges=yes

# What it sees of the machine: everything read-only but its data, and no devices, homes, or other people's processes.
ProtectSystem=strict
ReadWritePaths={writable}
ProtectHome={homes}
PrivateTmp=yes
PrivateDevices=yes
ProtectProc=invisible
ProcSubset=pid
ProtectClock=yes
ProtectHostname=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
RemoveIPC=yes
KeyringMode=private

# What it may ask of the kernel. Not MemoryDenyWriteExecute: cffi, through which TLS calls back, needs such memory.
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""


_PLAIN: Final = re.compile(r"/[A-Za-z0-9/._+~-]+")


@attrs.frozen
class Unit:
    """
    Runs `command`, a program with its arguments, on the data directory `data`; it may write there, and below each of
    `writable`. All paths are plain: see `is_plain`.
    """

    command: tuple[str, ...]
    data: Path
    writable: tuple[Path, ...] = ()

    @property
    def text(self) -> str:
        """The unit as a file."""
        writable = (self.data, *self.writable)
        needed = (*writable, Path(self.command[0]), Path(self.command[0]).resolve())
        homes = "read-only" if any(map(_is_in_a_home, needed)) else "yes"
        return TEXT.format(
            command=" ".join(self.command),
            data=self.data,
            homes=homes,
            patience=PATIENCE_S,
            user=USER,
            writable=" ".join(map(str, writable)),
        )


def is_plain(path: Path) -> bool:
    """Whether the path is absolute, and has no letter that could mean something else in a unit."""
    return _PLAIN.fullmatch(str(path)) is not None


def _is_in_a_home(path: Path) -> bool:
    return any(path.is_relative_to(home) for home in HOMES)
