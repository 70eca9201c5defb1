"""A credential in the forms in which it is used: each says what its reader will read."""

import base64
import json
import re
import shlex
import tomllib

import pytest
import segno
import yaml

from quay.web.console.credentials import api_call, snippets
from quay.web.console.qr import qr_code

BASE = "https://registry.test:5000"
HOST = "registry.test:5000"
STRANGE = """it's "a" $TOKEN\\n"""


def texts(name, secret):
    return {snippet.title: snippet.text for snippet in snippets(BASE, name, secret)}


@pytest.mark.parametrize(("name", "secret"), [("acme+ci", "ABC123"), ("$app", "ABC123"), ("acme+ci", STRANGE)])
def test_what_they_say(name, secret):
    """Every form has the same user name and the same secret, whatever is in them."""
    found = texts(name, secret)
    for program in ("docker", "podman"):
        words = shlex.split(found[program.capitalize()])
        assert words == ["echo", secret, "|", program, "login", "-u", name, "--password-stdin", HOST]
    config = json.loads(found["config.json"])
    assert base64.b64decode(config["auths"][HOST]["auth"]).decode() == f"{name}:{secret}"
    kept = yaml.safe_load(found["Kubernetes"])["data"][".dockerconfigjson"]
    assert json.loads(base64.b64decode(kept)) == config
    hosts = tomllib.loads(found["containerd"])
    header = hosts["host"][BASE]["header"]["Authorization"]
    assert base64.b64decode(header.removeprefix("Basic ")).decode() == f"{name}:{secret}"
    auth = yaml.safe_load(found["k3s, RKE2"])["configs"][HOST]["auth"]
    assert auth == {"username": name, "password": secret}


@pytest.mark.parametrize(
    ("name", "called"), [("acme+ci_1", "acme-ci-1"), ("$app", "app"), ("$oauthtoken", "oauthtoken")]
)
def test_the_name_of_a_secret(name, called):
    """A secret of Kubernetes has a name that Kubernetes takes."""
    found = yaml.safe_load(texts(name, "x")["Kubernetes"])["metadata"]["name"]
    assert found == f"{called}-pull-secret"


def test_a_call_of_the_api():
    """The call of the API is one that a shell makes with the whole token."""
    assert shlex.split(api_call(BASE, "a'b").text)[1:] == ["-H", "Authorization: Bearer a'b", f"{BASE}/api/v1/user/"]


def test_qr_code():
    """The picture has the dark modules of the code, with four light ones around."""
    uri = "otpauth://totp/Quay:devtable?secret=ABCDEFGH&issuer=Quay"
    found = qr_code(uri)
    dark = {(int(x), int(y)) for x, y in re.findall(r"M(\d+) (\d+)h1v1h-1z", found.path)}
    matrix = segno.make(uri, error="m", micro=False).matrix
    assert dark == {(x + 4, y + 4) for y, row in enumerate(matrix) for x, module in enumerate(row) if module & 1}
    assert found.size == len(matrix) + 8
