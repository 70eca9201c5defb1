"""The token service and the keys that verify its tokens, as clients of the token protocol meet them."""

from urllib.parse import urlencode

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from quay.events import RepositoryCreated
from quay.model import credential, namespace, repository, team
from quay.model.permission import Role
from quay.oci.reference import RepositoryName
from quay.testdata.people import APP_TOKEN, OAUTH_TOKEN, PASSWORD, robot_token
from tests.http.application import HOST

DEVTABLE = ("devtable", PASSWORD)
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
KEYS = "/keys/services/quay/keys"


def user(name):
    return name, PASSWORD


def robot(name):
    return name, robot_token(name)


def claims(application, token):
    """What the token says, read with a JWT library and the published keys."""
    keys = KeySet.import_key_set(application.request("GET", KEYS).json)
    return jwt.decode(token, keys, algorithms=["RS256"]).claims


def access(application, auth, *scopes):
    """What was granted: the actions by repository."""
    said = claims(application, application.token(auth, *scopes))["access"]
    assert all(grant["type"] == "repository" for grant in said)
    return {grant["name"]: grant["actions"] for grant in said}


GRANTS = [
    (DEVTABLE, "devtable/simple", "pull,push,*", ["push", "pull", "*"]),
    (DEVTABLE, "devtable/simple", "push", ["push"]),
    (DEVTABLE, "devtable/simple", "pull,sing", ["pull"]),
    (DEVTABLE, "somenamespace/unknown", "pull,push", []),
    (DEVTABLE, "public/publicrepo", "pull,push", ["pull"]),
    (DEVTABLE, "devtable/readonly", "pull,push,*", ["pull"]),
    (DEVTABLE, "devtable/mirrored", "pull,push,*", ["pull"]),
    (robot("devtable+dtrobot"), "devtable/mirrored", "pull,push,*", ["push", "pull"]),
    (robot("devtable+dtrobot2"), "devtable/mirrored", "pull,push,*", ["pull"]),
    (robot("devtable+dtrobot"), "devtable/simple", "pull,push", []),
    (user("reader"), "buynlarge/orgrepo", "pull,push,*", ["pull"]),
    (user("creator"), "buynlarge/orgrepo", "pull,push,*", []),
    (user("freshuser"), "buynlarge/orgrepo", "pull,push,*", []),
    (user("freshuser"), "buynlarge/unheardof", "pull,push", []),
    (None, "devtable/simple", "pull", []),
    (None, "public/publicrepo", "pull,push,*", ["pull"]),
    (None, "public/unheardof", "pull,push", []),
    (("$oauthtoken", OAUTH_TOKEN), "public/publicrepo", "pull,push", ["pull"]),
    (("$oauthtoken", OAUTH_TOKEN), "devtable/simple", "pull,push,*", ["push", "pull", "*"]),
    (("$app", APP_TOKEN), "devtable/simple", "pull,push,*", ["push", "pull", "*"]),
]


@pytest.mark.parametrize(("auth", "name", "actions", "granted"), GRANTS)
def test_granted(application, auth, name, actions, granted):
    """A scope is narrowed to what the caller may do, in a set order and without an error."""
    assert access(application, auth, f"repository:{name}:{actions}") == {name: granted}


def test_repository_is_made(application):
    """Asking to push to a repository that is not there makes it, private, where the caller may."""
    scope = "repository:devtable/unknownrepo:pull,push"
    assert access(application, DEVTABLE, scope) == {"devtable/unknownrepo": ["push", "pull"]}
    made = application.read(repository.find, RepositoryName("devtable", "unknownrepo"))
    assert (made.public, made.kind, made.state) == (False, "image", "normal")
    [event] = [event for event in application.events if isinstance(event, RepositoryCreated)]
    assert (str(event.repository), event.actor.name) == ("devtable/unknownrepo", "devtable")


def test_repository_is_made_by_a_creator(application):
    """A member of a team of creators administers what he made in the organization."""
    scope = "repository:buynlarge/bycreator:pull,push,*"
    assert access(application, user("creator"), scope) == {"buynlarge/bycreator": ["push", "pull", "*"]}


@pytest.mark.parametrize("auth", [None, user("freshuser"), user("reader"), robot("buynlarge+coolrobot")])
def test_repository_is_not_made(application, auth):
    """Who may not make a repository gets no error, and no repository."""
    scope = "repository:buynlarge/notmade:pull,push,*"
    assert access(application, auth, scope) == {"buynlarge/notmade": []}
    assert application.read(repository.find, RepositoryName("buynlarge", "notmade")) is None


def test_pull_makes_nothing(application):
    """Asking to pull never makes a repository."""
    application.token(DEVTABLE, "repository:devtable/onlypulled:pull")
    assert application.read(repository.find, RepositoryName("devtable", "onlypulled")) is None


