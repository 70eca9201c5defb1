"""Bundles through the API: planned, made by a job, fetched, brought in volumes, verified and loaded by jobs."""

import pytest

from quay.database.schema import job as job_table
from quay.model import repository, tag
from quay.oci.reference import RepositoryName
from quay.testdata import images
from tests.http.api.client import Client, audited
from tests.http.application import Repository
from tests.http.console.test_jobs import Node, seen

BUNDLES = "/superuser/bundles"
IMAGE = images.image("one", "two")


@pytest.fixture
def near(make_application):
    application = make_application(SUPER_USERS=["devtable"])
    Repository(application, "devtable/simple", ("devtable", "password")).push(IMAGE, "1.0")
    return Site(application)


@pytest.fixture
def far(make_application):
    """Another registry: its secret is its own, and so is its key."""
    return Site(make_application(SUPER_USERS=["devtable"], SECRET_KEY="the secret of the far side"))


class Site:
    """A registry, as its superuser calls it."""

    def __init__(self, application):
        self.application = application
        self.client = Client(application, "devtable")

    def get(self, path):
        answer = self.client.get(f"{BUNDLES}/{path}")
        assert answer.status == 200, answer
        return answer

    def post(self, path, body, status=201):
        answer = self.client.post(f"{BUNDLES}/{path}", body)
        assert answer.status == status, answer
        return answer.json

    def put(self, path, data, status=200):
        fields = {"Content-Type": "application/octet-stream"}
        answer = self.application.request(
            "PUT", f"/api/v1{BUNDLES}/{path}", fields, data, auth=("devtable", "password")
        )
        assert answer.status == status, answer
        return answer.json

    def work(self, begun):
        """What becomes of the job that was begun."""
        Node(self.application, "bundles").until_idle()
        return seen(self.client, begun["job"])

    def make(self, **order):
        begun = self.post("", {"choices": "devtable/simple", **order})
        assert self.work(begun)["state"] == "done"
        listed = self.get("").json["bundles"]
        return next(one for one in listed if one["uuid"] == begun["uuid"])

    def trust(self, other):
        self.post("keys", {"name": "other", "pem": other.get("").json["pem"]})

    def bring(self, files):
        uuid = self.post("incoming", None)["uuid"]
        for name, data in files.items():
            assert self.put(f"{uuid}/volumes/{name}", data) == {"name": name, "size": len(data)}
        return uuid

    def digest(self, name):
        found = self.application.read(repository.find, RepositoryName.parse(name))
        row = None if found is None else self.application.read(tag.resolve_tag, found.id, "1.0")
        return None if row is None else row.digest


def fetched(site, made):
    return {one["name"]: site.get(f"{made['uuid']}/volumes/{one['name']}").body for one in made["volumes"]}


def test_from_one_to_the_other(near, far):
    """What is planned is made, fetched, brought, verified and loaded, as a push by who asked for it."""
    planned = near.get("plan?choices=devtable%2Fsimple%3A1.*").json
    assert [one["name"] for one in planned["tags"]] == ["devtable/simple:1.0"]
    made = near.make(name="simple")
    assert [one["name"] for one in made["volumes"]] == ["simple"]
    assert made["size"] == planned["size"]
    far.trust(near)
    uuid = far.bring(fetched(near, made))
    verified = far.work(far.post(f"{uuid}/load", {"verify": True}))
    assert (verified["state"], "It is whole." in verified["log"]) == ("done", True)
    assert far.digest("mirror/simple") is None
    loaded = far.work(far.post(f"{uuid}/load", {"into": "devtable=mirror"}))
    assert (loaded["state"], loaded["done"] > 0) == ("done", True)
    assert far.digest("mirror/simple") == IMAGE.digest
    assert [who for who, _ in audited(far.application, "bundle_load")] == ["devtable"]
    far.application.clock.advance(5)
    assert [who for who, _ in audited(far.application, "push_repo")] == ["devtable"]
    assert far.client.delete(f"{BUNDLES}/{uuid}").status == 204
    assert far.get("").json["bundles"] == []


def test_parts(near):
    """A download that broke goes on: a range is what it says."""
    made = near.make()
    [name] = [one["name"] for one in made["volumes"]]
    whole = near.get(f"{made['uuid']}/volumes/{name}")
    assert (len(whole.body), whole.headers["accept-ranges"]) == (made["size"], "bytes")
    rest = near.client.get(f"{BUNDLES}/{made['uuid']}/volumes/{name}", Range="bytes=100-")
    assert (rest.status, rest.body) == (206, whole.body[100:])
    assert near.client.get(f"{BUNDLES}/{made['uuid']}/volumes/order.json").status == 404
    assert near.client.get(f"{BUNDLES}/{made['uuid']}/volumes/{name}", Range="bytes=999999-").status == 416


