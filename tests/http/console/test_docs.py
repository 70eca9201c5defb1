"""The documentation that the box serves: every page, its links and commands, and what a search finds in it."""

import re
import shlex
from importlib.resources import files
from urllib.parse import urlsplit

import click
import pytest

from appliance.cli import quay
from quay.cli import manual
from quay.oci import errors
from quay.web.api import routes_of
from quay.web.api.errors import DESCRIPTIONS
from quay.web.console.docs import WRITTEN, anchor_of, document
from tests.http.console.visitor import Visitor

PAGES = [key for keys in WRITTEN.values() for key in keys]
XSS = "%3Cscript%3Ealert(1)%3C/script%3E%22'%3E%3Cimg%20src=x%20onerror=alert(2)%3E"


@pytest.fixture(scope="module")
def application(sqlite_template, tmp_path_factory):
    from tests.http.application import Application

    made = Application(tmp_path_factory.mktemp("application"), sqlite_template).start().populate()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def reader(application):
    return Visitor(application, "reader")


def texts():
    """Every page as it was written, by its name."""
    for file in files("quay").joinpath("docs").iterdir():
        yield file.name.removesuffix(".md"), file.read_text(encoding="utf-8")


def blocks():
    """The lines of every block of commands, with the page they are on."""
    for key, text in texts():
        if key not in ("commands", "configuration"):
            for line in re.findall(r"(?m)^    (.+)$", re.sub(r"\\\n *", "", text)):
                yield key, line


# --- pages


def test_every_file_has_its_place():
    """No page is missing, and none is left out of the contents."""
    assert {key for key, _ in texts()} | {"configuration"} == set(PAGES)


@pytest.mark.parametrize("key", PAGES)
def test_every_page_opens(application, reader, key):
    """A page opens for everybody, with a table of contents that leads to sections that are there."""
    for visitor in (Visitor(application), reader):
        page = visitor.open(f"/docs/{key}")
        assert page.status == 200
        anchors = {known["id"] for tag, known in page.elements if tag == "section" and "id" in known}
        assert {link[1:] for link in page.links if link.startswith("#")} <= anchors | {"content"}
        assert len(anchors) == len([one for one in document(key).sections if one.level > 1])


def test_contents(reader):
    """The contents lead to every page."""
    assert {f"/docs/{key}" for key in PAGES} <= set(reader.open("/docs/").links)


def test_no_such_page(reader):
    """There is no page that is not in the contents, whatever it is called."""
    for key in ("nosuch", "..%2fpy", "errors.md", "%00"):
        assert reader.open(f"/docs/{key}").status == 404


def test_the_reader_and_the_host(application, reader):
    """Commands have the reader's own name and the address by which he is here."""
    assert "docker login -u reader registry.test:5000" in reader.open("/docs/quickstart").text
    assert "docker login -u NAME registry.test:5000" in Visitor(application).open("/docs/quickstart").text
    assert "curl http://registry.test:5000/health" in reader.open("/docs/operate").text
    for key in PAGES:
        assert "{host}" not in reader.open(f"/docs/{key}").text


def test_links_lead_somewhere(application):
    """Every link of every page leads to a page that is there, and to a section that it has."""
    admin = Visitor(application, "devtable")
    opened = {}
    for key in PAGES:
        for link in admin.open(f"/docs/{key}").links:
            where = urlsplit(link)
            if where.scheme or not where.path or where.path.startswith(("/superuser", "/api", "/user", "/health")):
                continue
            if where.path not in opened:
                opened[where.path] = admin.open(where.path)
            page = opened[where.path]
            assert page.status == 200, (key, link)
            if where.fragment:
                ids = {known.get("id") for _, known in page.elements}
                assert where.fragment in ids, (key, link)


# --- what stands in them


