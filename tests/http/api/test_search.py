"""Searches through the API: what is found, in what order, and what nobody may find."""

import pytest

from quay.model import listing, namespace, repository, team
from quay.oci.reference import RepositoryName
from quay.testdata.people import OAUTH_TOKEN
from tests.http.api.client import Client


@pytest.fixture
def application(make_application):
    return make_application()


@pytest.fixture
def devtable(application):
    return Client(application, "devtable")


def make(client, name, description="", visibility="private"):
    owner, _, path = name.partition("/")
    body = {"namespace": owner, "repository": path, "description": description, "visibility": visibility}
    assert client.post("/repository", body).status == 201


def found(client, query, **parameters):
    more = "".join(f"&{name}={value}" for name, value in parameters.items())
    answer = client.get(f"/find/repositories?query={query}{more}")
    assert answer.status == 200, answer
    return [f"{one['namespace']['name']}/{one['name']}" for one in answer.json["results"]]


# --- repositories -------------------------------------------------------------------------------------------------


def test_view(application):
    """A repository that is found shows where it is, and how popular."""
    (hit,) = Client(application).get("/find/repositories?query=public").json["results"]
    assert hit == {
        "kind": "repository",
        "title": "repo",
        "namespace": {
            "kind": "user",
            "title": "user",
            "name": "public",
            "avatar": hit["namespace"]["avatar"],
            "score": 1.0,
            "href": "/user/public",
        },
        "name": "publicrepo",
        "description": "A repository that everybody may pull from.",
        "is_public": True,
        "score": hit["score"],
        "href": "/repository/public/publicrepo",
        "last_modified": None,
        "stars": 0,
        "popularity": 0,
    }


def test_words(devtable):
    """Words are found by their beginnings, in names, namespaces and descriptions, in whatever case; all must fit."""
    make(devtable, "titi/web-frontend", "The shop's Storefront, in Zürich.")
    assert found(devtable, "front") == ["titi/web-frontend"]
    assert found(devtable, "WEB") == ["titi/web-frontend"]
    assert found(devtable, "z%C3%BCri") == ["titi/web-frontend"]
    assert found(devtable, "titi") == ["titi/web-frontend"]
    assert found(devtable, "titi/web-front") == ["titi/web-frontend"]
    assert found(devtable, "web%20store") == ["titi/web-frontend"]
    assert found(devtable, "web%20back") == []
    assert found(devtable, "ront") == []
    for pattern in ("%25", "_", "w%25", "'"):
        assert found(devtable, pattern) != ["titi/web-frontend"]


def test_names_go_before_descriptions(devtable):
    """Whose name is meant comes first; then the words of names, then those of descriptions."""
    make(devtable, "titi/other", "It speaks to billing.")
    make(devtable, "titi/billing-reports")
    make(devtable, "titi/billings")
    make(devtable, "titi/billing")
    assert found(devtable, "billing") == ["titi/billing", "titi/billing-reports", "titi/billings", "titi/other"]


def test_stars_and_activity_count(application, devtable):
    """What people use and like goes before what nobody knows."""
    make(devtable, "titi/shop-a")
    make(devtable, "titi/shop-b")
    assert found(devtable, "shop") == ["titi/shop-a", "titi/shop-b"]
    b = application.read(repository.find, RepositoryName("titi", "shop-b"))
    application.write(listing.add_star, application.read(namespace.find, "reader").id, b.id)
    assert found(devtable, "shop") == ["titi/shop-b", "titi/shop-a"]


def test_index_follows(devtable):
    """A repository is found by what it is called now and said to be now, and not when it is gone."""
    make(devtable, "titi/first", "oldwords")
    devtable.put("/repository/titi/first", {"description": "newwords"})
    assert (found(devtable, "oldwords"), found(devtable, "newwords")) == ([], ["titi/first"])
    devtable.post("/repository/titi/first/rename", {"name": "second"})
    assert (found(devtable, "first"), found(devtable, "second")) == ([], ["titi/second"])
    devtable.delete("/repository/titi/second")
    assert found(devtable, "second") == []


