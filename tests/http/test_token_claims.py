"""What a token says, the keys that verify it, and what becomes of one that is wrong, old, or for something else."""

import pytest
from joserfc import jws, jwt
from joserfc.jwk import KeySet, RSAKey

from quay.testdata.people import APP_TOKEN, OAUTH_TOKEN, PASSWORD, robot_token
from tests.http.application import HOST, NOW, basic

DEVTABLE = ("devtable", PASSWORD)
KEYS = "/keys/services/quay/keys"


def claims(application, token):
    """What the token says, read with a JWT library and the published keys."""
    keys = KeySet.import_key_set(application.request("GET", KEYS).json)
    return jwt.decode(token, keys, algorithms=["RS256"]).claims


def test_claims(application):
    """A token says who made it, for whom, about whom, from when to when, and how Quay's services would know him."""
    token = application.token(DEVTABLE, "repository:devtable/simple:pull")
    said = claims(application, token)
    assert (said["iss"], said["aud"], said["sub"]) == ("quay", HOST, "devtable")
    assert (said["nbf"], said["iat"], said["exp"]) == (NOW, NOW, NOW + 3600)
    assert (said["context"]["version"], said["context"]["entity_kind"]) == (2, "user")
    assert APP_TOKEN not in token and PASSWORD not in str(said)


@pytest.mark.parametrize(
    ("auth", "subject", "kind"),
    [
        (None, "(anonymous)", "anonymous"),
        (("devtable+dtrobot", robot_token("devtable+dtrobot")), "devtable+dtrobot", "robot"),
        (("$app", APP_TOKEN), "devtable", "appspecifictoken"),
        (("$oauthtoken", OAUTH_TOKEN), "devtable", "oauthtoken"),
    ],
)
def test_subject(application, auth, subject, kind):
    """The subject is whoever the token acts as, and its kind that of the credentials; a secret is nowhere."""
    token = application.token(auth, "repository:public/publicrepo:pull")
    said = claims(application, token)
    assert (said["sub"], said["context"]["entity_kind"]) == (subject, kind)
    assert auth is None or auth[1] not in str(said)


def test_keys(application):
    """Each key has an address by its id, and one of them signs tokens; other ids, and other services, have none."""
    keys = {key["kid"]: key for key in application.request("GET", KEYS).json["keys"]}
    for kid, key in keys.items():
        assert not {"d", "p", "q"} & set(key)
        assert application.request("GET", f"{KEYS}/{kid}").json == key
    signer = jws.extract_compact(application.token(DEVTABLE).encode()).headers()["kid"]
    assert jwt.decode(application.token(DEVTABLE), RSAKey.import_key(keys[signer]), algorithms=["RS256"])
    for path in (f"{KEYS}/other", f"{KEYS}/", "/keys/services/other/keys", f"{KEYS}/../keys"):
        assert application.request("GET", path).status == 404


@pytest.mark.parametrize("token", ["x", "x.y.z", "a" * 13_000, "..", "é"])
def test_bad_token(application, token):
    """What is no token of ours is 401 with a challenge that says so."""
    answer = application.request("GET", "/v2/devtable/simple/tags/list", {"Authorization": f"Bearer {token}"})
    assert answer.status == 401
    assert answer.headers["www-authenticate"].endswith(
        f'service="{HOST}",scope="repository:devtable/simple:pull",error="invalid_token"'
    )


def test_another_repository(application):
    """A token is good for the repositories that it names, and for the actions that it names."""
    token = application.token(DEVTABLE, "repository:devtable/simple:pull")
    for method, path in (("GET", "devtable/shared/tags/list"), ("POST", "devtable/simple/blobs/uploads/")):
        answer = application.request(method, f"/v2/{path}", auth=token)
        assert answer.status == 401
        assert answer.headers["www-authenticate"].endswith(',error="insufficient_scope"')


def test_expiry(make_application):
    """A token ends with its hour, and the clocks' difference that is allowed for."""
    application = make_application()
    token = application.token(DEVTABLE)
    application.clock.advance(3600)
    assert application.request("GET", "/v2/", auth=token).status == 200
    application.clock.advance(60)
    assert application.request("GET", "/v2/", auth=token).status == 401


def test_basic_beside_bearer(application):
    """Basic credentials do on every address; two Authorization headers are not two chances."""
    lines = [f"Authorization: {basic(*DEVTABLE)}", "Authorization: Bearer x"]
    connection = application.connect()
    connection.send(f"GET /v2/ HTTP/1.1\r\nHost: {HOST}\r\n{lines[0]}\r\n{lines[1]}\r\n\r\n".encode())
    assert connection.answer().status in (400, 401)
