"""Archives through the API: downloads and their ranges, uploads, and archives that mean harm or are broken."""

import gzip
import hashlib
import io
import json
import math
import tarfile
import zlib
from functools import partial

import pytest
from backports import zstd

from quay.database.schema import upload
from quay.events import Pulled, Pushed
from quay.model import repository, tag
from quay.oci.reference import Digest, RepositoryName
from quay.testdata import images
from tests.http.api.client import Client
from tests.http.application import Connection, Repository, basic, done

MIB = 1024 * 1024
PATH = "/repository/devtable/simple"
IMAGE = images.image("one", "two")
INDEX = images.index(images.image("amd"), images.image("arm", architecture="arm64"))


@pytest.fixture
def application(make_application):
    return make_application()


@pytest.fixture
def pusher(application):
    return Repository(application, "devtable/simple", ("devtable", "password"))


@pytest.fixture
def client(application):
    return Carrier(Client(application, "devtable"))


class Carrier:
    """Calls of one principal on devtable/simple."""

    def __init__(self, client):
        self.client = client

    def fetch(self, reference, query="", **headers):
        return self.client.get(f"{PATH}/manifest/{reference}/archive?{query}", **headers)

    def send(self, archive, query="", **headers):
        application = self.client.application
        return application.request("POST", f"/api/v1{PATH}/archive?{query}", headers, archive, auth=self.client.auth)

    def refused(self, archive, query="", status=400):
        """Why the archive is refused, after which the repository is as before, and no upload is open."""
        application = self.client.application
        before = tags_of(application)
        answer = self.send(archive, query)
        assert answer.status == status, answer
        assert tags_of(application) == before
        assert application.core.registry.uploads.live == 0
        assert uploads_of(application) == []
        return answer.json["detail"]


def tags_of(application):
    found = application.read(repository.find, RepositoryName("devtable", "simple"))
    return {
        name: application.read(tag.resolve_tag, found.id, name).digest
        for name in application.read(tag.tags, found.id, after=None, limit=100)
    }


def uploads_of(application):
    """The uploads that are somewhere between begun and done."""
    rows = application.read(lambda txn: txn.execute(upload.select()).all())
    return [*rows, *done(application.blobs.stale_uploads(math.inf))]


# --- making archives ----------------------------------------------------------------------------------------------


def tar(*members, form=tarfile.GNU_FORMAT):
    """A tar file of these members: names with bytes, or whatever tarfile calls a member."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=form) as archive:
        for name, data in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return made.getvalue()


def special(name, kind, target=""):
    """A member that is no plain file."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def place(digest):
    return f"blobs/{digest.replace(':', '/')}"


def blobs_of(content):
    """The members of an OCI layout that are blobs."""
    for blob in content.blobs:
        yield place(Digest.of(blob)), blob
    for child in content.children:
        yield from blobs_of(child)
    yield place(content.digest), content.raw


def layout(content, name="v1", *more):
    """The members of an OCI layout of `content`."""
    names = {} if name is None else {"annotations": {"org.opencontainers.image.ref.name": name}}
    index = {"schemaVersion": 2, "manifests": [content.descriptor() | names]}
    members = dict(blobs_of(content)) | {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}
    return [*members.items(), ("index.json", json.dumps(index).encode()), *more]


def saved(*texts, names=("example.com/app:v1",), config=None, layers=None):
    """The members of an archive as docker makes it: the config, then the layers, then what says so."""
    unpacked = [zlib.decompress(images.layer("file", text), wbits=31) for text in texts]
    config = config if config is not None else config_of(unpacked)
    called = f"{hashlib.sha256(config).hexdigest()}.json"
    places = [f"{number}/layer.tar" for number, _ in enumerate(unpacked)]
    listed = [{"Config": called, "RepoTags": list(names), "Layers": layers or places}]
    return [
        (called, config),
        *zip(places, unpacked, strict=True),
        ("0/VERSION", b"1.0"),
        ("0/json", b"{}"),
        ("repositories", b"{}"),
        ("manifest.json", json.dumps(listed).encode()),
    ]


