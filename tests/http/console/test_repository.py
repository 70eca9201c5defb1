"""The pages of repositories: listed, made, described, pulled from, set up, renamed and deleted."""

import re

import pytest

from quay.testdata import images
from tests.http.api.client import Client, audited
from tests.http.application import Repository
from tests.http.console.visitor import Visitor

HOSTILE = """<script>alert(1)</script>"><img src=x onerror=alert(1)>'"""
FIRST = images.image("first")


@pytest.fixture
def application(make_application):
    return make_application(FEATURE_SIGNING=True)


@pytest.fixture
def devtable(application):
    return Visitor(application, "devtable")


@pytest.fixture
def reader(application):
    return Visitor(application, "reader")


def safe(look):
    """The text of a page in which nothing of a stranger's became markup."""
    assert look.status == 200, look.html[:500]
    assert "<script>alert" not in look.html
    assert "<img src=x" not in look.html
    for _, attributes in look.elements:
        assert "style" not in attributes, "the policy refuses inline styles"
        assert not any(name.startswith("on") for name in attributes), "the policy refuses inline scripts"
    ids = [attributes["id"] for _, attributes in look.elements if "id" in attributes]
    assert len(ids) == len(set(ids)), "an id stands once on a page"
    return look.html


def told(page):
    """What the page says of what has just been done: that it is, or why it is not."""
    (found,) = re.findall(r'<p class="flash (\w+)" role="\w+">(.*?)</p>', safe(page))
    return found


# --- lists --------------------------------------------------------------------------------------------------------


def test_list(devtable):
    """One sees one's own repositories, those of one's organizations, and the public ones; or those of one of them."""
    everything = devtable.open("/repository/")
    for name in ("devtable/simple", "buynlarge/orgrepo", "public/publicrepo"):
        assert f"/repository/{name}" in everything.links
    some = devtable.open("/repository/?namespace=buynlarge")
    assert "/repository/buynlarge/orgrepo" in some.links
    assert "/repository/devtable/simple" not in some.links


def test_list_of_nobody(application):
    """Whoever has not signed in sees the public repositories."""
    links = Visitor(application).open("/repository/").links
    assert "/repository/public/publicrepo" in links
    assert "/repository/devtable/simple" not in links


def test_list_of_what_one_may_not_see(reader):
    """A namespace shows those of its repositories only that one may see; an empty list says how to fill it."""
    links = reader.open("/repository/?namespace=devtable").links
    assert "/repository/devtable/shared" in links
    assert "/repository/devtable/simple" not in links
    assert "docker push registry.test:5000/reader/IMAGE:latest" in reader.open("/repository/?namespace=reader").text


def test_a_strange_namespace(devtable):
    """What is in the address is not markup in the page."""
    safe(devtable.open("/repository/?namespace=%3Cscript%3Ealert(1)%3C/script%3E"))


def test_many(application, devtable):
    """A list of many repositories has pages."""
    for number in range(120):
        body = {"repository": f"many-{number:03}", "visibility": "private", "description": HOSTILE}
        assert Client(application, "devtable").post("/repository", body).status == 201
    first = devtable.open("/repository/?namespace=devtable")
    safe(first)
    (following,) = [link for link in first.links if "next_page" in link]
    second = devtable.open(following)
    assert "/repository/devtable/many-119" in second.links
    assert "/repository/devtable/many-000" not in second.links


# --- a new one ----------------------------------------------------------------------------------------------------


def test_new(application, devtable):
    """The form makes a repository, and leads to it."""
    look = devtable.open("/new/?namespace=buynlarge")
    form = look.form("createRepo")
    assert form.first("field.namespace") == "buynlarge"
    page = devtable.send(form, field__repository="made/here", field__description="Words")
    assert page.address == "/repository/buynlarge/made/here"
    assert told(page) == ("done", "The repository is made.")
    assert "Words" in page.html
    assert "docker push registry.test:5000/buynlarge/made/here:latest" in page.html
    assert audited(application, "create_repo")[-1][0] == "devtable"


def test_new_refused(devtable):
    """What is wrong with a name is said on the page of the form."""
    page = devtable.send(devtable.open("/new/").form("createRepo"), field__repository="Not/A Name")
    assert told(page)[0] == "wrong"
    assert page.has("createRepo")


