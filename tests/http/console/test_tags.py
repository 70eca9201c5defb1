"""The tags of a repository: listed, fetched, moved, made to expire, locked, deleted and restored."""

import pytest

from quay.model import namespace, permission, repository
from quay.model.permission import Role
from quay.oci.reference import RepositoryName
from quay.testdata import images
from tests.http.api.client import Client, audited
from tests.http.application import NOW, Repository
from tests.http.console.test_repository import HOSTILE, safe, told
from tests.http.console.visitor import Visitor

HOME = "/repository/devtable/simple"
DAY = 24 * 3600
FIRST, SECOND = images.image("first"), images.image("second")


@pytest.fixture
def application(make_application):
    return make_application(PERMANENTLY_DELETE_TAGS=True)


@pytest.fixture
def pusher(application):
    return Repository(application, "devtable/simple", ("devtable", "password"))


@pytest.fixture
def devtable(application, pusher):
    pusher.push(FIRST, "v1")
    return Visitor(application, "devtable")


def tags(application):
    """What each tag names now."""
    found = Client(application, "devtable").get("/repository/devtable/simple/tag/?onlyActiveTags=true").json["tags"]
    return {tag["name"]: tag for tag in found}


def one(visitor, tag="v1"):
    return visitor.open(f"{HOME}?tab=tags&tag={tag}")


# --- the list -----------------------------------------------------------------------------------------------------


def test_row(devtable, pusher):
    """A row has the tag, its digest as a link to the manifest, its size, and its platforms if it is an index."""
    pusher.push(images.index(SECOND), "multi")
    page = devtable.open(f"{HOME}?tab=tags")
    text = safe(page)
    assert f"{HOME}/manifest/{FIRST.digest}" in page.links
    assert FIRST.digest[:19] in text
    assert "linux/amd64" in text


def test_last_pulled(devtable, pusher):
    """A row says when the tag was pulled last; the tag, its manifest and the repository say how often, too."""
    assert "Nobody has pulled from it yet." in devtable.open(HOME).text
    pusher.push(SECOND, "v2")
    pusher.pull("v1")
    page = devtable.open(f"{HOME}?tab=tags")
    assert "Last pulled" in page.text
    assert one(devtable).text.count("1 time, the last") == 1
    assert "1 time, the last" in devtable.open(f"{HOME}/manifest/{FIRST.digest}").text
    assert "Pulled 1 time, the last" in devtable.open(HOME).text
    assert "1 time" not in one(devtable, "v2").text


def test_many_platforms(devtable, pusher):
    """Of many platforms some are named, and the rest is counted."""
    children = [images.image(name, architecture=name) for name in ("amd64", "arm64", "ppc64le", "riscv64", "s390x")]
    pusher.push(images.index(*children), "multi")
    text = devtable.open(f"{HOME}?tab=tags").text
    assert "linux/amd64, linux/arm64, linux/ppc64le" in text
    assert "and 2 more" in text


def test_signed(devtable, pusher):
    """The tag by which something is signed is folded into a badge of what it signs."""
    signature = f"{FIRST.digest.replace(':', '-')}.sig"
    pusher.push(SECOND, signature)
    page = devtable.open(f"{HOME}?tab=tags")
    assert "signed" in page.text
    assert signature not in page.html


def test_pages(devtable, pusher):
    """A long list has pages, each an address."""
    for number in range(55):
        pusher.put(f"n{number:02}", FIRST.raw, FIRST.media_type)
    first = devtable.open(f"{HOME}?tab=tags")
    second = devtable.open(f"{HOME}?tab=tags&page=2")
    assert f"{HOME}?tab=tags&page=2" in first.links
    assert f"{HOME}?tab=tags" in second.links
    assert "n54" in first.text
    assert "n54" not in second.text
    assert "v1" in second.text
    assert "There are no more tags." in devtable.open(f"{HOME}?tab=tags&page=9").text
    assert "n54" in devtable.open(f"{HOME}?tab=tags&page=x").text