def config_of(layers):
    rootfs = {"type": "layers", "diff_ids": [Digest.of(layer) for layer in layers]}
    return json.dumps({"architecture": "amd64", "os": "linux", "rootfs": rootfs}).encode()


# --- downloads ----------------------------------------------------------------------------------------------------


def members(archive):
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return {one.name: opened.extractfile(one).read() for one in opened if one.isfile()}


def test_a_docker_archive(pusher, client):
    """It names the image as clients do, and has every byte that was pushed, with an index for containerd."""
    pusher.push(IMAGE, "v1")
    answer = client.fetch("v1")
    found = members(answer.body)
    [image] = json.loads(found["manifest.json"])
    assert image["RepoTags"] == ["registry.test:5000/devtable/simple:v1"]
    assert [found[image["Config"]], *(found[one] for one in image["Layers"])] == list(IMAGE.blobs)
    [listed] = json.loads(found["index.json"])["manifests"]
    assert (listed["digest"], found[place(listed["digest"])]) == (IMAGE.digest, IMAGE.raw)
    assert answer.headers["content-type"] == "application/x-tar"
    assert answer.headers["content-disposition"] == 'attachment; filename="simple-v1.tar"'


def test_an_oci_layout(pusher, client):
    """It has the index and the images of all platforms, and nothing else."""
    pusher.push(INDEX, "v1")
    found = members(client.fetch("v1", "format=oci").body)
    assert {name: data for name, data in found.items() if name.startswith("blobs/")} == dict(blobs_of(INDEX))
    assert found.keys() - dict(blobs_of(INDEX)).keys() == {"oci-layout", "index.json"}


def test_by_digest(pusher, client):
    """What is asked for by its digest has no name in the archive."""
    pusher.push(IMAGE, "v1")
    answer = client.fetch(IMAGE.digest)
    assert json.loads(members(answer.body)["manifest.json"])[0]["RepoTags"] is None
    assert answer.headers["content-disposition"] == f'attachment; filename="simple-{IMAGE.digest.hex[:12]}.tar"'


def test_the_same_bytes_each_time(pusher, client):
    """So a download that broke goes on where it was, and counts as one pull."""
    pusher.push(INDEX, "v1")
    whole = client.fetch("v1", "format=oci").body
    pulls = [event for event in client.client.application.events if isinstance(event, Pulled)]
    for start in (0, 1, 511, 512, 2000, len(whole) - 1):
        part = client.fetch("v1", "format=oci", Range=f"bytes={start}-")
        assert (part.status, part.body) == (206, whole[start:])
    assert client.fetch("v1", "format=oci").body == whole
    assert len([event for event in client.client.application.events if isinstance(event, Pulled)]) == len(pulls) + 1


def test_a_platform(pusher, client):
    """Of an index, a docker archive has the image of one platform; which ones there are, a refusal tells."""
    pusher.push(INDEX, "v1")
    for platform, child in zip(("amd64", "arm64"), INDEX.children, strict=True):
        [image] = json.loads(members(client.fetch("v1", f"platform=linux/{platform}").body)["manifest.json"])
        assert image["Config"] == place(Digest.of(child.blobs[0]))
    answer = client.fetch("v1", "platform=plan9/mips")
    assert (answer.status, "linux/amd64, linux/arm64" in answer.json["detail"]) == (400, True)


def test_what_is_no_image(pusher, client):
    """An artifact is not for docker, but is for an OCI layout."""
    artifact = images.artifact("application/vnd.example", b"signed", subject=IMAGE)
    pusher.push(IMAGE, "v1")
    pusher.push(artifact, "signature")
    answer = client.fetch("signature")
    assert (answer.status, "is no image" in answer.json["detail"]) == (400, True)
    assert members(client.fetch("signature", "format=oci").body)[place(artifact.digest)] == artifact.raw


