"""
A credential in the forms in which it is used: ready to be copied into a shell, a cluster, a file.

Sources: docker's config.json; Kubernetes' "Pull an Image from a Private Registry"; containerd's docs/hosts.md; k3s'
registries.yaml.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from shlex import quote

import attrs

_BETWEEN_WORDS = re.compile(r"[^a-z0-9]+")


@attrs.frozen
class Snippet:
    """A text to copy; `where` it goes."""

    title: str
    where: str
    text: str


def snippets(base: str, name: str, secret: str) -> list[Snippet]:
    """How to log in with `name` and `secret` to the registry at the URL `base`."""
    host = base.partition("://")[2]
    return [
        Snippet("Docker", "In a shell", _login("docker", host, name, secret)),
        Snippet("Podman", "In a shell; skopeo and buildah use it too", _login("podman", host, name, secret)),
        Snippet("Kubernetes", "For kubectl apply -f; name it under imagePullSecrets", _secret(host, name, secret)),
        Snippet("containerd", f"/etc/containerd/certs.d/{host}/hosts.toml", _hosts(base, name, secret)),
        Snippet("k3s, RKE2", "/etc/rancher/k3s/registries.yaml", _registries(host, name, secret)),
        Snippet("config.json", "~/.docker/config.json, for whatever reads that", _config(host, name, secret)),
    ]


def api_call(base: str, token: str) -> Snippet:
    """How to call the API with a token."""
    text = f"curl -H {quote(f'Authorization: Bearer {token}')} {quote(f'{base}/api/v1/user/')}"
    return Snippet("API", "In a shell", text)


def _login(program: str, host: str, name: str, secret: str) -> str:
    return f"echo {quote(secret)} | {program} login -u {quote(name)} --password-stdin {host}"


def _secret(host: str, name: str, secret: str) -> str:
    called = _BETWEEN_WORDS.sub("-", name.lower()).strip("-")
    return (
        "apiVersion: v1\n"
        "kind: Secret\n"
        "metadata:\n"
        f"  name: {called}-pull-secret\n"
        "type: kubernetes.io/dockerconfigjson\n"
        "data:\n"
        f"  .dockerconfigjson: {_base64(_config(host, name, secret))}"
    )


def _hosts(base: str, name: str, secret: str) -> str:
    return (
        f"server = {json.dumps(base)}\n"
        "\n"
        f"[host.{json.dumps(base)}]\n"
        '  capabilities = ["pull", "resolve"]\n'
        f"  [host.{json.dumps(base)}.header]\n"
        f'    Authorization = "Basic {_base64(f"{name}:{secret}")}"'
    )


def _registries(host: str, name: str, secret: str) -> str:
    return (
        "configs:\n"
        f"  {json.dumps(host)}:\n"
        "    auth:\n"
        f"      username: {json.dumps(name)}\n"
        f"      password: {json.dumps(secret)}"
    )


def _config(host: str, name: str, secret: str) -> str:
    return json.dumps({"auths": {host: {"auth": _base64(f"{name}:{secret}")}}}, indent=2)


def _base64(text: str) -> str:
    return b64encode(text.encode()).decode()
