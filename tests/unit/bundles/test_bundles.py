"""Bundles from one registry to another: what goes into one, what comes out of it, and what is refused, tag by tag."""

from __future__ import annotations

import gzip
import io
import json
import random
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred

from quay.bundles import Named
from quay.bundles.choice import ChoiceInvalid
from quay.bundles.extents import NoRoom
from quay.bundles.signing import Untrusted
from quay.bundles.waybill import BundleInvalid, Receipt
from quay.bundles.writing import BlobRotted, CannotWrite
from quay.events import Pushed, RepositoryCreated
from quay.model import permission, repository, tag
from quay.oci import media_types
from quay.oci.errors import Denied, InvalidRequest
from quay.oci.reference import Digest, RepositoryName
from quay.storage import StorageFull
from quay.testdata import images
from tests.http.application import done
from tests.unit.bundles.site import Site, both, layered, signature

LIMIT = 3_200_000


def heavy(seed: int, size: int = 1_500_000) -> bytes:
    return random.Random(seed).randbytes(size)


def members(files: list[Path]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for file in files:
        with tarfile.open(file) as opened:
            for info in opened:
                data = opened.extractfile(info)
                found[info.name] = b"" if data is None else data.read()
    return found


def rewritten(file: Path, change: Callable[[str, bytes], Mapping[str, bytes]]) -> None:
    """The same archive, in which `change` says what each member becomes."""
    before = members([file])
    with tarfile.open(file, "w") as made:
        for name, data in before.items():
            for other, content in change(name, data).items():
                info = tarfile.TarInfo(other)
                info.size = len(content)
                made.addfile(info, io.BytesIO(content))


def test_there(near: Site, far: Site) -> None:
    """Images, indexes with their children, and what refers to these come with every byte; the archive is a layout."""
    index, app = both(), images.image("app")
    of_child = signature(index.children[0], "child")
    near.push("acme/web", index, "1.0", "latest")
    near.push("acme/web", of_child)
    near.push("acme/web", signature(of_child, "of a signature"))
    near.push("acme/tools/app", app, "2")
    near.push("other/app", images.image("other"), "1")
    files = near.make("acme/*")
    assert near.problems(files) == far.problems(files) == []

    outcome = far.load(files)
    assert outcome.loaded == ["acme/tools/app:2", "acme/web:1.0", "acme/web:latest"]
    assert not outcome.failed
    assert far.has("acme/web", index)
    assert far.has("acme/web", of_child)
    assert far.has("acme/web", signature(of_child, "of a signature"))
    assert far.has("acme/tools/app", app)
    assert far.digest("other/app", "1") is None
    again = far.load(files)
    assert (again.loaded, len(again.present), again.read) == ([], 3, 0)

    found = members(files)
    listed = json.loads(found["index.json"])["manifests"]
    names = {
        one["annotations"]["org.opencontainers.image.ref.name"]: one["digest"] for one in listed if "annotations" in one
    }
    assert names == {"acme/web:1.0": index.digest, "acme/web:latest": index.digest, "acme/tools/app:2": app.digest}
    assert all(Digest.of(data).hex == name[13:] for name, data in found.items() if name.startswith("blobs/sha256/"))


def test_who_did_it(near: Site, far: Site) -> None:
    """What is loaded is pushed, by whoever loads it, and what was made for it was made by him."""
    near.push("acme/web", images.image("a"), "1")
    far.application.events.clear()
    far.load(near.make("acme/web"))
    created, *pushed = far.application.events
    assert isinstance(created, RepositoryCreated)
    assert [(one.tag, one.actor.name) for one in pushed if isinstance(one, Pushed)] == [("1", "root")]


def test_what_tags_attach(near: Site) -> None:
    """What clients attach by a tag comes with what it is attached to, and so on; nothing else does."""
    image, other = images.image("signed"), images.image("other")
    signed = images.image("cosign")
    near.push("acme/web", image, "1")
    near.push("acme/web", other, "2")
    for about, content, kind in ((image, signed, ".sig"), (signed, images.image("sbom"), ".sbom"), (other, image, "")):
        near.push("acme/web", content, f"sha256-{about.digest.hex}{kind}")
    shipped = [one.tag for one in near.plan("acme/web:1").gathered.waybill.shipments]
    assert shipped == ["1", f"sha256-{image.digest.hex}.sig", f"sha256-{signed.digest.hex}.sbom"]


def test_one_platform(near: Site, far: Site) -> None:
    """An index may travel with the images for some platforms: it says what was left out, and these can be pulled."""
    index = both()
    near.push("acme/web", index, "1")
    files = near.make("acme/web", platforms=frozenset({"linux/arm64"}))
    assert far.problems(files) == []
    cargo = far.open(files)
    assert cargo.waybill is not None
    assert dict(cargo.waybill.absent) == {index.children[0].digest: "it is for linux/amd64"}
    assert far.load(files).loaded == ["acme/web:1"]
    assert far.digest("acme/web", "1") == index.digest
    assert far.has("acme/web", index.children[1])
    assert far.load(near.make("acme/web", target="whole")).loaded == ["acme/web:1"]
    assert far.has("acme/web", index)


def test_a_cache_of_builds(near: Site, far: Site) -> None:
    """An index that names plain blobs, as the caches of BuildKit do, travels with them; by receipt, without."""
    layer, config = b"a cached layer", b'{"layers": []}'
    children = [
        {"mediaType": media_types.OCI_LAYER, "digest": Digest.of(layer), "size": len(layer)},
        {"mediaType": "application/vnd.buildkit.cacheconfig.v0", "digest": Digest.of(config), "size": len(config)},
    ]
    raw = json.dumps({"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": children}).encode()
    cache = images.Content(media_types.OCI_INDEX, raw, (layer, config))
    near.push("acme/cache", cache, "main")
    files = near.make("acme/cache")
    assert far.problems(files) == []
    assert far.load(files).loaded == ["acme/cache:main"]
    assert far.has("acme/cache", cache)


def test_volumes(near: Site, far: Site) -> None:
    """Volumes come in any order; what is missing is named, what can be is loaded, and what came is not read again."""
    contents = [layered(heavy(n)) for n in range(4)]
    for number, content in enumerate(contents):
        near.push("acme/web", content, f"v{number}")
    files = near.make("acme/web", limit=LIMIT)
    assert [file.name for file in files] == ["bundle.001", "bundle.002"]
    assert far.problems(reversed(files)) == []
    assert [problem for problem in far.problems(files[1:]) if "Volume 1 of 2 is missing" in problem]

    first = far.load(files[:1])
    assert first.loaded == ["acme/web:v0", "acme/web:v1"]
    assert all("volume 2" in why for _, why in first.failed)
    rest = far.load(files[::-1])
    assert (rest.loaded, rest.present) == (["acme/web:v2", "acme/web:v3"], ["acme/web:v0", "acme/web:v1"])
    assert first.read + rest.read == sum(len(blob) for content in contents for blob in content.blobs)
    assert all(far.has("acme/web", content) for content in contents)


def test_volumes_by_hand(near: Site) -> None:
    """Unpacked into one directory, the volumes are an OCI layout once what was cut is put together."""
    content = layered(heavy(9, 5_000_000))
    near.push("acme/web", content, "1")
    found = members(near.make("acme/web", limit=LIMIT))
    pieces = sorted(name for name in found if name.startswith("pieces/"))
    assert b"".join(found[name] for name in pieces) == content.blobs[1]
    sums = dict(reversed(line.split("  ")) for line in found["SHA256SUMS"].decode().splitlines())
    assert all(Digest.of(found[name]).hex == told for name, told in sums.items())


def test_the_same_volume_twice(near: Site, far: Site, tmp_path: Path) -> None:
    """A volume that is there twice is used once, and told; one of another bundle is refused."""
    near.push("acme/web", images.image("a"), "1")
    [file] = near.make("acme/web")
    copy = file.with_name("copy")
    copy.write_bytes(file.read_bytes())
    assert ["both volume 1" in one for one in far.problems([file, copy])] == [True]
    assert far.load([file, copy]).loaded == ["acme/web:1"]
    with pytest.raises(BundleInvalid, match="belongs to the bundle"):
        far.open([file, *near.make("acme/web", target="other")])


@pytest.mark.parametrize("wanted", ["config", "layer", "manifest"])
def test_damage(near: Site, far: Site, wanted: str) -> None:
    """A byte that changed on the way is found, and its volume named; no tag comes of it, and the others come."""
    image = images.image("damaged")
    near.push("acme/web", image, "bad")
    near.push("acme/web", images.image("well"), "good")
    [file] = near.make("acme/web")
    victim = {"config": image.blobs[0], "layer": image.blobs[-1], "manifest": image.raw}[wanted]
    place = f"blobs/sha256/{Digest.of(victim).hex}"
    rewritten(file, lambda name, data: {name: data[:-1] + b"?" if name == place else data})
    assert any("bundle" in one and "damaged" in one for one in far.problems([file]))
    outcome = far.load([file])
    assert outcome.loaded == ["acme/web:good"]
    assert [name for name, why in outcome.failed if "damaged in bundle" in why or "bundle is damaged" in why] == [
        "acme/web:bad"
    ]
    assert far.digest("acme/web", "bad") is None


def test_changed_lists(near: Site, far: Site) -> None:
    """Whoever changes what a bundle says of itself is found out; and whoever takes its signature away is, too."""
    near.push("acme/web", images.image("a"), "1")
    [file] = near.make("acme/web")
    whole = file.read_bytes()
    rewritten(file, lambda name, data: {name: data.replace(b".", b".e", 1) if name == "bundle.jws" else data})
    with pytest.raises((Untrusted, BundleInvalid)):
        far.open([file])
    file.write_bytes(whole)
    rewritten(file, lambda name, data: {} if name == "bundle.jws" else {name: data})
    with pytest.raises(Untrusted, match="anybody may have made"):
        far.open([file])
    file.write_bytes(whole)
    label = json.dumps({"bundle": "x", "number": 1, "of": 1}).encode()
    rewritten(file, lambda name, data: {name: label if name == "volume.json" else data})
    with pytest.raises(BundleInvalid, match="belongs to the bundle x"):
        far.open([file])
    for bad in (b"[]", b"{}", b'{"bundle": 1}', b"[" * 900, b"x" * 5000):
        file.write_bytes(whole)
        rewritten(file, lambda name, data, bad=bad: {name: bad if name == "volume.json" else data})
        with pytest.raises(BundleInvalid):
            far.open([file])


def test_locked_tags(near: Site, far: Site) -> None:
    """A tag that is locked stays what it is, and that is told; the others come."""
    far.push("acme/web", images.image("locked"), "1")
    found = far.application.read(repository.find, RepositoryName("acme", "web"))
    far.application.write(tag.set_immutable, found.id, "1", True)
    near.push("acme/web", images.image("new"), "1", "2")
    outcome = far.load(near.make("acme/web"))
    assert outcome.loaded == ["acme/web:2"]
    [(name, why)] = outcome.failed
    assert (name, "immutable" in why) == ("acme/web:1", True)
    assert far.digest("acme/web", "1") == images.image("locked").digest


def test_states(near: Site, far: Site) -> None:
    """Nothing is pushed to a repository that takes none, and nobody loads who is no superuser."""
    far.push("acme/web", images.image("before"), "1")
    found = far.application.read(repository.find, RepositoryName("acme", "web"))
    far.application.write(repository.set_state, found.id, "read_only")
    near.push("acme/web", images.image("new"), "1")
    files = near.make("acme/web")
    assert "read-only" in far.load(files).failed[0][1]
    import attrs

    far.caller = attrs.evolve(far.caller, principal=attrs.evolve(far.caller.principal, superuser=False))
    assert "no superuser" in far.load(files).failed[0][1]
    with pytest.raises(Denied):
        done(far.core.registry.access.for_superuser(far.caller, RepositoryName("acme", "x")))


def test_into(near: Site, far: Site) -> None:
    """Repositories go into other organizations by rule; two that would be one are told."""
    near.push("acme/web", images.image("a"), "1")
    near.push("other/web", images.image("b"), "1")
    near.push("other/app", images.image("c"), "1")
    files = near.make("acme/*", "other/*")
    mapped = far.load(files, ["other=mirror"])
    assert mapped.loaded == ["acme/web:1", "mirror/app:1", "mirror/web:1"]
    merged = far.load(files, ["all"])
    assert merged.loaded == ["all/web:1", "all/app:1"]
    assert [name for name, _ in merged.failed] == ["other/web:1"]
    for bad in ("a=b=", "=x", "UP", "a/b", ""):
        with pytest.raises(InvalidRequest):
            far.load(files, [bad])


def test_names_that_are_kept(near: Site, tmp_path: Path, sqlite_template: Path) -> None:
    """No organization is made under the name of a superuser to come; where one may be made, it is the loader's."""
    near.push("acme/web", images.image("a"), "1")
    files = near.make("acme/web")
    (tmp_path / "other").mkdir()
    site = Site(tmp_path / "other", sqlite_template, SUPER_USERS=["boss"])
    assert "kept for whoever" in site.load(files, ["boss"], unsigned=True).failed[0][1]
    assert site.load(files, unsigned=True).loaded == ["acme/web:1"]
    found = site.application.read(repository.find, RepositoryName("acme", "web"))
    assert site.application.read(permission.role, found, site.caller.principal.namespace_id) is permission.Role.ADMIN
    assert not found.public
    site.application.stop()


def test_receipts(near: Site, far: Site) -> None:
    """What a receipt says is there is left out, and declared; what refers to it, and is new, is not."""
    image, newer = images.image("base", "app"), images.image("base", "newer")
    near.push("acme/web", image, "1")
    far.load(near.make("acme/web"))
    near.trust(far)
    path = near.directory / "receipt"
    path.write_bytes(done(far.bundles.receipt()))
    receipt: Receipt = done(near.bundles.read_receipt(path))
    assert receipt.bundles == (far.bundles.depot.loaded()[-1],)

    assert near.plan("acme/web", receipt=receipt).gathered.waybill.shipments == ()
    near.push("acme/web", newer, "2")
    near.push("acme/web", signature(image))
    plan = near.plan("acme/web", receipt=receipt)
    waybill = plan.gathered.waybill
    assert [one.tag for one in waybill.shipments] == ["1", "2"]
    assert set(waybill.held) == {Digest.of(blob) for blob in image.blobs}
    assert waybill.previous == receipt.bundles[-1]
    files = near.make("acme/web", receipt=receipt, target="delta")
    assert far.problems(files) == []
    said: list[str] = []
    assert len(far.load(files, say=said.append).loaded) == 2
    assert not any("to follow" in line for line in said)
    far.bundles.depot.note_loaded("others")
    (far.bundles.depot.root / "loaded.json").write_text("[]")
    far.load(files, say=said.append)
    assert any("to follow" in line for line in said)
    assert far.has("acme/web", newer)
    assert far.has("acme/web", signature(image))


def test_a_receipt_of_somebody_else(near: Site, far: Site, tmp_path: Path, sqlite_template: Path) -> None:
    """A bundle for another registry says here what is missing, and that its receipt was wrong."""
    image = images.image("base")
    near.push("acme/web", image, "1")
    far.push("acme/web", image, "1")
    near.trust(far)
    path = near.directory / "receipt"
    path.write_bytes(done(far.bundles.receipt()))
    receipt = done(near.bundles.read_receipt(path))
    near.push("acme/web", images.image("base", "more"), "2")
    files = near.make("acme/web:2", receipt=receipt)
    (tmp_path / "third").mkdir()
    third = Site(tmp_path / "third", sqlite_template)
    third.trust(near)
    [(name, why)] = third.load(files).failed
    assert (name, "its receipt said so" in why) == ("acme/web:2", True)
    with pytest.raises(Untrusted):
        done(third.bundles.read_receipt(path))
    assert done(third.bundles.read_receipt(path, unsigned=True)) == receipt
    third.application.stop()


def test_choices(near: Site) -> None:
    """Whatever is chosen and not there is told by its name; a tag that cannot be taken is told, and the rest taken."""
    near.push("acme/web", images.image("a"), "1")
    with pytest.raises(ChoiceInvalid, match=r"acme/wbe, acme/web:2"):
        near.plan("acme/web:1", "acme/wbe", "acme/web:2")
    broken = images.image("broken")
    near.push("acme/web", broken, "2")
    done(near.application.blobs.delete(Digest.of(broken.blobs[0])))
    near.application.write(
        lambda txn: txn.connection.exec_driver_sql(
            "delete from placement where blob_id in (select id from blob where digest = ?)",
            (Digest.of(broken.blobs[0]),),
        )
    )
    near.core.forget_all()
    gathered = near.plan("acme/web").gathered
    assert [one.tag for one in gathered.waybill.shipments] == ["1"]
    assert [name for name, _ in gathered.failed] == ["acme/web:2"]


def test_nothing_half(near: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bundle is there as a whole or not at all: not over another one, not of rotten bytes, not on a full disk."""
    image = images.image("a")
    near.push("acme/web", image, "1")
    [file] = near.make("acme/web")
    with pytest.raises(CannotWrite, match="exists"):
        near.make("acme/web")
    with pytest.raises(CannotWrite, match="no directory"):
        near.make("acme/web", target="nowhere/bundle")
    monkeypatch.setattr("quay.bundles.extents.RESERVE", 2**60)
    with pytest.raises(NoRoom):
        near.make("acme/web", target="full")
    monkeypatch.undo()
    layer = Digest.of(image.blobs[-1])
    near.application.blobs.blobs[layer] = bytes(len(image.blobs[-1]))
    with pytest.raises(BlobRotted):
        near.make("acme/web", target="rotten")
    assert [one.name for one in near.directory.iterdir() if one.is_file() and one.name[0] in "bfr"] == [file.name]


def test_a_full_storage(near: Site, far: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A storage without room ends the load: the next one would fail as well."""
    near.push("acme/web", images.image("a"), "1")
    files = near.make("acme/web")

    def full(digest: Digest, data: bytes) -> Deferred[None]:
        raise StorageFull("default", "keep a blob", 28)

    monkeypatch.setattr(far.application.blobs, "keep", full)
    with pytest.raises(StorageFull):
        far.load(files)
    assert far.digest("acme/web", "1") is None


# --- what other tools make ------------------------------------------------------------------------------------------


def layout(path: Path, *entries: tuple[images.Content, Mapping[str, str]]) -> Path:
    """An OCI layout as a tar file."""
    listed = [content.descriptor() | ({"annotations": dict(names)} if names else {}) for content, names in entries]
    found = {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": json.dumps({"schemaVersion": 2, "manifests": listed}).encode(),
    }

    def add(content: images.Content) -> None:
        for child in content.children:
            add(child)
        for data in (*content.blobs, content.raw):
            found[f"blobs/sha256/{Digest.of(data).hex}"] = data

    for content, _ in entries:
        add(content)
    with tarfile.open(path, "w") as made:
        for name, data in found.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    return path


def test_layouts_with_names(far: Site, tmp_path: Path) -> None:
    """Images that a layout names in full go where their names say, with what refers to them; as hauler makes them."""
    index, image = both(), images.image("hauled")
    path = layout(
        tmp_path / "haul.tar",
        (
            index,
            {
                "io.containerd.image.name": "index.docker.io/library/web:1",
                "org.opencontainers.image.ref.name": "library/web:1",
            },
        ),
        (image, {"org.opencontainers.image.ref.name": "registry.example.com:5000/team/app:2"}),
        (signature(index), {}),
        (images.image("nameless"), {}),
    )
    path.write_bytes(gzip.compress(path.read_bytes()))
    outcome = far.load([path], unsigned=True)
    assert outcome.loaded == ["library/web:1", "team/app:2"]
    assert far.has("library/web", index)
    assert far.has("library/web", signature(index))
    assert list(far.bundles.depot.scratch.iterdir()) == []


def test_a_layout_in_its_directory(far: Site, tmp_path: Path) -> None:
    """A layout that was packed with the directory in which it lies is one, too."""
    image = images.image("inside")
    path = layout(tmp_path / "x.tar", (image, {"org.opencontainers.image.ref.name": "acme/inside:1"}))
    rewritten(path, lambda name, data: {f"./images/{name}": data})
    assert far.load([path], unsigned=True).loaded == ["acme/inside:1"]
    assert far.has("acme/inside", image)


def test_layouts_without(far: Site, tmp_path: Path) -> None:
    """An archive without names gets one; with several images, they keep their tags in the repository that is named."""
    one, two = images.image("one"), images.image("two")
    alone = layout(tmp_path / "one.tar", (one, {"org.opencontainers.image.ref.name": "latest"}), (signature(one), {}))
    assert far.load([alone], unsigned=True, named=Named.parse("localhost/acme/one:5")).loaded == ["acme/one:5"]
    assert far.has("acme/one", signature(one))
    many = layout(
        tmp_path / "two.tar",
        (one, {"org.opencontainers.image.ref.name": "1"}),
        (two, {"org.opencontainers.image.ref.name": "2"}),
    )
    assert far.load([many], unsigned=True, named=Named.parse("acme/two")).loaded == ["acme/two:1", "acme/two:2"]
    with pytest.raises(BundleInvalid, match="2 images"):
        far.open([many], unsigned=True, named=Named.parse("acme/two:1"))
    with pytest.raises(Untrusted):
        far.open([many], named=Named.parse("acme/two"))
    clash = [(image, {"org.opencontainers.image.ref.name": "acme/x:1"}) for image in (one, two)]
    with pytest.raises(BundleInvalid, match="nobody knows which"):
        far.open([layout(tmp_path / "clash.tar", *clash)], unsigned=True)


def saved(path: Path, images_: Mapping[str, list[str]]) -> Path:
    """What `docker save` writes for images that say these words, under these names."""
    found: dict[str, bytes] = {}
    listed = []
    for word, names in images_.items():
        layer = images.layer("word", word)
        plain = gzip.decompress(layer)
        config = json.dumps(
            {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [Digest.of(plain)]}}
        ).encode()
        found[f"{Digest.of(config).hex}.json"] = config
        found[f"{word}/layer.tar"] = plain
        listed.append({"Config": f"{Digest.of(config).hex}.json", "RepoTags": names, "Layers": [f"{word}/layer.tar"]})
    found["manifest.json"] = json.dumps(listed).encode()
    with tarfile.open(path, "w") as made:
        for name, data in found.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    return path


def test_what_docker_saved(far: Site, tmp_path: Path) -> None:
    """Images of several repositories in one archive go each into its own, under all their tags."""
    path = saved(
        tmp_path / "saved.tar",
        {"web": ["acme/web:1", "acme/web:latest", "docker.io/other/web:1"], "app": ["acme/app:3"]},
    )
    outcome = far.load([path], unsigned=True)
    assert sorted(outcome.loaded) == ["acme/app:3", "acme/web:1", "acme/web:latest", "other/web:1"]
    assert far.digest("acme/web", "1") == far.digest("other/web", "1") != far.digest("acme/app", "3")
    assert far.load([path], unsigned=True).read > 0
    nameless = saved(tmp_path / "nameless.tar", {"web": []})
    with pytest.raises(BundleInvalid, match="without a name"):
        far.open([nameless], unsigned=True)
    assert far.load([nameless], unsigned=True, named=Named.parse("acme/web:9")).loaded == ["acme/web:9"]


def test_what_is_nothing(far: Site, tmp_path: Path) -> None:
    """A tar file of something else is refused; so is a list that cannot be read."""
    path = tmp_path / "x.tar"
    for content in ({"readme": b"hello"}, {"manifest.json": b"["}, {"index.json": b"{"}, {"manifest.json": b"{}"}):
        with tarfile.open(path, "w") as made:
            for name, data in content.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                made.addfile(info, io.BytesIO(data))
        with pytest.raises(Exception) as refused:
            far.open([path], unsigned=True)
        assert getattr(refused.value, "message", "")
