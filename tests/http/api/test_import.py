"""Imports through the API and the console: asked for, looked at before they are taken, and no password is shown."""

import json

import pytest

from quay.database.schema import job as job_table
from quay.importing.remote import SECRET
from quay.model import job
from tests.http.api.client import Client, audited
from tests.http.console.visitor import Visitor

WANTED = {"registry": "registry.example.com:5000", "repositories": "team/* other/app", "username": "me"}


@pytest.fixture
def application(make_application):
    return make_application(SUPER_USERS=["devtable"])


@pytest.fixture
def client(application):
    return Client(application, "devtable")


def ask(client, **body):
    return client.post("/superuser/imports/", body)


def cursor_of(application, uuid):
    return application.read(lambda txn: job.find(txn, uuid)).cursor


def test_an_import_is_a_job(application, client):
    """What is wanted waits with the job, the password sealed; who asked for it is on record, and no password is."""
    answer = ask(client, **WANTED, password="secret-there", into="mirror", dry_run=True)
    assert answer.status == 201, answer
    uuid = answer.json["job"]
    found = client.get(f"/superuser/jobs/{uuid}").json
    assert (found["kind"], found["state"], found["requester"]) == ("import", "waiting", "devtable")
    kept = cursor_of(application, uuid)
    assert kept["repositories"] == ["team/*", "other/app"]
    assert (kept["into"], kept["dry_run"], kept["public"]) == ("mirror", True, False)
    assert application.core.vault.open(SECRET, kept["password"]) == b"secret-there"
    assert [details["registry"] for _, details in audited(application, "import_registry")] == [WANTED["registry"]]
    rows = application.read(lambda txn: [dict(row._mapping) for row in txn.execute(job_table.select())])
    assert "secret-there" not in json.dumps(rows) + json.dumps(found)


def test_one_at_a_time(client):
    """While one waits or runs, there is no second one."""
    assert ask(client, registry="registry.example.com").status == 201
    assert ask(client, registry="other.example.com").status == 409


@pytest.mark.parametrize(
    "body",
    [
        {"registry": "http://169.254.169.254"},
        {"registry": "http://127.0.0.1:5000"},
        {"registry": "ftp://registry.example.com"},
        {"registry": "registry.example.com", "into": "No Such Name"},
        {"registry": "registry.example.com", "username": "me"},
        {"registry": "registry.example.com", "password": "secret"},
        {"registry": "registry.example.com", "tags": "x " * 200},
        {"registry": "me:secret@registry.example.com"},
        {},
    ],
)
def test_what_cannot_be_is_refused(client, body):
    """Addresses that are closed, names that cannot be, half of the credentials: refused before there is a job."""
    answer = ask(client, **body)
    assert answer.status == 400, answer
    assert client.get("/superuser/jobs/").json["jobs"] == []


def test_the_form(application):
    """The page of jobs has a form for it, which leads to the job."""
    admin = Visitor(application, "devtable")
    form = admin.open("/superuser/jobs/").form("importRegistry")
    page = admin.send(form, field__registry="registry.example.com", field__dry_run="1")
    assert "Importing from another registry" in page.text
    [found] = Client(application, "devtable").get("/superuser/jobs/").json["jobs"]
    assert (found["kind"], cursor_of(application, found["uuid"])["dry_run"]) == ("import", True)
    assert not admin.open("/superuser/jobs/").has("importRegistry")
