"""Images as files: a tag to take along, and an archive to put in."""

from __future__ import annotations

import shlex
from typing import Final
from urllib.parse import quote, urlencode

import attrs

from quay.web.api.route import PREFIX
from quay.web.console.commands import Command
from quay.web.console.page import Context, View

PLATFORMS: Final = 12
"""Platforms of an index of which each has a docker archive of its own on the page."""


@attrs.frozen
class Download:
    """A file that the registry makes of a tag."""

    title: str
    address: str


def downloads(view: View, repository: str, tag: Context, user: str) -> Context:
    """What a tag can be as a file, and how to bring it to an engine that does not reach the registry."""
    address = f"{PREFIX}/repository/{quote(repository)}/manifest/{quote(tag['name'])}/archive"
    made = [
        Download(f"Docker archive, {platform}", f"{address}?{urlencode({'platform': platform}, safe='/')}")
        for platform in tag.get("platforms", [])[:PLATFORMS]
    ]
    made = made or [Download("Docker archive", address)]
    login = f" -u {shlex.quote(user)}" if user else ""
    url = shlex.quote(f"{view.api.base(view.request)}{address}")
    return {
        "files": [*made, Download("OCI layout", f"{address}?format=oci")],
        "piped": [
            Command("Docker", f"curl -fsS{login} {url} | docker load"),
            Command("Podman", f"curl -fsS{login} {url} | podman load"),
        ],
    }


async def upload(view: View, repository: Context) -> Context:
    """Where one puts an archive in."""
    address = f"{PREFIX}/repository/{quote(repository['full'])}/archive"
    url = shlex.quote(f"{view.api.base(view.request)}{address}")
    login = f"-u {shlex.quote(view.principal.name)}"
    return {
        "address": address,
        "sends": [
            Command("A file", f"curl -f {login} -X POST -T image.tar {url}"),
            Command("Docker", f"docker save IMAGE | curl -f {login} -X POST -T - {url}"),
            Command("Podman", f"podman save IMAGE | curl -f {login} -X POST -T - {url}"),
        ],
    }
