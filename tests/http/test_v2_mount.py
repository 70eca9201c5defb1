"""Mounting a blob from another repository: which token it takes, and how a client learns that."""

import pytest

from quay.oci.reference import Digest
from quay.testdata.people import PASSWORD

OWNER = ("devtable", PASSWORD)
STRANGER = ("freshuser", PASSWORD)


def mount(application, target, digest, origin, auth):
    """Ask for a mount, from anywhere if `origin` is None."""
    source = "" if origin is None else f"&from={origin}"
    return application.request("POST", f"/v2/{target}/blobs/uploads/?mount={digest}{source}", auth=auth)


def scope_of(answer):
    """What a challenge asks for."""
    assert answer.status == 401, answer
    return answer.headers["www-authenticate"].partition('scope="')[2].partition('"')[0]


@pytest.fixture
def source(application):
    """A private repository with a blob in it."""
    made = application.repository()
    made.digest = made.upload(made.name.encode())
    return made


@pytest.mark.parametrize("named", [True, False])
def test_a_token_for_the_target_alone(application, repository, source, named):
    """Who may read the source is told to ask for both; with that token the blob is mounted, wherever it comes from."""
    origin = source.name if named else None
    scope = scope_of(mount(application, repository.name, source.digest, origin, repository.token))
    assert scope == f"repository:{repository.name}:pull,push repository:{source.name}:pull"
    token = application.token(OWNER, *scope.split())
    answer = mount(application, repository.name, source.digest, origin, token)
    assert (answer.status, answer.headers["docker-content-digest"]) == (201, source.digest)
    assert repository.head(f"blobs/{source.digest}").status == 200


@pytest.mark.parametrize("named", [True, False])
def test_basic_credentials(application, repository, source, named):
    """Who sends a password is not confined by a token."""
    origin = source.name if named else None
    assert mount(application, repository.name, source.digest, origin, OWNER).status == 201


@pytest.mark.parametrize("named", [True, False])
def test_a_stranger_learns_nothing(application, source, named):
    """Who may not read the source gets an upload, as if there were no such blob, whatever his token asked for."""
    target, origin = "freshuser/app", source.name if named else None
    token = application.token(STRANGER, f"repository:{target}:pull,push", f"repository:{source.name}:pull")
    for digest in (source.digest, Digest.of(b"nobody has this")):
        for auth in (token, STRANGER):
            assert mount(application, target, digest, origin, auth).status == 202


def test_the_first_challenge_asks_for_both(application, repository, source):
    """A client that asks for one token only gets the right one, if the source is a name at all."""
    both = f"repository:{repository.name}:pull,push repository:{source.name}:pull"
    assert scope_of(mount(application, repository.name, source.digest, source.name, None)) == both
    for origin in ("", "UPPER", 'a"b', "a%22%0d%0aX:%20y", "%ff"):
        answer = mount(application, repository.name, source.digest, origin, None)
        assert scope_of(answer) == f"repository:{repository.name}:pull,push"


@pytest.mark.parametrize("origin", ["nobody/missing", "devtable/missing", "UPPER", "devtable/someapp", "disabled/app"])
def test_what_cannot_be_a_source(application, repository, origin):
    """A source that is not there, holds no images or is disabled leaves an upload, not an error."""
    assert mount(application, repository.name, Digest.of(b"x"), origin, repository.token).status == 202