def test_referrers(pusher, client):
    """What refers to the image comes with it, if it is asked for."""
    artifact = images.artifact("application/vnd.example", b"signed", subject=IMAGE)
    pusher.push(IMAGE, "v1")
    pusher.push(artifact)
    assert place(artifact.digest) not in members(client.fetch("v1", "format=oci").body)
    assert place(artifact.digest) in members(client.fetch("v1", "format=oci&referrers=true").body)


@pytest.mark.parametrize("reference", ["none", f"sha256:{'0' * 64}"])
def test_what_is_not_there(client, reference):
    """What does not exist is 404, as everywhere."""
    assert client.fetch(reference).status == 404


def test_formats_are_known_ones(pusher, client):
    """A format that nobody knows is refused."""
    pusher.push(IMAGE, "v1")
    assert client.fetch("v1", "format=rar").status == 400


# --- uploads ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd.compress], ids=["plain", "gzip", "zstd"])
def test_an_oci_layout_is_pushed(application, client, pack):
    """The tag is what the layout says, with the digest that the index has; it is in the log, as any push."""
    answer = client.send(pack(tar(*layout(INDEX))))
    assert answer.json["tags"] == ["v1"]
    assert answer.json["digests"] == [INDEX.digest]
    assert answer.json["blobs"] == len(dict(blobs_of(INDEX)))
    assert answer.json["bytes"] == sum(map(len, dict(blobs_of(INDEX)).values()))
    assert tags_of(application) == {"v1": INDEX.digest}
    pushed = [(event.tag, event.digest) for event in application.events if isinstance(event, Pushed)]
    assert pushed[-1] == ("v1", INDEX.digest)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd.compress], ids=["plain", "gzip", "zstd"])
def test_a_docker_archive_is_pushed(application, pusher, client, pack):
    """The config is the saved one, the layers are packed, and the same archive makes the same manifest."""
    answer = client.send(pack(tar(*saved("one", "two"))))
    assert answer.json["tags"] == ["v1"]
    manifest = pusher.get("manifests/v1").json
    config = dict(saved("one", "two"))[f"{manifest['config']['digest'].removeprefix('sha256:')}.json"]
    diff_ids = json.loads(config)["rootfs"]["diff_ids"]
    got = [pusher.get(f"blobs/{layer['digest']}").body for layer in manifest["layers"]]
    assert [Digest.of(gzip.decompress(layer)) for layer in got] == diff_ids
    assert client.send(tar(*saved("one", "two"))).json["digests"] == answer.json["digests"]


@pytest.mark.parametrize("order", [reversed, partial(sorted, key=lambda one: one[0])], ids=["reversed", "sorted"])
@pytest.mark.parametrize("make", [lambda: layout(INDEX), lambda: saved("one", "two")], ids=["oci", "docker"])
def test_in_any_order(client, make, order):
    """What says what belongs together may come before it or after it."""
    assert client.send(tar(*order(make()))).json["tags"] == ["v1"]


def test_chunked_and_in_small_pieces(client):
    """A body without a length, in pieces of any size, is the same."""
    archive = tar(*layout(IMAGE))
    assert client.send([archive[start : start + 333] for start in range(0, len(archive), 333)]).json["tags"] == ["v1"]


def test_ours_come_back(pusher, client, application):
    """What was downloaded can be uploaded, in both formats, and is what it was."""
    pusher.push(IMAGE, "v1")
    archives = [client.fetch("v1", f"format={form}").body for form in ("docker", "oci")]
    pusher.request("DELETE", "manifests/v1")
    for archive in archives:
        assert client.send(archive).json["digests"] == [IMAGE.digest]
    assert tags_of(application) == {"v1": IMAGE.digest}


