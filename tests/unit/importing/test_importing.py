"""What an import brings, what it leaves, and what it says; and what a hostile source cannot do."""

from __future__ import annotations

import re

import sqlalchemy as sa

from quay.importing import NoRoom
from quay.oci.reference import Digest
from quay.registry.client import RemoteRefused
from tests import foreign
from tests.unit.importing.house import ImportCase

DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
ONE, TWO, THREE = b"one" * 1000, b"two" * 1000, b"three" * 1000


class WhatComesTests(ImportCase):
    """Imports from a registry that behaves."""

    async def test_everything(self) -> None:
        """All tags of all repositories come, with their bytes; organizations are made, and belong to who imports."""
        app = self.registry.image("team/app", ONE, TWO, tag="1.0")
        deep = self.registry.image("other/deep/er", ONE, tag="x")
        tally = await self.imported()
        self.assertEqual((2, 2, 0), (tally.tags, tally.repositories, tally.troubles))
        self.assertEqual(app, await self.tag("team/app", "1.0"))
        self.assertEqual(deep, await self.tag("other/deep/er", "x"))
        self.assertTrue(self.holds(ONE) and self.holds(TWO))
        self.assertEqual(1, self.registry.asked_for(f"/blobs/{Digest.of(ONE)}"))
        kinds = [row.kind for row in await self.rows("SELECT kind FROM audit")]
        self.assertEqual(2, kinds.count("org_create"))

    async def test_a_second_import_brings_what_is_new(self) -> None:
        """What is here is not fetched again; a tag that moved there moves here, and that is remarked."""
        self.registry.image("team/app", ONE, tag="1.0")
        self.registry.image("team/app", ONE, tag="stays")
        await self.imported()
        before = self.registry.asked_for("/blobs/")
        moved = self.registry.image("team/app", ONE, TWO, tag="1.0")
        tally = await self.imported()
        self.assertEqual((1, 1), (tally.tags, tally.same))
        self.assertEqual(moved, await self.tag("team/app", "1.0"))
        self.assertEqual(before + 1, self.registry.asked_for("/blobs/"))
        self.assertIn("moved", tally.notes[0])

    async def test_tags_may_be_kept(self) -> None:
        """Whoever wants it so keeps his tags, and hears of those that did not come."""
        kept = self.registry.image("team/app", ONE, tag="1.0")
        await self.imported()
        self.registry.image("team/app", TWO, tag="1.0")
        tally = await self.imported(replace=False)
        self.assertEqual((0, 1), (tally.tags, tally.troubles))
        self.assertEqual(kept, await self.tag("team/app", "1.0"))

    async def test_an_index_comes_with_its_children(self) -> None:
        """An index comes after all that it names; a child that the source has not got is no reason to leave it."""
        children = [self.registry.image("team/app", layer) for layer in (ONE, TWO)]
        index = self.registry.index("team/app", *children, tag="all")
        sparse = self.registry.image("team/app", THREE)
        self.registry.index("team/app", sparse, children[0], tag="sparse")
        del self.registry.kept("team/app").manifests[sparse]
        tally = await self.imported()
        self.assertEqual((2, 0), (tally.tags, tally.troubles))
        self.assertEqual(index, await self.tag("team/app", "all"))
        self.assertTrue(self.holds(ONE) and self.holds(TWO) and not self.holds(THREE))
        self.assertIn("has not got", tally.notes[0])

    async def test_what_refers_to_an_image_comes(self) -> None:
        """Signatures come with what they sign, and signatures of these; and later ones, though the tag is the same."""
        app = self.registry.image("team/app", ONE, tag="1.0")
        signature = self.registry.image("team/app", TWO, subject=self.subject(app))
        await self.imported()
        self.registry.image("team/app", THREE, subject=self.subject(signature))
        await self.imported()
        found = await self.rows("SELECT digest FROM manifest WHERE unreachable_ms IS NULL")
        self.assertEqual(3, len(found))

    def subject(self, digest: Digest) -> dict[str, object]:
        return {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 1}

    async def test_layers_that_others_keep(self) -> None:
        """A layer with an address elsewhere need not come; where the source has it, it does."""
        elsewhere = {
            "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            "urls": ["https://x.y/z"],
        }
        absent = {**elsewhere, "digest": Digest.of(b"absent"), "size": 6}
        held = {**self.registry.blob("team/app", THREE), **elsewhere}
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {
                **self.registry.blob("team/app", b"{}"),
                "mediaType": "application/vnd.docker.container.image.v1+json",
            },
            "layers": [absent, held],
        }
        made = self.registry.manifest("team/app", manifest, tag="win")
        tally = await self.imported()
        self.assertEqual((made, 0), (await self.tag("team/app", "win"), tally.troubles))
        self.assertTrue(self.holds(THREE))

    async def test_schema_1(self) -> None:
        """Old manifests come where they were made for, though they do not say how large their layers are."""
        layer = self.registry.blob("team/old", ONE)["digest"]
        document = {
            "schemaVersion": 1,
            "mediaType": "application/vnd.docker.distribution.manifest.v1+json",
            "name": "team/old",
            "tag": "1.0",
            "architecture": "amd64",
            "fsLayers": [{"blobSum": layer}],
            "history": [{"v1Compatibility": '{"id": "a1"}'}],
        }
        digest = self.registry.manifest("team/old", document, tag="1.0")
        tally = await self.imported()
        self.assertEqual((digest, 0), (await self.tag("team/old", "1.0"), tally.troubles), tally.problems)
        self.assertTrue(self.holds(ONE))
        tally = await self.imported(below="mirror")
        self.assertEqual(1, tally.troubles)
        self.assertRegex(tally.problems[0].why, "made for the repository 'team/old'")

    async def test_a_choice(self) -> None:
        """Repositories and tags by their globs, below a namespace; without a list where they are named."""
        for tag in ("1.0", "1.1", "2.0"):
            self.registry.image("team/app", ONE, tag=tag)
            self.registry.image("team/other", ONE, tag=tag)
        await self.imported(repositories=("team/app",), tags=("1.*",), below="mirror")
        self.assertEqual(0, self.registry.asked_for("_catalog"))
        self.assertIsNotNone(await self.tag("mirror/team/app", "1.1"))
        self.assertIsNone(await self.tag("mirror/team/app", "2.0"))
        self.assertIsNone(await self.tag("mirror/team/other", "1.0"))

    async def test_a_dry_run_changes_nothing(self) -> None:
        """What would come is counted, each blob once, and nothing is made."""
        self.registry.image("team/app", ONE, TWO, tag="1.0")
        self.registry.image("team/other", ONE, tag="1.0")
        self.registry.image("Team/Odd", ONE, tag="1.0")
        tally = await self.imported(dry=True)
        config = len(b'{"os": "linux", "architecture": "amd64"}')
        self.assertEqual((2, 2, 3, len(ONE + TWO) + config), (tally.tags, tally.repositories, tally.blobs, tally.total))
        self.assertEqual(["Team/Odd"], [problem.what for problem in tally.problems])
        self.assertEqual([], await self.rows("SELECT id FROM repository"))
        self.assertEqual(0, self.registry.asked_for("/blobs/"))

    async def test_bytes_of_others_are_not_taken_on_trust(self) -> None:
        """A blob that somebody else here has is fetched all the same: the source may only pretend to have it."""
        self.registry.image("team/app", ONE, tag="1.0")
        await self.imported()
        other = self.foreign()
        other.image("evil/app", ONE, tag="1.0")
        self.registry = other
        await self.imported()
        self.assertEqual(1, other.asked_for(f"/blobs/{Digest.of(ONE)}"))