def test_nobody_finds_what_he_may_not_see(application, devtable):
    """What is private is found by those with a role on it: no name, no count, no page tells of it."""
    for number in range(12):
        make(devtable, f"devtable/secret-{number}")
    stranger, nobody, reader = Client(application, "freshuser"), Client(application), Client(application, "reader")
    for client in (stranger, nobody):
        answer = client.get("/find/repositories?query=secret").json
        assert (answer["results"], answer["has_additional"]) == ([], False)
    assert len(found(devtable, "secret")) == 10
    assert found(reader, "orgrepo") == ["buynlarge/orgrepo"]
    assert found(reader, "shared") == ["devtable/shared"]
    assert found(reader, "repository") == ["buynlarge/orgrepo", "devtable/shared", "public/publicrepo"]
    devtable.post("/repository/devtable/secret-3/changevisibility", {"visibility": "public"})
    assert found(nobody, "secret") == ["devtable/secret-3"]


def test_disabled_namespaces(application, devtable):
    """What lies in a disabled namespace is not found, nor is the namespace."""
    application.write(namespace.set_enabled, application.read(namespace.find, "buynlarge").id, False)
    assert found(devtable, "orgrepo") == []
    assert devtable.get("/find/all?query=buynlarge").json["results"] == []


def test_pages(make_application):
    """Pages have as many results as they should, and end where the configuration says."""
    application = make_application(SEARCH_RESULTS_PER_PAGE=2, SEARCH_MAX_RESULT_PAGE_COUNT=2)
    devtable = Client(application, "devtable")
    for number in range(6):
        make(devtable, f"titi/app-{number}")
    first = devtable.get("/find/repositories?query=app").json
    assert (first["page"], first["page_size"], first["start_index"], first["has_additional"]) == (1, 2, 0, True)
    assert found(devtable, "app", page=2) == ["titi/app-2", "titi/app-3"]
    last = devtable.get("/find/repositories?query=app&page=99").json
    assert (last["page"], last["start_index"], last["has_additional"]) == (2, 2, False)


def test_empty_query(application):
    """Without words, everything that one may see is found."""
    assert found(Client(application), "") == ["public/publicrepo"]
    assert found(Client(application, "reader"), "%20-%20") == [
        "buynlarge/orgrepo",
        "devtable/shared",
        "public/publicrepo",
    ]


@pytest.mark.parametrize("query", ["page=0", "page=x", "query=" + "x" * 256])
def test_bad_queries(devtable, query):
    """A query is of a sensible length, and pages begin at 1."""
    assert devtable.get(f"/find/repositories?{query}").status == 400


def test_a_word_that_never_ends(devtable):
    """Descriptions and queries of odd words do no harm."""
    make(devtable, "titi/odd", "x" * 10_000 + " \U0010ffff " + " ".join(f"w{number}" for number in range(2_000)))
    assert found(devtable, "x" * 200) == ["titi/odd"]
    assert found(devtable, "%F4%8F%BF%BF") is not None


# --- everything ---------------------------------------------------------------------------------------------------


def kinds(client, query):
    answer = client.get(f"/find/all?query={query}")
    assert answer.status == 200, answer
    return {(one["kind"], one["name"]) for one in answer.json["results"]}


def test_find_all(application, devtable):
    """Repositories, users, organizations, robots and teams are found, by those who may know of them."""
    assert kinds(devtable, "dtrobot") == {("robot", "devtable+dtrobot"), ("robot", "devtable+dtrobot2")}
    assert kinds(devtable, "devtable%2Bdtrobot2") == {("robot", "devtable+dtrobot2")}
    assert kinds(devtable, "read") >= {("user", "reader"), ("team", "readers"), ("repository", "readonly")}
    assert ("organization", "buynlarge") in kinds(devtable, "buyn")
    stranger = Client(application, "freshuser")
    assert kinds(stranger, "dtrobot") == set()
    assert kinds(stranger, "read") == {("user", "reader")}
    assert kinds(Client(application, "reader"), "reader") == {("user", "reader"), ("team", "readers")}
    assert kinds(Client(application), "public") == {("user", "public"), ("repository", "publicrepo")}
    assert kinds(Client(application), "disabled") == set()
    assert kinds(devtable, "") == set()


