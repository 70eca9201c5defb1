"""The page of a search: what it finds, page by page, and that nobody finds what he may not see."""

import pytest

from quay.model import repository, words
from quay.oci.reference import RepositoryName
from tests.http.api.client import Client
from tests.http.console.visitor import Visitor

XSS = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


def make(application, *names, public=False, description=""):
    """Repositories of devtable's, known to the search."""
    client = Client(application, "devtable")
    for name in names:
        body = {"repository": name, "visibility": "public" if public else "private", "description": description}
        assert client.post("/repository", body | {"namespace": "devtable"}).status == 201


@pytest.fixture
def application(make_application):
    return make_application(SUPER_USERS=["devtable"])


def test_everything_that_has_a_name(application):
    """Repositories are in a table; people and organizations stand before them, each with a link to its page."""
    page = Visitor(application, "devtable").open("/search?q=buy")
    assert "/organization/buynlarge" in page.links
    assert "organization" in page.text
    page = Visitor(application, "devtable").open("/search?q=shared")
    assert "/repository/devtable/shared" in page.links


def test_robots_and_teams(application):
    """Who may know robots and teams finds them, with the addresses of their pages; nobody else does."""
    page = Visitor(application, "devtable").open("/search?q=coolrobot")
    assert "/organization/buynlarge/robots/coolrobot" in page.links
    assert Visitor(application, "devtable").open("/organization/buynlarge/robots/coolrobot").status == 200
    assert "/organization/buynlarge/teams/owners" in Visitor(application, "devtable").open("/search?q=owners").links
    for other in (Visitor(application), Visitor(application, "freshuser")):
        assert not any("robots/" in link for link in other.open("/search?q=coolrobot").links)


def test_nothing_leaks(application):
    """What somebody may not see is neither found nor counted: not in the text, not in a pager, for no query."""
    make(application, "topsecret")
    assert "/repository/devtable/topsecret" in Visitor(application, "devtable").open("/search?q=topsecret").links
    for other in (Visitor(application), Visitor(application, "reader")):
        for query in ("topsecret", "", "devtable"):
            page = other.open(f"/search?q={query}")
            assert page.status == 200
            assert not any("devtable/topsecret" in link for link in page.links)
        assert "Nothing that you may see" in other.open("/search?q=topsecret").text


def test_pages(application):
    """A search goes on on the next page, keeps its words, and leads back; people are on the first one only."""
    make(application, *(f"many{number:02}" for number in range(25)))
    devtable = Visitor(application, "devtable")
    first = devtable.open("/search?q=many")
    assert "/search?q=many&page=2" in first.links
    second = devtable.open("/search?q=many&page=2")
    assert "/search?q=many&page=3" in second.links
    assert "/search?q=many" in second.links
    third = devtable.open("/search?q=many&page=3")
    assert not any("page=4" in link for link in third.links)
    found = {link for page in (first, second, third) for link in page.links if "/many" in link}
    assert len(found) == 25


@pytest.mark.parametrize("query", ["page=x", "page=-1", "page=99999", "page=0", "q=%00", "q=%20", f"q={'x' * 5000}"])
def test_odd_queries(application, query):
    """Whatever stands in the address, there is a page, or a sentence that says what is wrong with it."""
    assert Visitor(application, "devtable").open(f"/search?{query}").status in (200, 400)


def test_no_query(application):
    """Without a query nothing is looked for, and it is said what can be found."""
    for query in ("", "?q=", "?q=%20"):
        page = Visitor(application, "devtable").open(f"/search{query}")
        assert page.status == 200
        assert "Type above" in page.text
        assert not any("devtable/" in link for link in page.links)


def test_nothing_found(application):
    """An empty result says how words are matched, and how a repository is made: with the reader's own name and host."""
    page = Visitor(application, "reader").open("/search?q=xyzzy")
    assert "docker push registry.test:5000/reader/IMAGE:latest" in page.text
    assert "/signin/?next=/search%3Fq%3Dxyzzy" in Visitor(application).open("/search?q=xyzzy").links


def test_harmless(application):
    """Neither a query nor a description becomes an element of the page."""
    make(application, "xss", public=True, description=XSS)
    for query in ("xss", "%3Cscript%3Ealert(1)%3C/script%3E%22'%3E%3Cimg%20src=x%20onerror=alert(2)%3E"):
        page = Visitor(application, "devtable").open(f"/search?q={query}")
        assert page.status == 200
        assert "alert(1)" in page.text
        assert all("onerror" not in known for _, known in page.elements)
        assert all(known.get("src", "").startswith("/static/") for tag, known in page.elements if tag == "script")


def test_many_repositories(application):
    """Among thousands of repositories, a search has its pages."""

    def fill(txn):
        owner = repository.find(txn, RepositoryName("devtable", "shared")).namespace_id
        for number in range(2_000):
            name = RepositoryName("devtable", f"bulk{number}")
            repository.create(txn, name, namespace_id=owner, creator_id=owner, public=False)
        words.index_missing(txn, 10_000)

    application.write(fill)
    page = Visitor(application, "devtable").open("/search?q=bulk")
    assert "/search?q=bulk&page=2" in page.links