class WhatDoesNotTests(ImportCase):
    """What does not come, and keeps nothing else."""

    async def test_one_that_breaks(self) -> None:
        """A tag of which a part is missing does not come; the others do."""
        self.registry.image("team/app", ONE, tag="whole")
        self.registry.image("team/app", TWO, tag="broken")
        del self.registry.kept("team/app").blobs[Digest.of(TWO)]
        tally = await self.imported()
        self.assertEqual((1, ["team/app:broken"]), (tally.tags, [problem.what for problem in tally.problems]))
        self.assertIsNone(await self.tag("team/app", "broken"))

    async def test_no_room(self) -> None:
        """Before the disk is full, an import ends with a sentence."""
        self.registry.image("team/app", ONE, tag="1.0")
        self.free = 500_000_000
        with self.assertRaisesRegex(NoRoom, "Make room"):
            await self.imported()
        self.assertFalse(self.holds(ONE))

    async def test_a_registry_without_a_catalog(self) -> None:
        """Whoever has no list of repositories is told how to do without one."""
        self.registry.odd["/v2/_catalog"] = [foreign.status(401)] * 9
        with self.assertRaisesRegex(Exception, "--repository"):
            await self.imported()

    async def test_a_repository_that_takes_no_pushes(self) -> None:
        """Nothing comes into a repository that is read-only here."""
        self.registry.image("team/app", ONE, tag="1.0")
        await self.imported()
        await self.core.database.write(lambda txn: txn.execute(sa.text("UPDATE repository SET state = 'read_only'")))
        self.registry.image("team/app", ONE, TWO, tag="2.0")
        tally = await self.imported()
        self.assertRegex(tally.problems[0].why, "read only")