def test_a_tag_of_ones_choice(application, client):
    """The one image in an archive may be called otherwise here; without a name it must be."""
    assert client.send(tar(*layout(IMAGE)), "tag=mine").json["tags"] == ["mine"]
    assert client.send(tar(*layout(IMAGE, None)), "tag=other").json["tags"] == ["other"]
    assert tags_of(application).keys() == {"mine", "other"}
    assert "names no tag" in client.refused(tar(*layout(IMAGE, None)))
    assert "is not a tag" in client.refused(tar(*layout(IMAGE)), "tag=-no")


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("example.com:5000/a/b:v2", "v2"),
        ("v2", "v2"),
        ("app:v2", "v2"),
        ("example.com:5000/a/b", "latest"),
    ],
)
def test_names_have_tags_in_them(client, name, tag):
    """Of the name that an archive gives an image, the tag counts: the repository is the one that was chosen."""
    assert client.send(tar(*layout(IMAGE, name))).json["tags"] == [tag]


def test_several_images(application, client):
    """Each image of an archive has its tags; two that claim the same one are refused, and so is one name for both."""
    first, second = saved("one"), saved("two", names=["app:v2", "app:v3"])
    second = [(name.replace("0/", "9/"), data) for name, data in second]
    listed = [*json.loads(first[-1][1]), *json.loads(second[-1][1].replace(b"0/", b"9/"))]
    both = dict(first) | dict(second) | {"manifest.json": json.dumps(listed).encode()}
    assert sorted(client.send(tar(*both.items())).json["tags"]) == ["v1", "v2", "v3"]
    assert "2 images" in client.refused(tar(*both.items()), "tag=one")
    listed[1]["RepoTags"] = ["other:v1"]
    clash = both | {"manifest.json": json.dumps(listed).encode()}
    assert "several images with the tag v1" in client.refused(tar(*clash.items()))


def test_links_of_old_archives(client):
    """Old archives have layers that are links to others; they are followed in the archive, and nowhere else."""
    made = saved("one")
    twice = [dict(made[:1]).popitem(), *made[1:2], special("1/layer.tar", tarfile.SYMTYPE, "../0/layer.tar")]
    unpacked = made[1][1]
    config = config_of([unpacked, unpacked])
    listed = [{"Config": "config.json", "RepoTags": ["a:v1"], "Layers": ["0/layer.tar", "1/layer.tar"]}]
    answer = client.send(tar(*twice, ("config.json", config), ("manifest.json", json.dumps(listed).encode())))
    assert answer.json["tags"] == ["v1"]


def test_what_the_repository_has_need_not_come(pusher, client):
    """An archive may leave out the blobs that the repository holds."""
    pusher.push(IMAGE, "v0")
    members = [one for one in layout(IMAGE) if one[0] != place(Digest.of(IMAGE.blobs[1]))]
    assert client.send(tar(*members)).json["tags"] == ["v1"]


def test_an_index_of_which_only_a_part_came(application, client, pusher):
    """Engines save an index of many platforms with the one that they have: the rest of it may be missing here, too."""
    kept, other = INDEX.children
    missing = {place(other.digest), *(place(Digest.of(blob)) for blob in other.blobs)}
    common = {place(Digest.of(blob)) for blob in kept.blobs}
    members = [one for one in layout(INDEX) if one[0] not in missing - common]
    assert client.send(tar(*members)).json["digests"] == [INDEX.digest]
    assert pusher.get(f"manifests/{kept.digest}").status == 200
    assert pusher.get(f"manifests/{other.digest}").status == 404


def test_only_who_may_write(application, pusher, client):
    """Nobody in particular is asked who he is, and who may not write is told so: before a byte of the body counts."""
    pusher.push(IMAGE, "v1")
    for auth, status in ((None, 401), ("freshuser", 403), ("reader", 403)):
        other = Carrier(Client(application, auth))
        assert other.send(b"nothing").status == status
        assert other.fetch("v1").status == status
    assert client.fetch("v1").status == 200


# --- archives that mean harm, or are broken -----------------------------------------------------------------------