def test_made_by_an_oauth_token(application):
    """A token that may create, and no more, can fill what it made, and nothing that was there before."""
    holder = application.read(namespace.find, "devtable").id
    _, secret = application.write(credential.create, holder, "oauth", scope="repo:create")
    auth = ("$oauthtoken", secret)
    assert access(application, auth, "repository:devtable/byoauth:pull,push,*") == {
        "devtable/byoauth": ["push", "pull"]
    }
    assert access(application, auth, "repository:devtable/simple:pull,push,*") == {"devtable/simple": []}


def test_access_token(application):
    """A token for a repository has its role there, reads what is public, and makes nothing."""
    holder = application.read(namespace.find, "devtable").id
    simple = application.read(repository.find, RepositoryName("devtable", "simple")).id
    made = application.write(credential.create, holder, "access", repository_id=simple, role=Role.WRITE)
    names = ("devtable/simple", "devtable/shared", "public/publicrepo", "devtable/byaccess")
    scopes = [f"repository:{name}:pull,push,*" for name in names]
    granted = [["push", "pull"], [], ["pull"], []]
    assert access(application, ("$token", made[1]), *scopes) == dict(zip(names, granted, strict=True))


@pytest.mark.parametrize(
    "auth",
    [
        ("devtable", "wrong"),
        ("nobody", PASSWORD),
        ("disabled", PASSWORD),
        ("devtable+dtrobot", "A" * 64),
        ("devtable+dtrobot2", robot_token("devtable+dtrobot")),
        ("$app", "a" * 120),
        ("$oauthtoken", APP_TOKEN),
        ("$token", OAUTH_TOKEN),
        ("$else", PASSWORD),
        ("devtable", ""),
    ],
)
def test_wrong_credentials(application, auth):
    """Credentials that do not hold are 401, whatever was asked for, and never turn into an anonymous token."""
    for scopes in ([], ["repository:public/publicrepo:pull"]):
        answer = application.ask_token(auth, *scopes)
        assert (answer.status, answer.code) == (401, "UNAUTHORIZED")
        assert answer.headers["www-authenticate"].startswith("Basic ")
        assert "token" not in answer.json


@pytest.mark.parametrize("header", ["Basic", "Basic !!!", "Digest x", "Bearer x", "Basic " + "A" * 9000, ""])
def test_unusable_credentials(application, header):
    """An Authorization header that is no Basic one is 401, not somebody anonymous."""
    answer = application.request("GET", "/v2/auth?scope=repository:public/publicrepo:pull", {"Authorization": header})
    assert answer.status == 401


def test_login(application):
    """Without a scope, good credentials get a token that proves who they are, and grants nothing."""
    token = application.token(DEVTABLE)
    assert claims(application, token)["access"] == []
    assert application.request("GET", "/v2/", auth=token).status == 200
    assert application.request("GET", "/v2/devtable/simple/tags/list", auth=token).status == 401


def test_nobody_asks_for_nothing(application):
    """Neither credentials nor scope is 401: this is how a login without credentials must end."""
    answer = application.ask_token(None)
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Basic ")


def test_answer(application):
    """The answer names the token twice, says when it ends, and is kept by nobody."""
    answer = application.ask_token(DEVTABLE, "repository:devtable/simple:pull")
    assert answer.headers["cache-control"] == "no-cache, no-store"
    assert answer.headers["docker-distribution-api-version"] == "registry/2.0"
    assert answer.json["token"] == answer.json["access_token"]
    assert answer.json["expires_in"] == 3600
    assert answer.json["issued_at"].endswith("Z")


@pytest.mark.parametrize(
    ("scope", "code"),
    [
        ("some_invalid_scope", "INVALID_REQUEST"),
        ("repository:devtable/simple", "INVALID_REQUEST"),
        ("repository::pull", "INVALID_REQUEST"),
        ("repository:devtable/simple:PULL", "INVALID_REQUEST"),
        ("repository:devtable/simple:pull%00", "INVALID_REQUEST"),
        ("repository:Devtable/Simple:pull", "NAME_INVALID"),
        ("repository:devtable/../simple:pull", "NAME_INVALID"),
        ("repository:devtable/sim%5fple%27:pull", "NAME_INVALID"),
        ("repository:devtable/%25:pull", "NAME_INVALID"),
        ("repository:/devtable/simple:pull", "NAME_INVALID"),
        ("repository:other.example:5000/devtable/simple:pull", "NAME_INVALID"),
        (f"repository:devtable/{'a' * 300}:pull", "NAME_INVALID"),
        ("repository:devtable/caf%C3%A9:pull", "NAME_INVALID"),
        ("%ff", "INVALID_REQUEST"),
    ],
)
def test_bad_scope(application, scope, code):
    """What is no scope, or not one of a repository that could be, is 400 and says why."""
    answer = application.ask_token(DEVTABLE, scope)
    assert (answer.status, answer.code) == (400, code)