def test_credentials_for_repositories(application):
    """A token that is for repositories finds these, and no robots or teams."""
    assert {kind for kind, _ in kinds(Client(application, OAUTH_TOKEN), "r")} <= {"repository", "user", "organization"}
    assert kinds(Client(application, OAUTH_TOKEN), "dtrobot") == set()


def test_the_best_comes_first(devtable):
    """Who has just this name comes before those whose names only begin so."""
    first = devtable.get("/find/all?query=devtable").json["results"][0]
    assert (first["kind"], first["name"], first["href"]) == ("user", "devtable", "/user/devtable")


def test_robots_of_others_alone(application, devtable):
    """The robots of an organization are for its administrators: not for those who are in another of its teams."""
    assert ("robot", "buynlarge+coolrobot") in kinds(devtable, "cool")
    assert kinds(Client(application, "creator"), "cool") == set()


# --- entities -----------------------------------------------------------------------------------------------------


def entities(client, prefix, query=""):
    answer = client.get(f"/entities/{prefix}?{query}")
    assert answer.status == 200, answer
    return {(one["kind"], one["name"]): one for one in answer.json["results"]}


def test_entities(application, devtable):
    """Users are found by the beginnings of their names; robots and teams in the namespace that is one's own."""
    assert set(entities(devtable, "Read")) == {("user", "reader")}
    assert set(entities(devtable, "dt")) == set()
    robots = entities(devtable, "dt", "namespace=devtable")
    assert set(robots) == {("user", "devtable+dtrobot"), ("user", "devtable+dtrobot2")}
    assert robots["user", "devtable+dtrobot"]["is_robot"]
    of_org = entities(devtable, "read", "namespace=buynlarge&includeTeams=true")
    assert of_org["user", "reader"]["is_org_member"]
    assert not of_org["user", "reader"]["is_robot"]
    assert of_org["team", "readers"]["avatar"]["kind"] == "team"
    assert ("org", "buynlarge") in entities(devtable, "buy", "namespace=buynlarge&includeOrgs=true")
    assert not entities(devtable, "fresh", "namespace=buynlarge")["user", "freshuser"]["is_org_member"]


def test_entities_of_others(application):
    """Robots and teams of others are not found, nor who is disabled; organizations are no users."""
    stranger = Client(application, "freshuser")
    assert set(entities(stranger, "dt", "namespace=devtable")) == set()
    assert set(entities(stranger, "read", "namespace=buynlarge&includeTeams=true")) == {("user", "reader")}
    assert set(entities(stranger, "cool", "namespace=buynlarge")) == set()
    assert set(entities(stranger, "buy", "namespace=buynlarge&includeOrgs=true")) == set()
    assert set(entities(stranger, "disab")) == set()
    reader = Client(application, "reader")
    assert ("user", "buynlarge+coolrobot") in entities(reader, "cool", "namespace=buynlarge")
    assert set(entities(reader, "buy", "namespace=buynlarge&includeOrgs=true")) == {
        ("user", "buynlarge+coolrobot"),
        ("user", "buynlarge+ownerbot"),
    }


def test_nobody_lists_users(application):
    """Who does not say who he is finds only whom he knows by name."""
    assert set(entities(Client(application), "read")) == set()
    assert set(entities(Client(application), "reader")) == {("user", "reader")}


def test_exact_names_only(make_application):
    """Where names are not completed, only a whole name is found."""
    client = Client(make_application(FEATURE_PARTIAL_USER_AUTOCOMPLETE=False), "devtable")
    assert set(entities(client, "read")) == set()
    assert set(entities(client, "reader")) == {("user", "reader")}


def test_link(devtable):
    """There is nowhere to link a user from."""
    assert devtable.post("/entities/link/somebody").status == 404


def test_many_entities(application, devtable):
    """A page of entities is a page, however many there are."""
    owner = application.read(namespace.find, "titi")
    for number in range(30):
        application.write(team.create, owner.id, f"team-{number:02}", "member")
    assert len(entities(devtable, "team", "namespace=titi&includeTeams=true")) == 10