def test_new_needs_a_session(application):
    """Nobody in particular is asked to sign in, and comes back."""
    answer = Visitor(application).get("/new/")
    assert (answer.status, answer.headers["location"]) == (303, "/signin/?next=%2Fnew%2F")


def test_new_needs_the_session_s_form(application, devtable):
    """A form that was not made for this session does nothing."""
    form = devtable.open("/new/").form("createRepo")
    answer = devtable.post(form, _csrf_token="0" * 64, field__repository="forged")
    assert answer.status == 403
    assert devtable.get("/repository/devtable/forged").status == 404


# --- information --------------------------------------------------------------------------------------------------


def test_information(application, devtable):
    """The first tab says what the repository is for, and how to pull its latest tag."""
    Repository(application, "devtable/simple", ("devtable", "password")).push(FIRST, "v1")
    text = safe(devtable.open("/repository/devtable/simple"))
    assert "Simple repository." in text
    assert "docker pull registry.test:5000/devtable/simple:v1" in text
    assert "changes in 92 days" in text


def test_description(application, devtable):
    """A description is Markdown, is edited in a form, and runs nothing."""
    look = devtable.open("/repository/devtable/simple")
    written = f"# About\n\n[x](javascript:alert(1)) {HOSTILE}\n\n**bold** </textarea>"
    page = devtable.send(look.form("updateRepo"), field__description=written)
    text = safe(page)
    assert "<strong>bold</strong>" in text
    assert "<h3>About</h3>" in text
    assert 'href="javascript:' not in text
    assert page.form("updateRepo").first("field.description").startswith("# About")


def test_star(devtable):
    """A star is given and taken away with a button."""
    devtable.send(devtable.open("/repository/devtable/simple").form("createStar"))
    page = devtable.open("/repository/devtable/simple")
    assert "/repository/devtable/simple" in devtable.open("/repository/?starred=1").links
    devtable.send(page.form("deleteStar"))
    assert "/repository/devtable/simple" not in devtable.open("/repository/?starred=1").links


def test_an_application_repository(devtable):
    """A repository that holds no images has no tabs for them."""
    look = devtable.open("/repository/devtable/someapp")
    safe(look)
    assert not any("tab=tags" in link for link in look.links)


@pytest.mark.parametrize("tab", ["", "?tab=tags", "?tab=history"])
def test_forms_are_for_those_who_may(application, reader, tab):
    """Who may only read gets no form that changes anything."""
    Repository(application, "devtable/shared", ("devtable", "password")).push(FIRST, "v1")
    look = reader.open(f"/repository/devtable/shared{tab}")
    safe(look)
    offered = {form.action for form in look.forms if form.method == "post"}
    assert offered <= {"/do/createStar", "/do/logout"}
    assert "tab=settings" not in look.html


@pytest.mark.parametrize("tab", ["settings", "logs", "deliveries"])
def test_tabs_are_for_those_who_may(application, reader, tab):
    """A tab for administrators is not there for others, whatever address they type."""
    assert reader.open(f"/repository/devtable/shared?tab={tab}").status == 403
    assert Visitor(application).get(f"/repository/public/publicrepo?tab={tab}").status == 303


def test_nobody(application):
    """A private repository sends nobody in particular to the sign-in, be it there or not."""
    for name in ("simple", "none"):
        answer = Visitor(application).get(f"/repository/devtable/{name}")
        assert (answer.status, answer.headers["location"]) == (303, f"/signin/?next=%2Frepository%2Fdevtable%2F{name}")


def test_absent(devtable, reader):
    """What is not there is said to be so to its owner; to others, that they may not see it, or that it is not there."""
    assert devtable.open("/repository/devtable/none").status == 404
    assert reader.open("/repository/devtable/none").status == 403
    assert devtable.open("/repository/devtable/simple?tab=none").status == 404


# --- settings -----------------------------------------------------------------------------------------------------


def adding(page, nickname, field):
    """The form of this action in which this field is still empty."""
    return page.form(nickname, **{field.replace(".", "__"): ""})


def settings(visitor, name="devtable/simple"):
    return visitor.open(f"/repository/{name}?tab=settings")


