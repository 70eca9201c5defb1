"""A probe is for an URL, by somebody, to a place; and whatever its way does to it is told."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from twisted.trial.unittest import TestCase

from appliance.doctor.probe import ANYWHERE, Image, Probe, Step
from appliance.doctor.probing import probe
from quay.config.surroundings import Surroundings
from quay.egress import Egress
from quay.oci.manifest import parse
from quay.oci.media_types import OCI_MANIFEST
from quay.oci.reference import Digest
from quay.registry.client import Credentials, RegistryClient, RemoteError, RemoteWrong
from tests.foreign import ForeignRegistry, body, reactor, status


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["https://here"], "give --repository"),
        (["https://here", "--username", "ada"], "There is no password for ada"),
        (["https://here", "--username", "$app", "--password-stdin"], "give --repository"),
        (["https://here", "--repository", "a/b", "--password-stdin"], "give --username"),
        (["here", "--repository", "a/b"], "Write a URL"),
    ],
)
def test_called_wrongly(arguments: list[str], why: str) -> None:
    """Nothing is called before it is clear what, by whom and where to."""
    done = CliRunner().invoke(probe, arguments, obj=Surroundings(None, {}), input="secret-password")
    assert done.exit_code == 2
    assert why in done.output
    assert "secret-password" not in done.output


def test_an_image() -> None:
    """It is one that any engine could run, and no two are alike."""
    one, other = Image.made(), Image.made()
    manifest = parse(one.manifest, OCI_MANIFEST)
    assert [descriptor.digest for descriptor in manifest.layers] == [Digest.of(one.layer)]
    assert one.layer != other.layer


class ThroughARegistry(TestCase):
    """Against another registry on the loopback, which does as a test says."""

    def setUp(self) -> None:
        self.registry = ForeignRegistry(user="ada", password="secret")
        self.addCleanup(self.registry.close)
        self.steps: list[Step] = []
        egress = Egress(reactor, ANYWHERE)
        client = RegistryClient(reactor, egress, self.registry.url, Credentials("ada", "secret"))
        self.image = Image(b"a layer", b"{}", Image.made().manifest)
        self.probe = Probe(client, "ada/probe", self.steps.append, self.image)

    async def test_all_steps(self) -> None:
        """Each is told, in order, and the tag is gone at the end."""
        await self.probe.run()
        words = [step.what.split()[0] for step in self.steps]
        self.assertEqual(words, ["signed", "pushed", "pushed", "pushed", "pulled", "pulled", "deleted"])
        self.assertEqual(self.registry.kept("ada/probe").tags, {})

    async def test_other_bytes(self) -> None:
        """A proxy that changes what comes back is found out, and what was pushed is deleted all the same."""
        changed = body(self.image.manifest + b" ", Content_Type=OCI_MANIFEST)
        self.registry.odd[f"/v2/ada/probe/manifests/{self.probe.tag}"] = [lambda request: None, changed]
        with self.assertRaises(RemoteWrong):
            await self.probe.run()
        self.assertEqual(self.steps[-1].what, "deleted it")
        self.assertEqual(self.registry.kept("ada/probe").tags, {})

    async def test_what_cannot_be_deleted(self) -> None:
        """It is told where it is left."""
        digest = Digest.of(self.image.manifest)
        self.registry.odd[f"/v2/ada/probe/manifests/{digest}"] = [status(405)]
        with self.assertRaisesRegex(RemoteError, f"answered 405 when it was to delete the manifest {digest}"):
            await self.probe.run()