def damaged(content):
    """A layout of `content` with another byte in a blob."""
    [(name, blob), *rest] = layout(content)
    return [(name, bytes([blob[0] ^ 1]) + blob[1:]), *rest]


def without(members, name):
    return [one for one in members if one[0] != name]


HARM = {
    "traversal": (lambda: tar(("../../etc/passwd", b"x"), *layout(IMAGE)), "leads out of the archive"),
    "absolute": (lambda: tar(("/etc/passwd", b"x"), *layout(IMAGE)), "leads out of the archive"),
    "symlink": (lambda: tar(special("blobs/x", tarfile.SYMTYPE, "/etc/passwd")), "leads out of the archive"),
    "hard link": (lambda: tar(special("x", tarfile.LNKTYPE, "../../etc/passwd")), "leads out of the archive"),
    "device": (lambda: tar(special("null", tarfile.CHRTYPE)), "is a character device"),
    "sparse": (lambda: tar(special("hole", tarfile.GNUTYPE_SPARSE)), "is a sparse file"),
    "two of a name": (lambda: tar(*layout(IMAGE), ("index.json", b"{}")), "two members called 'index.json'"),
    "two of a blob": (lambda: tar(*layout(IMAGE), ("./" + layout(IMAGE)[0][0], b"x")), "two members called"),
    "truncated": (lambda: tar(*layout(IMAGE))[:2000], "ends in the middle"),
    "truncated gzip": (lambda: gzip.compress(tar(*layout(IMAGE)))[:-20], "ends in the middle"),
    "truncated zstd": (lambda: zstd.compress(tar(*layout(IMAGE)))[:-20], "ends in the middle"),
    "broken gzip": (lambda: gzip.compress(tar(*layout(IMAGE)))[:20] + b"x" * 1000, "cannot be unpacked"),
    "broken zstd": (lambda: zstd.compress(tar(*layout(IMAGE)))[:4] + b"x" * 1000, "cannot be unpacked"),
    "packed twice": (lambda: gzip.compress(gzip.compress(tar(*layout(IMAGE)))), "no tar file"),
    "xz": (lambda: b"\xfd7zXZ\0" + bytes(2000), "compressed by xz"),
    "zip": (lambda: b"PK\x03\x04" + bytes(2000), "compressed by zip"),
    "empty": (lambda: b"", "no tar file"),
    "no archive": (lambda: b"<html>" * 1000, "no tar file"),
    "no images": (lambda: tar(("README", b"x" * 600)), "neither an index.json nor a manifest.json"),
    "wrong digest": (lambda: tar(*damaged(IMAGE)), "other bytes than its name says"),
    "no digest": (lambda: tar(("blobs/sha256/xyz", b"x")), "not named by a digest"),
    "wrong layer": (lambda: tar(*saved("one", config=config_of([b"other"]))), "where its config says"),
    "wrong config": (
        lambda: tar((f"{'0' * 64}.json", b"{}"), *_renamed(saved("one"), f"{'0' * 64}.json")),
        "other bytes than its name says",
    ),
    "too few layers": (lambda: tar(*saved("one", config=config_of([]))), "lists 1 layers, and its config 0"),
    "no layer": (lambda: tar(*saved("one", layers=["nowhere/layer.tar"])), "'nowhere/layer.tar', which is not in it"),
    "a missing blob": (lambda: tar(*without(layout(IMAGE), place(Digest.of(IMAGE.blobs[1])))), "needs sha256:"),
    "a missing manifest": (lambda: tar(*without(layout(IMAGE), place(IMAGE.digest))), "which is not in it"),
    "an index of nothing": (
        lambda: tar(("index.json", b'{"manifests": [{"digest": "x"}]}')),
        "index.json.manifests[0].digest is not a digest",
    ),
    "no JSON": (lambda: tar(("manifest.json", b"]x")), "manifest.json is not JSON"),
    "an odd manifest.json": (lambda: tar(("manifest.json", b'[{"Config": 1}]')), "images[0].Config is not a string"),
    "an impossible tag": (lambda: tar(*layout(IMAGE, "a:b:c/d: ")), "which has no tag that a registry could keep"),
    "links in a circle": (
        lambda: tar(
            *saved("one", layers=["a"]), special("a", tarfile.SYMTYPE, "b"), special("b", tarfile.SYMTYPE, "a")
        ),
        "leads nowhere",
    ),
    "a large document": (lambda: tar(("index.json", b" " * 5 * MIB)), "index.json' of 5242880 bytes"),
    "many documents": (
        lambda: tar(*((f"{number}.json", b"{" + b" " * 4_000_000) for number in range(5))),
        "or too many of them",
    ),
    "a pax bomb": (lambda: _pax("x" * 10 * MIB), "at most 65536 are read"),
}


