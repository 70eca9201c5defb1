"""The commands by which tools pull from a repository of this registry, and push to it."""

from __future__ import annotations

from shlex import quote
from typing import Final

import attrs

from quay.web.console.page import View

_LOCAL: Final = ("localhost", "127.0.0.1", "[::1]")


@attrs.frozen
class Command:
    """What to type, or to write into a file, for one tool."""

    tool: str
    text: str


@attrs.frozen
class Registry:
    """This registry as clients name it: `host`; `plain` if they need to be told that there is no TLS."""

    host: str
    plain: bool

    @classmethod
    def of(cls, view: View) -> Registry:
        """The registry under the name by which this page was asked for."""
        scheme, _, host = view.api.base(view.request).partition("://")
        return cls(host, scheme == "http" and host.rpartition(":")[0] not in _LOCAL and host not in _LOCAL)

    def image(self, repository: str, reference: str) -> str:
        """How clients write what a tag, or a digest, of a repository names."""
        return f"{self.host}/{repository}{'@' if ':' in reference else ':'}{reference}"

    def pulls(self, repository: str, reference: str, user: str = "") -> list[Command]:
        """How to pull it; with the name of a `user` for the tool that cannot log in first."""
        image, last = self.image(repository, reference), repository.rpartition("/")[2]
        asked = f" --user {quote(user)}" if user else ""
        return [
            Command("Docker", f"docker pull {image}"),
            Command("Podman", f"podman pull{self._flag(' --tls-verify=false')} {image}"),
            Command("skopeo", f"skopeo copy{self._flag(' --src-tls-verify=false')} docker://{image} oci:{last}"),
            Command("containerd", f"ctr images pull{asked}{self._flag(' --plain-http')} {image}"),
            Command("Kubernetes", f"image: {image}"),
        ]

    def logins(self, user: str) -> list[Command]:
        """How to log in as `user`; the password is asked for."""
        return [
            Command("Docker", f"docker login -u {quote(user)} {self.host}"),
            Command("Podman", f"podman login{self._flag(' --tls-verify=false')} -u {quote(user)} {self.host}"),
            Command("skopeo", f"skopeo login{self._flag(' --tls-verify=false')} -u {quote(user)} {self.host}"),
        ]

    def pushes(self, repository: str, user: str) -> list[Command]:
        """How to push the first image."""
        image = self.image(repository, "latest")
        unsafe = self._flag(" --tls-verify=false")
        docker = [f"docker login -u {quote(user)} {self.host}", f"docker tag IMAGE {image}", f"docker push {image}"]
        podman = [f"podman login{unsafe} -u {quote(user)} {self.host}", f"podman push{unsafe} IMAGE {image}"]
        skopeo = f"skopeo copy{self._flag(' --dest-tls-verify=false')} docker-archive:image.tar docker://{image}"
        return [
            Command("Docker", "\n".join(docker)),
            Command("Podman", "\n".join(podman)),
            Command("skopeo", skopeo),
        ]

    def _flag(self, text: str) -> str:
        return text if self.plain else ""
