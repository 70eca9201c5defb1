"""Tags through the API: lists, moves, expiry, locks, deletion and the time machine."""

import pytest

from quay.model import namespace, permission, repository
from quay.model.permission import Role
from quay.oci.reference import RepositoryName
from quay.testdata import images
from tests.http.api.client import Client, audited
from tests.http.application import NOW, Repository

HOUR = 3600
DAY = 24 * HOUR
FIRST, SECOND = images.image("first"), images.image("second")


@pytest.fixture
def application(make_application):
    return make_application(PERMANENTLY_DELETE_TAGS=True)


@pytest.fixture
def pusher(application):
    return Repository(application, "devtable/simple", ("devtable", "password"))


@pytest.fixture
def tags(application):
    """Calls of devtable on the tags of devtable/simple."""
    return Tags(Client(application, "devtable"))


class Tags:
    def __init__(self, client, name="devtable/simple"):
        self.client, self.root = client, f"/repository/{name}/tag/"

    def list(self, query=""):
        answer = self.client.get(f"{self.root}?{query}")
        assert answer.status == 200, answer
        return answer.json["tags"]

    def put(self, tag, **body):
        return self.client.put(self.root + tag, body)

    def delete(self, tag):
        return self.client.delete(self.root + tag)

    def restore(self, tag, digest):
        return self.client.post(f"{self.root}{tag}/restore", {"manifest_digest": digest})

    def forget(self, tag, digest, **body):
        return self.client.post(f"{self.root}{tag}/expire", {"manifest_digest": digest} | body)


def writer(application):
    """reader, who may write to devtable/simple."""
    found = application.read(repository.find, RepositoryName("devtable", "simple"))
    who = application.read(namespace.find, "reader")
    application.write(permission.grant, found.id, grantee_id=who.id, role=Role.WRITE)
    return Tags(Client(application, "reader"))


# --- lists --------------------------------------------------------------------------------------------------------


def test_view(application, pusher, tags):
    """A tag shows what it names, since when, and when it ended; the latest comes first."""
    pusher.push(FIRST, "latest")
    application.clock.advance(10)
    pusher.push(images.index(SECOND), "latest")
    now, before = tags.list()
    assert now == {
        "name": "latest",
        "reversion": False,
        "immutable": False,
        "start_ts": NOW + 10,
        "manifest_digest": images.index(SECOND).digest,
        "is_manifest_list": True,
        "size": now["size"],
        "last_modified": "Mon, 21 Sep 2026 14:13:30 -0000",
    }
    assert now["size"] > len(SECOND.raw)
    assert (before["start_ts"], before["end_ts"]) == (NOW, NOW + 10)
    assert before["expiration"] == "Mon, 21 Sep 2026 14:13:30 -0000"
    assert not before["is_manifest_list"]
    shown = tags.client.get("/repository/devtable/simple").json["tags"]
    assert shown == {
        "latest": {
            "name": "latest",
            "size": now["size"],
            "last_modified": now["last_modified"],
            "manifest_digest": now["manifest_digest"],
        }
    }


def test_filters(application, pusher, tags):
    """A list has one tag, those with a part in their names, or those that are there now."""
    for name in ("v1.0", "v1.1", "V1_2", "other"):
        pusher.push(FIRST, name)
    tags.delete("other")
    assert [one["name"] for one in tags.list()] == ["other", "V1_2", "v1.1", "v1.0"]
    assert [one["name"] for one in tags.list("onlyActiveTags=true")] == ["V1_2", "v1.1", "v1.0"]
    assert [one["name"] for one in tags.list("specificTag=v1.0")] == ["v1.0"]
    assert [one["name"] for one in tags.list("filter_tag_name=eq:v1.1")] == ["v1.1"]
    assert [one["name"] for one in tags.list("filter_tag_name=like:v1")] == ["V1_2", "v1.1", "v1.0"]
    assert [one["name"] for one in tags.list("filter_tag_name=like:1.")] == ["v1.1", "v1.0"]
    for pattern in ("%25", "_2%25", "v1_0", "*"):  # what is a wildcard elsewhere is a character here
        assert tags.list(f"filter_tag_name=like:{pattern}") == []
    assert [one["name"] for one in tags.list("filter_tag_name=like:_")] == ["V1_2"]