def test_commands_are_commands(tmp_path, monkeypatch):
    """Every `quay …` in a block of commands is one that the command line takes, with options that it has."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "answers.yaml").touch()
    found = 0
    for key, line in blocks():
        words = shlex.split(line.replace("{me}", "ada").partition(" < ")[0], comments=True)
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
            words = words[1:]
        if not words or words[0] != "quay":
            continue
        parse(quay, "quay", words[1:], None, (key, line))
        found += 1
    assert found > 20


def parse(command, name, arguments, parent, where):
    """Raises what the command line would say; nothing is run."""
    try:
        context = command.make_context(name, arguments, parent)
    except click.UsageError as error:
        raise AssertionError((*where, error.format_message())) from error
    if isinstance(command, click.Group) and context._protected_args:
        rest = [*context._protected_args, *context.args]
        name, below, rest = command.resolve_command(context, rest)
        parse(below, name, rest, context, where)


def test_calls_are_calls(application):
    """Every `curl …` to the API names a method and an address of a route."""
    routes = {
        (route.method, re.compile(re.sub(r"\\\{\w+\\\}", "[^ ]+", re.escape(route.template.rstrip("/"))) + "/?"))
        for route in routes_of(application.config)
    }
    found = 0
    for key, line in blocks():
        called = re.search(r"curl(?: -X (\w+))?.* \{base\}(/api/v1\S*)", line)
        if called:
            found += 1
            method = called[1] or "GET"
            assert any(method == one and path.fullmatch(called[2]) for one, path in routes), (key, line)
    assert found >= 4


def test_keys_are_keys(application):
    """Every key of the configuration that a page names is one."""
    reference = document("configuration")
    known = {word for section in reference.sections for word in re.findall(r"`([A-Z_]{4,})`", section.text)}
    codes = {error.code for error in subclasses(errors.RegistryError)} | {"TOKEN", "ROBOT_TOKEN"}
    for key, text in texts():
        for word in re.findall(r"`([A-Z]+_[A-Z_]+)`", text):
            assert word in known | codes, (key, word)


def subclasses(kind):
    yield kind
    for below in kind.__subclasses__():
        yield from subclasses(below)


def test_every_error_is_explained(reader):
    """Each code of the registry, and each type of the API, has its place on the page of errors."""
    page = reader.open("/docs/errors")
    ids = {known.get("id") for _, known in page.elements}
    assert set(DESCRIPTIONS) <= ids
    for error in subclasses(errors.RegistryError):
        if error.__module__.startswith("quay"):
            assert error.code in page.text


def test_metrics_are_those_of_the_code(tmp_path):
    """What is generated from the code is what the code gives: else run `quay reference …`."""
    written = dict(texts())
    assert written["metrics"] == manual.metrics(tmp_path)
    assert written["commands"] == manual.commands(quay)


def test_metrics_that_are_named(application):
    """A metric that a page names is measured."""
    known = set(re.findall(r"`(quay_\w+)`", dict(texts())["metrics"]))
    for key, text in texts():
        for name in re.findall(r"`(quay_(?!notification)\w+)`", text):
            assert name in known, (key, name)


# --- search


def test_search(reader):
    """A search finds the sections that have all the words, leads to them, and shows what stands around the first."""
    page = reader.open("/docs/?q=forgotten+password")
    assert "/docs/runbooks#forgotten-admin-password" in page.links
    assert any(tag == "mark" for tag, _ in page.elements)
    assert "/docs/configuration#secrets" in reader.open("/docs/?q=DATABASE_SECRET_KEY").links
    assert "{me}" not in reader.open("/docs/?q=account+for+machines").text


def test_search_finds_nothing(reader):
    """What no section has is told so; blanks are no query."""
    assert "No section has all these words" in reader.open("/docs/?q=xyzzy").text
    assert "No section" not in reader.open("/docs/?q=%20").text


@pytest.mark.parametrize("query", [XSS, "(", "[a-z", "%5C", "*", "a" * 5000, "%00"])
def test_odd_queries(reader, query):
    """A query is words and nothing else."""
    page = reader.open(f"/docs/?q={query}")
    assert page.status == 200
    assert all("onerror" not in known for _, known in page.elements)
    assert all(known.get("src", "").startswith("/static/") for tag, known in page.elements if tag == "script")


def test_anchors():
    """The name of a section can stand in an address, and errors keep theirs."""
    assert anchor_of("Lost the second factor") == "lost-the-second-factor"
    assert anchor_of("insufficient_scope") == "insufficient_scope"