def test_permissions(application, devtable, reader):
    """A role is given by name, changed, and taken away."""
    form = adding(settings(devtable), "changeUserPermissions", "path.username")
    assert told(devtable.send(form, path__username="reader", field__role="read")) == ("done", "The role is given.")
    assert reader.open("/repository/devtable/simple").status == 200
    devtable.send(settings(devtable).form("changeUserPermissions", path__username="reader"), field__role="write")
    assert reader.open("/repository/devtable/simple").has("updateRepo")
    devtable.send(settings(devtable).form("deleteUserPermissions", path__username="reader"))
    assert reader.open("/repository/devtable/simple").status == 403
    assert [kind["role"] for _, kind in audited(application, "change_repo_permission")] == ["read", "write"]


def test_permissions_of_nobody(devtable):
    """Somebody who is not there gets no role, and his name is not markup."""
    form = settings(devtable).form("changeUserPermissions")
    page = devtable.send(form, path__username=HOSTILE, field__role="read")
    assert told(page)[1].startswith("There is no user or robot")


def test_teams(devtable):
    """Teams have roles in the repositories of their organization, and of nobody else's."""
    assert not settings(devtable).has("changeTeamPermissions")
    form = settings(devtable, "buynlarge/orgrepo").form("changeTeamPermissions")
    page = devtable.send(form, path__teamname="owners", field__role="write")
    assert page.form("deleteTeamPermissions", path__teamname="owners")


def test_webhook(application, devtable):
    """A webhook is made; its secret is shown once."""
    (form,) = [
        form
        for form in settings(devtable).forms
        if form.action == "/do/createRepoNotification" and form.first("field.method") == "webhook"
    ]
    answer = devtable.send(
        form, **{"field.config.url": "https://hooks.example/x", "field.title": HOSTILE, "field.event": "repo_push"}
    )
    assert "shown this once" in safe(answer)
    page = settings(devtable)
    assert "https://hooks.example/x" in safe(page)
    (link,) = [link for link in page.links if "tab=deliveries" in link]
    deliveries = devtable.open(link)
    assert "Nobody has been told of anything yet" in safe(deliveries)
    assert told(devtable.send(deliveries.form("testRepoNotification")))[1].startswith("A test is on its way")
    devtable.send(page.form("deleteRepoNotification"))
    assert not settings(devtable).has("deleteRepoNotification")


def test_bell(application, devtable):
    """A ring of the bell for somebody is no secret; of tags that expire one is told some days before."""
    (form,) = [form for form in settings(devtable).forms if form.first("field.method") == "quay_notification"]
    answer = devtable.send(
        form,
        **{
            "field.config.target.kind": "user",
            "field.config.target.name": "devtable",
            "field.event": "repo_image_expiry",
            "field.eventConfig.days": "7",
        },
    )
    assert "needs no secret" in safe(answer)
    (made,) = Client(application, "devtable").get("/repository/devtable/simple/notification/").json["notifications"]
    assert made["config"] == {"target": {"kind": "user", "name": "devtable"}}
    assert made["event_config"] == {"days": 7}
    assert "user devtable" in safe(settings(devtable))


def test_email(make_application):
    """Letters are offered where there is a mail server, and the settings say to whom they go."""
    application = make_application(MAIL_SERVER="mail.example", MAIL_DEFAULT_SENDER="quay@example.com")
    devtable = Visitor(application, "devtable")
    (form,) = [form for form in settings(devtable).forms if form.first("field.method") == "email"]
    devtable.send(form, **{"field.config.email": "devtable@example.com"})
    assert "devtable@example.com" in safe(settings(devtable))


def test_visibility(application, devtable):
    """A repository is made public with a choice."""
    devtable.send(settings(devtable).form("changeRepoVisibility"), field__visibility="public")
    assert Visitor(application).open("/repository/devtable/simple").status == 200


def test_read_only(application, devtable):
    """While it is read-only, nobody is offered to change its tags."""
    Repository(application, "devtable/simple", ("devtable", "password")).push(FIRST, "v1")
    assert devtable.open("/repository/devtable/simple?tab=tags").has("deleteFullTag")
    devtable.send(settings(devtable).form("changeRepoState"), field__state="READ_ONLY")
    look = devtable.open("/repository/devtable/simple?tab=tags")
    assert "read-only" in look.html
    assert not look.has("deleteFullTag")


def test_trust(application, devtable):
    """Signing is switched where the registry has it."""
    devtable.send(settings(devtable).form("changeRepoTrust"), field__trust_enabled="1")
    assert Client(application, "devtable").get("/repository/devtable/simple").json["trust_enabled"] is True