class HostileTests(ImportCase):
    """What a hostile source cannot do."""

    async def one_trouble(self, pattern: str) -> None:
        """The import ends, brings nothing, and says why."""
        tally = await self.imported()
        self.assertEqual((0, 1), (tally.tags, tally.troubles), tally.problems)
        self.assertRegex(tally.problems[0].why, pattern)
        self.assertEqual([], await self.rows("SELECT id FROM tag WHERE NOT hidden"))

    async def test_a_blob_with_other_bytes(self) -> None:
        """Bytes that have not their digest are refused, and kept nowhere."""
        self.registry.image("team/app", ONE, tag="1.0")
        self.registry.kept("team/app").blobs[Digest.of(ONE)] = TWO
        await self.one_trouble("digest")
        self.assertFalse(self.holds(ONE) or self.holds(TWO))

    async def test_a_blob_without_end(self) -> None:
        """A blob is taken as far as its manifest says, and no further."""
        self.registry.image("team/app", ONE, tag="1.0")
        self.registry.odd[f"/v2/team/app/blobs/{Digest.of(ONE)}"] = [foreign.endless] * 9
        await self.one_trouble(str(len(ONE)))

    async def test_a_manifest_without_end(self) -> None:
        """A manifest is read as far as one may be."""
        self.registry.image("team/app", ONE, tag="1.0")
        self.registry.odd["/v2/team/app/manifests/1.0"] = [lambda _: None, foreign.endless]
        await self.one_trouble("more than")

    async def test_a_manifest_with_another_digest(self) -> None:
        """A registry that says another digest than its manifest has is not believed."""
        self.registry.image("team/app", ONE, tag="1.0")
        other = foreign.body(b"", docker_content_digest=Digest.of(TWO))
        manifest = self.registry.kept("team/app").manifests[Digest(self.registry.kept("team/app").tags["1.0"])]
        lying = foreign.body(manifest[1], content_type=manifest[0], docker_content_digest=Digest.of(TWO))
        self.registry.odd["/v2/team/app/manifests/1.0"] = [other, lying]
        await self.one_trouble("digest")

    async def test_a_redirect_inwards(self) -> None:
        """A blob that is to be fetched from a metadata service is not."""
        self.registry.image("team/app", ONE, tag="1.0")
        inwards = foreign.status(302, location="http://169.254.169.254/latest/meta-data/iam")
        self.registry.odd[f"/v2/team/app/blobs/{Digest.of(ONE)}"] = [inwards] * 9
        await self.one_trouble("does not call")

    async def test_manifests_within_manifests(self) -> None:
        """Indexes of indexes are followed a few steps."""
        inner = self.registry.image("team/app", ONE)
        for _ in range(30):
            inner = self.registry.index("team/app", inner)
        self.registry.kept("team/app").tags["deep"] = inner
        tally = await self.imported()
        self.assertTrue(tally.manifests <= 10)

    async def test_names_that_would_confuse(self) -> None:
        """Names of tags and repositories that cannot be are told, without what would confuse a terminal."""
        self.registry.image("team/app", ONE, tag="\x1b[31mred")
        self.registry.image("../../etc", ONE, tag="1.0")
        tally = await self.imported()
        self.assertEqual((0, 2), (tally.tags, tally.troubles))
        self.assertFalse(any(re.search(r"[\x00-\x1f]", problem.what + problem.why) for problem in tally.problems))

    async def test_a_registry_that_wants_a_password(self) -> None:
        """Without credentials, the sentence says so."""
        self.registry = self.foreign(user="me", password="secret")
        with self.assertRaises(RemoteRefused):
            await self.client().check()