def test_receipts(near, far):
    """The receipt of the far side is fetched there, brought here, and what it has is left out."""
    far.trust(near)
    near.trust(far)
    far.work(far.post(f"{far.bring(fetched(near, near.make()))}/load", {}))
    receipt = far.get("receipt").body
    near.put("receipts/far", receipt)
    assert [one["name"] for one in near.get("").json["receipts"]] == ["far"]
    planned = near.get("plan?choices=devtable%2Fsimple&receipt=far").json
    assert (planned["count"], planned["unchanged"]) == (0, 1)
    assert near.put("receipts/bad", b"nonsense", status=400)["detail"]
    assert near.put("receipts/far", receipt[:-9] + b"AAAAAAAAA", status=403)
    assert near.get("").json["receipts"] == []
    near.put("receipts/far", receipt)
    assert near.client.delete(f"{BUNDLES}/receipts/far").status == 204
    assert near.client.delete(f"{BUNDLES}/receipts/far").status == 404
    assert len(audited(near.application, "bundle_receipt_put")) == 2
    assert len(audited(near.application, "bundle_receipt_delete")) == 1


def test_who_is_not_trusted(near, far):
    """A bundle by a stranger is not loaded unless one says so; the job says why."""
    uuid = far.bring(fetched(near, near.make()))
    refused = far.work(far.post(f"{uuid}/load", {}))
    assert (refused["state"], "nobody here trusts" in refused["log"]) == ("failed", True)
    assert far.digest("devtable/simple") is None
    assert far.work(far.post(f"{uuid}/load", {"unsigned": True}))["state"] == "done"
    far.trust(near)
    assert [one["name"] for one in far.get("").json["keys"]] == ["this registry", "other"]
    assert far.client.delete(f"{BUNDLES}/keys/other").status == 204
    assert far.client.delete(f"{BUNDLES}/keys/other").status == 404


def test_what_is_refused(near):
    """What cannot be is refused before a job begins; no name leads out of the directory of a bundle."""
    assert near.post("", {"choices": ""}, status=400)
    assert near.post("", {"choices": "Not A Name"}, status=400)
    assert near.post("", {"choices": "devtable/simple", "receipt": "../../quay.db"}, status=400)
    for name in ("../x", "order.json", "x.part", ".x"):
        assert near.post("", {"choices": "devtable/simple", "name": name}, status=400)
    assert near.get("").json["bundles"] == []
    assert near.client.get(f"{BUNDLES}/plan?choices=devtable/nothing").status == 400
    made = near.make()
    near.put(f"{made['uuid']}/volumes/more", b"x", status=409)
    uuid = near.post("incoming", None)["uuid"]
    near.post(f"{uuid}/load", {}, status=409)
    for name in ("order.json", ".hidden", "x.part", "%2e%2e%2fx", "a" * 101):
        assert near.put(f"{uuid}/volumes/{name}", b"x", status=400 if "%2f" not in name else 404)
    near.put(f"{uuid}/volumes/x", b"x")
    near.post(f"{uuid}/load", {"into": "a=b=c/d"}, status=400)
    for other in ("../../x", "00000000-0000-4000-8000-000000000000"):
        near.post(f"{other.replace('/', '%2f')}/load", {}, status=404)


def test_one_at_a_time(near):
    """While a bundle is made, another one waits for somebody to ask again; the first is cancelled like any job."""
    begun = near.post("", {"choices": "devtable/simple"})
    near.post("", {"choices": "devtable/simple"}, status=409)
    assert near.client.delete(f"/superuser/jobs/{begun['job']}").status == 204
    assert seen(near.client, begun["job"])["state"] == "cancelled"


def test_begun_again(near, far):
    """A load that is interrupted knows its bundle when it is taken up again."""
    far.trust(near)
    begun = far.post(f"{far.bring(fetched(near, near.make()))}/load", {})

    def interrupted(txn):
        txn.execute(job_table.update().values(state="running"))

    far.application.write(interrupted)
    again = far.work(begun)
    assert (again["state"], "The server stopped in the middle" in again["log"]) == ("done", True)
    assert far.digest("devtable/simple") == IMAGE.digest


def test_kept_for_a_while(near, monkeypatch):
    """What nobody touched for a week is removed."""
    made = near.make()
    near.application.clock.advance(1)
    monkeypatch.setattr("quay.bundles.depot.KEPT_S", -(10**9))
    assert made["uuid"]
    assert near.get("").json["bundles"] == []