@pytest.mark.parametrize(
    "query",
    ["limit=101", "limit=0", "limit=x", "page=0", "page=99999999999", "filter_tag_name=v1", "filter_tag_name=like:"],
)
def test_bad_queries(tags, query):
    """Queries that make no sense are refused."""
    assert tags.client.get(f"{tags.root}?{query}").status == 400


def test_pages(application, pusher, tags):
    """Pages have as many tags as was asked for, and say whether there are more."""
    for number in range(5):
        pusher.push(FIRST, f"t{number}")
    pages = [tags.client.get(f"{tags.root}?limit=2&page={page}").json for page in (1, 2, 3, 4)]
    assert [[one["name"] for one in page["tags"]] for page in pages] == [["t4", "t3"], ["t2", "t1"], ["t0"], []]
    assert [(page["page"], page["has_additional"]) for page in pages] == [(1, True), (2, True), (3, False), (4, False)]


def test_who_may_list(application):
    """Tags are for those who may read; an application holds none."""
    path = "/repository/devtable/shared/tag/"
    assert Client(application, "reader").get(path).status == 200
    assert Client(application, "freshuser").get(path).status == 403
    assert Client(application).get(path).status == 401
    assert Client(application).get("/repository/public/publicrepo/tag/").status == 200
    assert Client(application, "devtable").get("/repository/devtable/someapp/tag/").status == 501


def test_detailed(application, pusher, tags):
    """A detailed list says what is attached to each tag, and for which platforms, and has no tags of cosign's."""
    child = images.image("child", architecture="arm64")
    pusher.push(images.index(child), "multi")
    pusher.push(FIRST, "signed")
    pusher.push(SECOND, f"{FIRST.digest.replace(':', '-')}.sig")
    pusher.push(images.artifact("application/spdx+json", b"{}", subject=FIRST))
    signed, multi = tags.list("onlyActiveTags=true&detailed=true")
    assert (signed["name"], signed["attached"], signed.get("platforms")) == ("signed", ["sbom", "signature"], None)
    assert (multi["name"], multi["attached"], multi["platforms"]) == ("multi", [], ["linux/arm64"])
    assert "attached" not in tags.list("specificTag=signed")[0]


# --- moving -------------------------------------------------------------------------------------------------------


def test_move(application, pusher, tags):
    """A tag is made and moved without a push; pulls see it at once, and the record says which it was."""
    pusher.push(FIRST, "a")
    pusher.push(SECOND, "b")
    answer = tags.put("new", manifest_digest=FIRST.digest)
    assert (answer.status, answer.json) == (201, "Updated")
    assert pusher.head("manifests/new").headers["docker-content-digest"] == FIRST.digest
    assert tags.put("new", manifest_digest=SECOND.digest).status == 201
    assert pusher.head("manifests/new").headers["docker-content-digest"] == SECOND.digest
    assert tags.put("new", manifest_digest=SECOND.digest).status == 201
    ((_, created),) = audited(application, "create_tag")
    assert (created["tag"], created["manifest_digest"]) == ("new", FIRST.digest)
    ((_, moved),) = audited(application, "move_tag")
    assert (moved["manifest_digest"], moved["original_manifest_digest"]) == (SECOND.digest, FIRST.digest)
    application.clock.advance(5)
    assert {details["tag"] for _, details in audited(application, "push_repo")} == {"a", "b"}


def test_move_to_what_is_not_there(application, pusher, tags):
    """A manifest that this repository has not got, or that is none, is 404, and a name that is no tag is 400."""
    pusher.push(FIRST, "a")
    foreign = Repository(application, "devtable/complex", ("devtable", "password"))
    foreign.push(SECOND, "b")
    assert tags.put("a", manifest_digest=SECOND.digest).status == 404
    assert tags.put("a", manifest_digest="wemv").status == 404
    assert tags.put("a", image="WXNG").status == 404
    assert tags.put(".a", manifest_digest=FIRST.digest).status == 400
    assert tags.put("x" * 129, manifest_digest=FIRST.digest).status == 400
    assert tags.put("a").status == 400
    assert tags.put("a", manifest_digest=7).status == 400