def test_short_names_only(make_application):
    """Where nested names are off, a repository of five segments cannot be made."""
    application = make_application(FEATURE_EXTENDED_REPOSITORY_NAMES=False)
    answer = application.ask_token(DEVTABLE, "repository:devtable/a/b/c/d:pull,push")
    assert (answer.status, answer.code) == (400, "NAME_INVALID")


@pytest.mark.parametrize("scope", ["registry:catalog:*", "repository(plugin):devtable/simple:pull", "thing:x:do"])
def test_other_scopes(application, scope):
    """A scope of another kind does no harm, and those beside it are granted."""
    granted = access(application, DEVTABLE, scope, "repository:devtable/simple:pull")
    assert granted == {"devtable/simple": ["pull"]}


def test_several_scopes(application):
    """Scopes come one by one or separated by spaces, and each is narrowed for itself."""
    scopes = ["repository:devtable/simple:pull,push%20repository:public/publicrepo:pull,push"]
    expected = {"devtable/simple": ["push", "pull"], "public/publicrepo": ["pull"]}
    assert access(application, DEVTABLE, *scopes) == expected
    assert access(application, DEVTABLE, *scopes[0].split("%20")) == expected


def test_one_repository_twice(application):
    """Two scopes for one repository come together: the later does not undo the earlier."""
    scopes = ("repository:devtable/simple:push", "repository:devtable/simple:pull")
    assert access(application, DEVTABLE, *scopes) == {"devtable/simple": ["push", "pull"]}


def test_disabled_namespace(application):
    """A scope in a disabled namespace is 405, though others are asked for with it."""
    answer = application.ask_token(DEVTABLE, "repository:devtable/simple:pull", "repository:disabled/thing:pull,push")
    assert (answer.status, answer.code) == (405, "DENIED")


def test_application_repository(application):
    """An application repository is 405 for those who may see it; for others, it is not there."""
    scope = "repository:devtable/someapp:pull"
    assert application.ask_token(DEVTABLE, scope).code == "UNSUPPORTED"
    assert access(application, user("freshuser"), scope) == {"devtable/someapp": []}
    assert access(application, None, scope) == {"devtable/someapp": []}


@pytest.mark.parametrize("service", [HOST, ""])
def test_service(application, service):
    """Our own name as the service, or none."""
    assert application.ask_token(DEVTABLE, service=service).status == 200


@pytest.mark.parametrize("service", ["quay.io", "other.example:5000", f"{HOST}%20", "%ff"])
def test_other_service(application, service):
    """A token for somebody else is refused: it would be taken for one of ours."""
    assert application.ask_token(DEVTABLE, service=service).status == 400


def test_many_scopes(application):
    """Three hundred scopes are refused; as many as one request can bring back are not."""
    scopes = [f"repository:devtable/simple-{number}:pull" for number in range(300)]
    assert application.ask_token(DEVTABLE, *scopes).status in (400, 414)
    assert application.ask_token(DEVTABLE, "%20".join(f"a:{number}:b" for number in range(300))).status == 400
    token = application.token(DEVTABLE, *scopes[:50])
    assert application.request("GET", "/v2/", auth=token).status == 200


@pytest.mark.parametrize("prefix", [f"{HOST}/", ""])
@pytest.mark.parametrize("name", ["devtable/simple", "devtable/shared"])
def test_host_prefix(application, prefix, name):
    """A name may have our host in front; the token is good for the name without it."""
    token = application.token(DEVTABLE, f"repository:{prefix}{name}:pull")
    assert application.request("GET", f"/v2/{name}/tags/list", auth=token).status == 200


def test_library(application):
    """A name without a namespace is one of the library; the token is good for the name that the client uses."""
    short = application.token(DEVTABLE, "repository:busybox:pull,push")
    assert application.read(repository.find, RepositoryName("library", "busybox")) is not None
    long = application.token(DEVTABLE, "repository:library/busybox:pull")
    for name, token in (("busybox", short), ("busybox", long), ("library/busybox", long)):
        answer = application.request("GET", f"/v2/{name}/tags/list", auth=token)
        assert answer.json == {"name": name, "tags": []}


def test_no_library(make_application):
    """Without library support, such a name is refused."""
    application = make_application(FEATURE_LIBRARY_SUPPORT=False)
    assert application.ask_token(DEVTABLE, "repository:busybox:pull").code == "NAME_INVALID"


def test_read_only_registry(make_application):
    """A registry that is read-only grants pulls, and makes nothing."""
    application = make_application(REGISTRY_STATE="readonly")
    scopes = ("repository:devtable/simple:pull,push,*", "repository:devtable/newly:pull,push")
    granted = access(application, DEVTABLE, *scopes)
    assert granted["devtable/simple"] == ["pull"]
    assert "push" not in granted["devtable/newly"]
    assert application.read(repository.find, RepositoryName("devtable", "newly")) is None


