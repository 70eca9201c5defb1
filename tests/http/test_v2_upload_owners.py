"""Whose an upload is: it belongs to one repository and one principal, and is unknown to everybody else."""

import pytest

from quay.model import credential, namespace, permission, repository
from quay.model.permission import Role
from quay.oci.reference import Digest, RepositoryName
from quay.testdata.people import PASSWORD
from tests.http.application import Repository

DATA = b"0123456789"
DIGEST = Digest.of(DATA)


def held(repository, location):
    """What an upload holds."""
    answer = repository.at(location, "GET")
    assert answer.status == 204
    return int(answer.headers["range"].removeprefix("0-")) + 1


def test_cancel(repository):
    """A cancelled upload is gone."""
    location = repository.begin()
    answer = repository.at(location, "DELETE")
    assert (answer.status, answer.body) == (204, b"")
    for method in ("GET", "PATCH", "PUT", "DELETE"):
        suffix = f"?digest={DIGEST}" if method == "PUT" else ""
        answer = repository.at(location + suffix, method)
        assert (answer.status, answer.code) == (404, "BLOB_UPLOAD_UNKNOWN")


def everywhere(client, uuid):
    """The statuses of everything that one could do to an upload."""
    return {
        client.request("GET", f"blobs/uploads/{uuid}").status,
        client.request("PATCH", f"blobs/uploads/{uuid}", body=b"mine").status,
        client.request("PUT", f"blobs/uploads/{uuid}?digest={DIGEST}", body=b"mine").status,
        client.request("DELETE", f"blobs/uploads/{uuid}").status,
    }


def test_another_repository(application, repository):
    """An upload of one repository is unknown in another, even to whoever began it."""
    location = repository.begin()
    repository.at(location, "PATCH", body=DATA)
    assert everywhere(application.repository(), location.rpartition("/")[2]) == {404}
    assert held(repository, location) == 10


@pytest.mark.parametrize("rested", [False, True])
def test_another_user(application, repository, rested):
    """An upload is unknown to everybody but whoever began it, with the right to push as well."""
    application.write(_let_public_write, repository.name)
    other = Repository(application, repository.name, ("public", PASSWORD))
    location = repository.begin()
    repository.at(location, "PATCH", body=DATA)
    if rested:
        application.clock.advance(3000)
    assert everywhere(other, location.rpartition("/")[2]) == {404}
    assert held(repository, location) == 10


def _let_public_write(txn, name):
    found = repository_named(txn, name)
    permission.grant(txn, found.id, grantee_id=namespace.find(txn, "public").id, role=Role.WRITE)


def repository_named(txn, name):
    return repository.find(txn, RepositoryName.parse(name))


def test_another_access_token(application, repository):
    """Two access tokens for one repository are two owners, though both are called $token."""
    found = application.read(repository_named, repository.name)
    holder = found.namespace_id
    secrets = [
        application.write(credential.create, holder, "access", repository_id=found.id, role=Role.WRITE)[1]
        for _ in range(2)
    ]
    one, other = (Repository(application, repository.name, ("$token", secret)) for secret in secrets)
    assert everywhere(other, one.begin().rpartition("/")[2]) == {404}


@pytest.mark.parametrize("uuid", ["x", "..", "%2e%2e%2fx", "a" * 300, "0" * 36, "'%3b--", "%00"])
def test_bad_upload(repository, uuid):
    """What is no upload's id is an unknown upload."""
    answer = repository.get(f"blobs/uploads/{uuid}")
    assert answer.status in (400, 404)
    assert answer.json["errors"][0]["message"]