def test_who_may_change(application, pusher, tags):
    """Tags are changed by those who may write, not by readers, and not where nothing may be pushed."""
    pusher.push(FIRST, "a")
    reader = Tags(Client(application, "reader"), "devtable/shared")
    for path, answer in (("put", reader.put("a", expiration=None)), ("delete", reader.delete("a"))):
        assert answer.status == 403, path
    assert reader.restore("a", FIRST.digest).status == 403
    assert writer(application).put("a", expiration=None).status == 201


# --- expiry -------------------------------------------------------------------------------------------------------


def test_expire(application, pusher, tags):
    """A tag is made to expire, and does; or never again. The record has both dates."""
    pusher.push(FIRST, "a")
    assert tags.put("a", expiration=NOW + HOUR).status == 201
    assert tags.list()[0]["end_ts"] == NOW + HOUR
    assert tags.put("a", expiration=None).status == 201
    assert "end_ts" not in tags.list()[0]
    assert tags.put("a", expiration=NOW + HOUR).status == 201
    application.clock.advance(HOUR)
    assert pusher.head("manifests/a").status == 404
    assert tags.list("onlyActiveTags=true") == []
    first, second, _ = (details for _, details in audited(application, "change_tag_expiration"))
    assert (first["expiration_date"], first["old_expiration_date"]) == ("Mon, 21 Sep 2026 15:13:20 -0000", None)
    assert (second["expiration_date"], second["old_expiration_date"]) == (None, "Mon, 21 Sep 2026 15:13:20 -0000")


@pytest.mark.parametrize("when", [NOW, 0, -1, 1e300, 2**62, "tomorrow", True])
def test_expire_when_it_cannot(pusher, tags, when):
    """The past, what is beyond all calendars, and what is no time are refused."""
    pusher.push(FIRST, "a")
    assert tags.put("a", expiration=when).status == 400


def test_expire_what_is_not_there(tags):
    """A tag that there is not cannot expire."""
    assert tags.put("none", expiration=NOW + HOUR).status == 404


def test_expiry_forbidden(make_application):
    """Where users may not change it, they do not."""
    application = make_application(FEATURE_CHANGE_TAG_EXPIRATION=False)
    Repository(application, "devtable/simple", ("devtable", "password")).push(FIRST, "a")
    assert Tags(Client(application, "devtable")).put("a", expiration=NOW + HOUR).status == 400


# --- locks --------------------------------------------------------------------------------------------------------


def test_locked(application, pusher, tags):
    """An immutable tag is neither moved nor deleted nor made to expire, by no way in; a push of the same is fine."""
    pusher.push(FIRST, "v1")
    pusher.push(SECOND, "other")
    assert tags.put("v1", immutable=True).status == 201
    assert tags.list("specificTag=v1")[0]["immutable"]
    for answer in (
        tags.put("v1", manifest_digest=SECOND.digest),
        tags.put("v1", expiration=NOW + HOUR),
        tags.delete("v1"),
        tags.forget("v1", FIRST.digest, is_alive=True),
    ):
        assert (answer.status, answer.json["error_type"]) == (409, "tag_immutable")
    for answer in (
        pusher.put("v1", SECOND.raw, SECOND.media_type),
        pusher.request("DELETE", "manifests/v1"),
        pusher.request("DELETE", f"manifests/{FIRST.digest}"),
    ):
        assert (answer.status, answer.code) == (409, "TAG_ALREADY_EXISTS")
    assert pusher.put("v1", FIRST.raw, FIRST.media_type).status == 201
    assert tags.list("specificTag=v1")[0]["immutable"]
    assert pusher.head("manifests/v1").headers["docker-content-digest"] == FIRST.digest
    assert [details["immutable"] for _, details in audited(application, "change_tag_immutability")] == [True]


