"""Where a blob can be mounted from: what the caller may read, and nothing else."""

import pytest

from quay.model import namespace
from quay.oci.reference import Digest
from quay.testdata.people import PASSWORD
from tests.http.application import HOST, Repository

DATA = b"0123456789"
DIGEST = Digest.of(DATA)


def assert_created(repository, answer, data):
    """The answer says where the blob is, and there it is."""
    digest = Digest.of(data)
    assert (answer.status, answer.headers["docker-content-digest"]) == (201, digest)
    assert answer.headers["location"] == f"http://{HOST}/v2/{repository.name}/blobs/{digest}"
    assert repository.at(answer.headers["location"], "GET").body == data


def test_mount(application, repository):
    """A blob of a repository that the caller may pull from is linked, without its bytes."""
    source = application.repository()
    source.upload(DATA)
    scopes = [f"repository:{repository.name}:pull,push", f"repository:{source.name}:pull"]
    repository.token = application.token(repository.auth, *scopes)
    answer = repository.request("POST", f"blobs/uploads/?mount={DIGEST}&from={source.name}")
    assert_created(repository, answer, DATA)


def test_mount_by_basic(application, repository):
    """Basic credentials have no scopes: the permissions are asked."""
    source = application.repository()
    source.upload(DATA)
    path = f"/v2/{repository.name}/blobs/uploads/?mount={DIGEST}&from={source.name}"
    assert application.request("POST", path, auth=repository.auth).status == 201


def test_mount_asks_for_a_token(application, repository):
    """A token that does not name a source which its bearer may read is 401: the challenge names both repositories."""
    source = application.repository()
    source.upload(DATA)
    answer = repository.request("POST", f"blobs/uploads/?mount={DIGEST}&from={source.name}")
    scopes = f"repository:{repository.name}:pull,push repository:{source.name}:pull"
    assert answer.status == 401
    assert f'scope="{scopes}"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize(
    "origin",
    ["devtable/nothere", "nobody/nothere", "Bad/Name", "..", "disabled/thing", "devtable/someapp", "buynlarge/orgrepo"],
)
def test_mount_from_elsewhere(application, repository, origin):
    """A source that is not there, or has not got the blob, begins an upload."""
    scopes = [f"repository:{repository.name}:pull,push", "repository:buynlarge/orgrepo:pull"]
    repository.token = application.token(repository.auth, *scopes)
    repository.upload(b"something")
    answer = repository.request("POST", f"blobs/uploads/?mount={DIGEST}&from={origin}")
    assert answer.status == 202 and "location" in answer.headers


def test_mount_of_the_hidden(application):
    """A blob of a repository that the caller may not read is not mounted, with or without naming it."""
    hidden = application.repository()
    secret = hidden.upload(b"only devtable knows")
    public = Repository(application, "public/mine", ("public", PASSWORD))
    for query in (f"mount={secret}&from={hidden.name}", f"mount={secret}"):
        assert public.request("POST", f"blobs/uploads/?{query}").status == 202
    assert public.head(f"blobs/{secret}").status == 404
    path = f"/v2/public/mine/blobs/uploads/?mount={secret}&from={hidden.name}"
    assert application.request("POST", path, auth=("public", PASSWORD)).status == 202


def test_mount_of_the_public(application, repository):
    """A blob of a public repository is mounted with whatever token."""
    public = Repository(application, "public/publicrepo", ("public", PASSWORD))
    digest = public.upload(b"everybody's")
    answer = repository.request("POST", f"blobs/uploads/?mount={digest}&from=public/publicrepo")
    assert_created(repository, answer, b"everybody's")


def test_mount_without_a_source(application, repository):
    """Without a source, any repository within the caller's reach will do."""
    source = application.repository()
    digest = source.upload(b"somewhere in reach")
    path = f"/v2/{repository.name}/blobs/uploads/?mount={digest}"
    scopes = [f"repository:{repository.name}:pull,push", f"repository:{source.name}:pull"]
    token = application.token(repository.auth, *scopes)
    assert application.request("POST", path, auth=token).status == 201
    assert application.request("POST", path, auth=repository.auth).status == 201


def test_mount_from_a_disabled_namespace(make_application):
    """From a disabled namespace nothing is mounted: not even public blobs, with or without naming the source."""
    application = make_application()
    public = Repository(application, "public/publicrepo", ("public", PASSWORD))
    digest = public.upload(b"everybody's, until now")
    target = application.repository()
    scopes = [f"repository:{target.name}:pull,push", "repository:public/publicrepo:pull"]
    target.token = application.token(target.auth, *scopes)
    application.write(lambda txn: namespace.set_enabled(txn, namespace.find(txn, "public").id, False))
    for query in (f"mount={digest}&from=public/publicrepo", f"mount={digest}"):
        assert target.request("POST", f"blobs/uploads/?{query}").status == 202