def test_filter(devtable, pusher):
    """A filter shows the tags with that in their names; what was typed is not markup."""
    pusher.push(SECOND, "other")
    links = devtable.open(f"{HOME}?tab=tags&filter=th").links
    assert f"{HOME}?tab=tags&filter=th&tag=other" in links
    assert not any("v1" in link for link in links)
    assert "No tag has" in safe(devtable.open(f"{HOME}?tab=tags&filter=%3Cscript%3Ealert(1)%3C/script%3E"))


def test_empty(application):
    """A repository without tags shows how to push to it, with one's own name; to readers, only that it is empty."""
    page = Visitor(application, "devtable").open(f"{HOME}?tab=tags")
    assert "docker login -u devtable registry.test:5000" in page.text
    assert "docker push registry.test:5000/devtable/simple:latest" in page.text
    assert "docker push" not in Visitor(application, "reader").open("/repository/devtable/shared?tab=tags").text


# --- fetching -----------------------------------------------------------------------------------------------------


def test_fetch(devtable):
    """The commands to fetch a tag are ready for each tool, as oneself or as one's robot."""
    page = devtable.open(f"{HOME}?tab=tags&fetch=v1")
    image = "registry.test:5000/devtable/simple"
    for command in (f"docker pull {image}:v1", f"podman pull --tls-verify=false {image}:v1", f"{image}@{FIRST.digest}"):
        assert command in page.text
    assert "docker login -u devtable registry.test:5000" in page.text
    robot = devtable.open(f"{HOME}?tab=tags&fetch=v1&as=devtable%2Bdtrobot")
    assert "docker login -u devtable+dtrobot registry.test:5000" in robot.text
    assert "/user/devtable/robots/dtrobot" in robot.links


def test_fetch_as_a_stranger(devtable, application):
    """Nobody gets commands for a robot that is none of his, nor is the name markup."""
    assert devtable.get(f"{HOME}?tab=tags&fetch=v1&as=buynlarge%2Bownerbot").status == 400
    page = devtable.open(f"{HOME}?tab=tags&fetch=v1&as=%3Cscript%3Ealert(1)%3C/script%3E")
    assert "<script>alert" not in page.html


def test_fetch_of_a_public_repository(application):
    """Whoever may pull without a login is not asked for one."""
    Repository(application, "public/publicrepo", ("public", "password")).push(FIRST, "v1")
    page = Visitor(application).open("/repository/public/publicrepo?tab=tags&fetch=v1")
    assert "docker pull registry.test:5000/public/publicrepo:v1" in page.text
    assert "docker login" not in page.text


def test_fetch_what_is_not_there(devtable):
    """A tag that is not there is not fetched."""
    assert devtable.get(f"{HOME}?tab=tags&fetch=none").status == 404
    assert devtable.get(f"{HOME}?tab=tags&tag=none").status == 404


# --- one tag ------------------------------------------------------------------------------------------------------


def test_another_tag(application, devtable, pusher):
    """Another tag is made for the same manifest, or moves to it."""
    page = devtable.send(one(devtable).form("changeTag", field__manifest_digest=FIRST.digest), path__tag="stable")
    assert told(page) == ("done", "The tag is set.")
    assert tags(application)["stable"]["manifest_digest"] == FIRST.digest
    pusher.push(SECOND, "v2")
    devtable.send(one(devtable, "v2").form("changeTag", field__manifest_digest=SECOND.digest), path__tag="stable")
    assert tags(application)["stable"]["manifest_digest"] == SECOND.digest
    assert [details["tag"] for _, details in audited(application, "move_tag")] == ["stable"]


def test_another_tag_that_is_none(devtable):
    """What cannot be a tag is refused on the page, and is not markup there."""
    page = devtable.send(one(devtable).form("changeTag", field__manifest_digest=FIRST.digest), path__tag=HOSTILE)
    assert told(page)[0] == "wrong"


def expiry(page):
    forms = [form for form in page.forms if form.action == "/do/changeTag" and "field.expiration" in form.names]
    (form,) = [form for form in forms if "Set" in form.text]
    return form


def test_expiry(application, devtable):
    """A tag gets an expiry from a calendar, in UTC, and loses it with a button."""
    devtable.send(expiry(one(devtable)), field__expiration="2026-12-31T12:30")
    assert tags(application)["v1"]["end_ts"] == 1798720200
    page = one(devtable)
    assert "2026-12-31T12:30:00Z" in page.text
    (never,) = [form for form in page.forms if "never expire" in form.text]
    devtable.send(never)
    assert "end_ts" not in tags(application)["v1"]