def test_locks_do_not_expire(application, pusher, tags):
    """What is to expire cannot be locked until it expires never; a label in a push does not undo that."""
    pusher.push(FIRST, "a")
    tags.put("a", expiration=NOW + HOUR)
    answer = tags.put("a", immutable=True)
    assert (answer.status, "is to expire" in answer.json["detail"]) == (400, True)
    assert tags.put("a", immutable=True, expiration=None).status == 201
    labelled = images.image("labelled", labels={"quay.expires-after": "2h"})
    pusher.push(labelled, "b")
    tags.put("b", expiration=None, immutable=True)
    pusher.push(labelled, "b")
    application.clock.advance(DAY)
    assert {one["name"] for one in tags.list("onlyActiveTags=true")} == {"a", "b"}


def test_unlock(application, pusher, tags):
    """Whoever may write locks a tag; only an administrator unlocks it, and may change it in the same call."""
    pusher.push(FIRST, "a")
    pusher.push(SECOND, "b")
    mine = writer(application)
    assert mine.put("a", immutable=True).status == 201
    assert mine.put("a", immutable=False).status == 403
    assert tags.list("specificTag=a")[0]["immutable"]
    assert tags.put("a", immutable=False, manifest_digest=SECOND.digest).status == 201
    assert not tags.list("specificTag=a")[0]["immutable"]
    assert mine.put("none", immutable=True).status == 404


def test_no_locks(make_application):
    """Where there are no immutable tags, none is made."""
    application = make_application(FEATURE_IMMUTABLE_TAGS=False)
    Repository(application, "devtable/simple", ("devtable", "password")).push(FIRST, "a")
    assert Tags(Client(application, "devtable")).put("a", immutable=True).status == 400


# --- deleting and restoring ---------------------------------------------------------------------------------------


def test_delete(application, pusher, tags):
    """A tag is deleted once, and on record once."""
    pusher.push(FIRST, "a")
    assert tags.delete("a").status == 204
    assert pusher.head("manifests/a").status == 404
    assert tags.delete("a").status == 400
    application.clock.advance(5)
    ((_, details),) = audited(application, "delete_tag")
    assert (details["tag"], details["manifest_digest"]) == ("a", FIRST.digest)


def test_restore(application, pusher, tags):
    """A tag comes back to what it named, as a reversion; not to what it never named."""
    pusher.push(FIRST, "a")
    pusher.push(SECOND, "b")
    tags.delete("a")
    assert tags.restore("a", SECOND.digest).status == 404
    assert tags.restore("a", "wemv").status == 404
    assert tags.client.post(tags.root + "a/restore", {}).status == 400
    answer = tags.restore("a", FIRST.digest)
    assert (answer.status, answer.json) == (200, {})
    assert pusher.head("manifests/a").status == 200
    assert tags.list("specificTag=a")[0]["reversion"]
    ((_, details),) = audited(application, "revert_tag")
    assert details["manifest_digest"] == FIRST.digest


def test_restore_too_late(application, pusher, tags):
    """The time machine reaches as far back as the namespace says."""
    pusher.push(FIRST, "a")
    tags.delete("a")
    application.clock.advance(15 * DAY)
    assert tags.restore("a", FIRST.digest).status == 404


def test_forget(application, pusher, tags):
    """What was put beyond restoration is in no history, and cannot be restored."""
    pusher.push(FIRST, "a")
    assert tags.forget("a", FIRST.digest).status == 400
    tags.delete("a")
    assert tags.forget("a", SECOND.digest).status == 400
    answer = tags.forget("a", FIRST.digest)
    assert (answer.status, answer.json) == (200, "")
    assert tags.list() == []
    assert tags.restore("a", FIRST.digest).status == 404
    pusher.push(SECOND, "b")
    assert tags.forget("b", SECOND.digest, is_alive=True, include_submanifests=True).status == 200
    assert pusher.head("manifests/b").status == 404
    assert [details["tag"] for _, details in audited(application, "permanently_delete_tag")] == ["a", "b"]


def test_forget_only_where_it_is_allowed(make_application):
    """Without PERMANENTLY_DELETE_TAGS there is no such call."""
    application = make_application()
    Repository(application, "devtable/simple", ("devtable", "password")).push(FIRST, "a")
    assert Tags(Client(application, "devtable")).forget("a", FIRST.digest).status in (404, 405)