def test_rename(devtable):
    """A new name leads to the page at its new address."""
    form = settings(devtable).form("renameRepo")
    page = devtable.send(form, field__namespace="buynlarge", field__name="moved")
    assert (page.status, page.address) == (200, "/repository/buynlarge/moved?tab=settings")


@pytest.mark.parametrize("typed", ["", "devtable/shared", "simple", HOSTILE])
def test_delete_asks_for_the_name(devtable, typed):
    """Another name than the repository's deletes nothing."""
    page = devtable.send(settings(devtable).form("deleteRepository"), _typed=typed)
    assert told(page)[1].endswith("so nothing was done.")
    assert devtable.get("/repository/devtable/simple").status == 200


def test_delete(application, devtable):
    """With its name typed it goes."""
    form = settings(devtable).form("deleteRepository")
    page = devtable.send(form, _typed="devtable/simple")
    assert told(page) == ("done", "The repository devtable/simple is deleted.")
    assert devtable.get("/repository/devtable/simple").status == 404
    assert audited(application, "delete_repo")[-1][0] == "devtable"


# --- the log ------------------------------------------------------------------------------------------------------


def describe(application, text):
    assert Client(application, "devtable").put("/repository/devtable/simple", {"description": text}).status == 200


def test_log(application, devtable):
    """The log says in a line who did what; what was written into it is not markup."""
    describe(application, HOSTILE)
    look = devtable.open("/repository/devtable/simple?tab=logs")
    text = safe(look)
    assert "Changed the description of <code>simple</code>" in text
    assert "Entries from 2026-09-15 to 2026-09-21: 1" in text


def test_log_of_other_days(application, devtable):
    """Days without an entry are empty; what is no day is refused."""
    describe(application, "x")
    assert (
        "Nothing is on record"
        in devtable.open("/repository/devtable/simple?tab=logs&from=2020-01-01&to=2020-02-01").text
    )
    assert devtable.open("/repository/devtable/simple?tab=logs&from=yesterday").status == 400


def test_log_export(application, devtable):
    """What is shown can be exported: the answer leads to it, as JSON and as a table, and to nothing of other days."""
    describe(application, "x")
    look = devtable.open("/repository/devtable/simple?tab=logs")
    assert "exportlogs?starttime=09%2F15%2F2026&endtime=09%2F21%2F2026" in look.text
    answer = devtable.send(look.form("exportRepoLogs"))
    document, table = (link.removeprefix("http://registry.test:5000") for link in answer.links if "token=" in link)
    for link, part in ((document, b'"set_repo_description"'), (table, b",set_repo_description,")):
        connection = application.connect()  # the answer comes in chunks
        connection.request("GET", link)
        assert part in connection.transport.value()
    assert not devtable.open("/repository/devtable/simple?tab=logs&from=2020-01-01&to=2020-02-01").has("exportRepoLogs")


def test_log_pages(application, devtable):
    """A long log has pages, that keep the days."""
    for number in range(50):
        describe(application, f"x{number}")
    look = devtable.open("/repository/devtable/simple?tab=logs&from=2026-09-01&to=2026-09-30")
    (following,) = [link for link in look.links if "next_page" in link]
    assert "from=2026-09-01" in following
    assert "Changed the description" in devtable.open(following).text


# --- short addresses ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "there"),
    [
        ("/devtable/simple", "/repository/devtable/simple"),
        ("/devtable/simple/", "/repository/devtable/simple"),
        ("/devtable/simple:v1", "/repository/devtable/simple?tab=tags&tag=v1"),
        ("/devtable", "/user/devtable"),
        ("/buynlarge", "/organization/buynlarge"),
    ],
)
def test_shortcuts(devtable, address, there):
    """What is typed as in a pull leads to its page."""
    answer = devtable.get(address)
    assert (answer.status, answer.headers["location"]) == (303, there)


@pytest.mark.parametrize(
    "address", ["/nobody", "/devtable/none", "/a/b/c/d", "/wp-admin/setup.php", "/Devtable/Simple"]
)
def test_no_shortcuts(application, devtable, address):
    """Where there is nothing, it is said: to people on a page, to clients in JSON."""
    answer = devtable.get(address)
    assert (answer.status, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
    for asked in (address, "/devtable/simple"):
        answer = application.request("GET", asked, {"Accept": "*/*"}, auth=("devtable", "password"))
        assert (answer.status, answer.headers["content-type"]) == (404, "application/json")