@pytest.mark.parametrize("moment", ["2020-01-01T00:00", "soon", "99999-01-01T00:00"])
def test_expiry_that_cannot_be(application, devtable, moment):
    """What is past, or no time, is refused, and the tag stays as it is."""
    page = devtable.send(expiry(one(devtable)), field__expiration=moment)
    assert told(page)[0] == "wrong"
    assert "end_ts" not in tags(application)["v1"]


def writer(application):
    found = application.read(repository.find, RepositoryName("devtable", "simple"))
    who = application.read(namespace.find, "reader")
    application.write(permission.grant, found.id, grantee_id=who.id, role=Role.WRITE)
    return Visitor(application, "reader")


def test_lock(application, devtable):
    """A locked tag says so, and offers no deletion; only an administrator is offered to unlock it."""
    devtable.send(one(devtable).form("changeTag", field__immutable="1"))
    assert tags(application)["v1"]["immutable"] is True
    page = one(devtable)
    assert "locked" in page.text
    assert not any(form.action == "/do/deleteFullTag" for form in page.forms)
    offered = [form for form in one(writer(application)).forms if form.action == "/do/changeTag"]
    assert not any("field.immutable" in form.names for form in offered)
    devtable.send(page.form("changeTag", field__immutable="0"))
    assert tags(application)["v1"]["immutable"] is False


def test_delete(application, devtable):
    """A deleted tag is gone from the list, and in the history, from which it comes back."""
    page = devtable.send(one(devtable).form("deleteFullTag", path__tag="v1"))
    assert told(page)[1].startswith("The tag v1 is deleted.")
    assert tags(application) == {}
    history = devtable.open(f"{HOME}?tab=history")
    page = devtable.send(history.form("restoreTag", path__tag="v1"))
    assert tags(application)["v1"]["manifest_digest"] == FIRST.digest
    assert "restored" in page.text
    assert [kind for kind in ("delete_tag", "revert_tag") if audited(application, kind)] == ["delete_tag", "revert_tag"]


def chosen(visitor, what="The chosen tags are deleted"):
    """The form around the list, with the button pressed that promises so."""
    (form,) = [form for form in visitor.open(f"{HOME}?tab=tags").forms if form.action == "/do-each/deleteFullTag"]
    return form.pressed(what)


def test_delete_several(application, devtable, pusher):
    """All the tags whose boxes are checked go at once."""
    for name in ("v2", "v3"):
        pusher.push(SECOND, name)
    page = devtable.send(chosen(devtable), path__tag=["v1", "v3"])
    assert told(page)[1].startswith("The chosen tags are deleted.")
    assert set(tags(application)) == {"v2"}


def test_delete_some(application, devtable, pusher):
    """Where one cannot go, the others do, and it is said which not."""
    pusher.push(SECOND, "v2")
    form = chosen(devtable)
    devtable.send(one(devtable).form("changeTag", field__immutable="1"))
    page = devtable.send(form, path__tag=["v1", "v2"])
    assert told(page)[1].startswith("1 of 2 were not done.")
    assert set(tags(application)) == {"v1"}


def test_delete_nothing(application, devtable):
    """No box is no deletion, and it is said."""
    assert told(devtable.send(chosen(devtable)))[1].startswith("Nothing was chosen")
    assert set(tags(application)) == {"v1"}


def test_delete_without_the_right(application, devtable):
    """Whoever sends the form without the right deletes nothing."""
    found = application.read(repository.find, RepositoryName("devtable", "simple"))
    who = application.read(namespace.find, "reader")
    application.write(permission.grant, found.id, grantee_id=who.id, role=Role.READ)
    reader = Visitor(application, "reader")
    form = chosen(devtable)
    token = reader.open("/").form("logout").first("_csrf_token")
    page = reader.send(form, _csrf_token=token, path__tag=["v1"])
    assert told(page)[0] == "wrong"
    assert set(tags(application)) == {"v1"}