def _renamed(members, name):
    """The archive of docker whose config is called otherwise."""
    listed = [{**json.loads(members[-1][1])[0], "Config": name}]
    return [*members[1:-1], ("manifest.json", json.dumps(listed).encode())]


def _pax(comment):
    info = tarfile.TarInfo("x")
    info.pax_headers = {"comment": comment}
    return tar((info, b""), form=tarfile.PAX_FORMAT)


@pytest.mark.parametrize("name", HARM)
def test_harm(pusher, client, name):
    """Refused in a sentence; the tags are what they were, and no upload is left open."""
    pusher.push(images.image("before"), "v1")
    make, why = HARM[name]
    assert why in client.refused(make())


def test_a_hundred_gigabytes(client):
    """A member that says that it is larger than a blob may be is refused before its first byte."""
    info = tarfile.TarInfo(place(Digest.of(b"")))
    info.size = 100 * 2**30
    assert "and this registry takes" in client.refused(info.tobuf(tarfile.GNU_FORMAT) + bytes(5000), status=413)


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress], ids=["gzip", "zstd"])
def test_ten_thousand_times_its_size(client, pack):
    """A few kilobytes that unpack to more than any image does are refused when that shows."""
    bomb = pack(tar((place(Digest.of(b"")), bytes(150 * MIB))))
    assert "more than 1000 times its size" in client.refused(bomb)


def test_a_window_of_zstd(client):
    """A frame that would need a lot of memory to be unpacked is refused."""
    options = {zstd.CompressionParameter.window_log: 27, zstd.CompressionParameter.enable_long_distance_matching: 1}
    compressor = zstd.ZstdCompressor(options=options)
    packed = compressor.compress(tar(*layout(IMAGE))) + compressor.flush()
    assert "made without --long" in client.refused(packed)


def test_too_many_members(client):
    """A million members are refused at the hundred thousand and first."""
    one = tarfile.TarInfo("d/")
    one.type = tarfile.DIRTYPE
    archive = gzip.compress(one.tobuf(tarfile.GNU_FORMAT) * 100_001, 1)
    assert "more than 100000 members" in client.refused(archive)


def test_a_form_is_told_what_to_do(client):
    """Browsers without scripts would send a form: it is told what is wanted instead."""
    answer = client.send(b"--x", **{"Content-Type": "multipart/form-data; boundary=x"})
    assert (answer.status, "send the tar file itself" in answer.json["detail"]) == (415, True)


def test_a_client_that_hangs_up(application, pusher, client):
    """Half an archive leaves the tags alone, and no upload open."""
    pusher.push(images.image("before"), "v1")
    before = tags_of(application)
    archive = tar(("blobs/sha256/" + "0" * 64, bytes(3 * MIB)))
    connection = Connection(application.site)
    headers = {"Authorization": basic("devtable", "password"), "Content-Length": str(len(archive))}
    connection.request("POST", f"/api/v1{PATH}/archive", headers, archive[: 2 * MIB])
    assert len(uploads_of(application)) == 1
    connection.lose()
    assert (tags_of(application), uploads_of(application)) == (before, [])
    assert application.core.registry.uploads.live == 0