def test_no_anonymous_access(make_application):
    """Where anonymous access is off, public content takes a login."""
    application = make_application(FEATURE_ANONYMOUS_ACCESS=False)
    scope = "repository:public/publicrepo:pull"
    assert access(application, None, scope) == {"public/publicrepo": []}
    assert access(application, user("freshuser"), scope) == {"public/publicrepo": ["pull"]}


def test_public_on_push(make_application):
    """Where pushed repositories are public, they are."""
    application = make_application(CREATE_PRIVATE_REPO_ON_PUSH=False)
    application.token(DEVTABLE, "repository:devtable/openly:push")
    assert application.read(repository.find, RepositoryName("devtable", "openly")).public


def test_namespace_on_push(make_application):
    """Where a push may make a namespace, a user's does, and nobody else's."""
    application = make_application(CREATE_NAMESPACE_ON_PUSH=True)
    scope = "repository:newlymade/thing:pull,push"
    assert access(application, robot("devtable+dtrobot"), scope) == {"newlymade/thing": []}
    assert access(application, user("freshuser"), scope) == {"newlymade/thing": ["push", "pull"]}
    assert application.read(namespace.find, "newlymade").kind == "organization"


@pytest.mark.parametrize("name", ["x/thing", f"{'n' * 250}/thing", "a" * 255])
def test_name_that_cannot_be(make_application, name):
    """A push that would make a namespace or a repository with an impossible name is told so."""
    application = make_application(CREATE_NAMESPACE_ON_PUSH=True)
    application.write(lambda txn: add_librarian(txn, "freshuser"))
    answer = application.ask_token(user("freshuser"), f"repository:{name}:push")
    assert (answer.status, answer.code) == (400, "NAME_INVALID")


def add_librarian(txn, name):
    """Let a user make repositories in the library."""
    librarians = team.create(txn, namespace.find(txn, "library").id, "librarians", "creator")
    team.add_member(txn, librarians, namespace.find(txn, name).id)


@pytest.mark.parametrize("taken", [repository.RepositoryTaken, namespace.NamespaceTaken])
def test_repository_made_by_two(make_application, monkeypatch, taken):
    """Of two who make a repository at the same time, the slower one finds it made."""
    application, make, slower = make_application(), repository.create, []

    def lose(txn, *args, **kwargs):
        if not slower:
            slower.append(True)
            raise taken("somebody was faster")
        return make(txn, *args, **kwargs)

    monkeypatch.setattr(repository, "create", lose)
    assert access(application, DEVTABLE, "repository:devtable/both:push") == {"devtable/both": ["push"]}


# --- the OAuth2 form


def form(application, **fields):
    return application.request("POST", "/v2/auth", FORM, urlencode(fields).encode())


def test_form(application):
    """The form with a password gives what GET with Basic credentials gives, and repeats the scope."""
    scope = "repository:devtable/simple:pull,push registry:catalog:*"
    fields = {"grant_type": "password", "service": HOST, "client_id": "docker", "scope": scope}
    answer = form(application, **fields, username="devtable", password=PASSWORD)
    assert (answer.status, answer.json["scope"]) == (200, scope)
    said = claims(application, answer.json["access_token"])
    assert said["access"] == [{"type": "repository", "name": "devtable/simple", "actions": ["push", "pull"]}]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"grant_type": "password", "username": "reader", "password": "wrong"}, 401),
        ({"grant_type": "password", "username": "reader"}, 401),
        ({"grant_type": "password", "password": PASSWORD}, 405),
        ({"grant_type": "refresh_token", "refresh_token": "x"}, 405),
        ({}, 405),
        ({"grant_type": "password", "username": "reader", "password": PASSWORD, "scope": "nonsense"}, 400),
        ({"grant_type": "password", "username": "reader", "password": PASSWORD, "service": "quay.io"}, 400),
        ({"grant_type": "password", "username": "reader", "password": "x" * 70_000}, 413),
    ],
)
def test_bad_form(application, fields, status):
    """A form that cannot be used is an error with a body that says why."""
    answer = form(application, **fields)
    assert answer.status == status
    assert answer.json["errors"][0]["message"]


def test_other_methods(application):
    """Tokens are given for GET and POST."""
    for method in ("PUT", "DELETE", "PATCH", "HEAD"):
        answer = application.request(method, "/v2/auth", auth=DEVTABLE)
        assert (answer.status, answer.headers["allow"]) == (405, "GET, POST")


def test_keys_are_for_reading(application):
    """Service keys can be read, and nothing else."""
    for method in ("PUT", "DELETE", "POST", "OPTIONS"):
        answer = application.request(method, KEYS)
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