def test_lock_several(application, devtable, pusher):
    """All the tags whose boxes are checked are locked, and nothing else happens to them."""
    pusher.push(SECOND, "v2")
    client = Client(application, "devtable")
    client.put("/repository/devtable/simple/tag/v2", {"expiration": NOW + DAY})
    page = devtable.send(chosen(devtable, "The chosen tags are locked"), path__tag=["v1", "v2"])
    assert "1 of 2 were not done" in told(page)[1] and "let it expire never first" in told(page)[1]
    found = tags(application)
    assert (found["v1"]["immutable"], found["v2"]["immutable"]) == (True, False)
    assert found["v2"]["end_ts"] == NOW + DAY


def test_expire_several(application, devtable, pusher):
    """All the tags whose boxes are checked get the same expiry; none is locked by it."""
    pusher.push(SECOND, "v2")
    form = chosen(devtable, "The expiry of the chosen tags")
    assert told(devtable.send(form, path__tag=["v1", "v2"], field__expiration="2026-12-24T18:00"))[0] == "done"
    found = tags(application)
    assert {found[name]["expiration"] for name in ("v1", "v2")} == {"Thu, 24 Dec 2026 18:00:00 -0000"}
    assert not found["v1"]["immutable"]


# --- the history --------------------------------------------------------------------------------------------------


def test_history(application, devtable, pusher):
    """The history has each lifetime; of one tag, if it is asked for."""
    application.clock.advance(10)
    pusher.push(SECOND, "v1")
    pusher.push(SECOND, "other")
    page = devtable.open(f"{HOME}?tab=history&tag=v1")
    assert "other" not in page.text
    assert page.form("restoreTag").first("field.manifest_digest") == FIRST.digest
    assert len([form for form in page.forms if form.action == "/do/restoreTag"]) == 1
    assert "other" in devtable.open(f"{HOME}?tab=history").text


def test_history_reaches_so_far(application, devtable):
    """What lies further back than the time machine reaches is not offered to be restored."""
    devtable.send(one(devtable).form("deleteFullTag", path__tag="v1"))
    application.clock.advance(15 * DAY)
    page = Visitor(application, "devtable").open(f"{HOME}?tab=history")
    assert "v1" in page.text
    assert not page.has("restoreTag")


def test_for_good(application, devtable):
    """What is deleted for good is not in the history any more."""
    devtable.send(one(devtable).form("deleteFullTag", path__tag="v1"))
    page = devtable.send(devtable.open(f"{HOME}?tab=history").form("removeTagFromTimemachine"))
    assert told(page) == ("done", "That is gone for good.")
    assert not page.has("restoreTag")


def test_history_of_nothing(devtable):
    """A tag that never was has no history; its name is not markup."""
    assert "There was never a tag" in safe(devtable.open(f"{HOME}?tab=history&tag=%3Cscript%3Ealert(1)%3C/script%3E"))


def test_restore_several(application, devtable, pusher):
    """All the lifetimes whose boxes are checked come back, each as what it was."""
    pusher.push(SECOND, "v2")
    devtable.send(chosen(devtable), path__tag=["v1", "v2"])
    page = devtable.open(f"{HOME}?tab=history")
    boxes = [known["value"] for tag, known in page.elements if known.get("name") == "each"]
    assert all(known["form"] == "restore" for tag, known in page.elements if known.get("name") == "each")
    (form,) = [form for form in page.forms if form.action == "/do-each/restoreTag"]
    form.names.add("each")
    page = devtable.send(form, each=boxes)
    assert told(page) == ("done", "The chosen tags name again what they named.")
    assert {name: tag["manifest_digest"] for name, tag in tags(application).items()} == {
        "v1": FIRST.digest,
        "v2": SECOND.digest,
    }


def test_times(devtable):
    """Times are there for machines, too: of the push, and until when what is deleted now can be restored."""
    page = devtable.open(f"{HOME}?tab=tags")
    stamps = {attributes["datetime"] for tag, attributes in page.elements if tag == "time"}
    assert stamps == {"2026-09-21T14:13:20Z", "2026-10-05T14:13:20Z"}
    assert NOW == 1_790_000_000
