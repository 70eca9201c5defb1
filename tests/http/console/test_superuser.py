"""The administration in the console: for superusers alone; what its tabs show, and what its forms do."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from quay import authority
from quay.condition import fine, remarkable, wrong
from quay.setup import CertificateFiles
from quay.web.api import installation
from tests.http.api.client import Client, audited
from tests.http.console.visitor import Visitor

XSS = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
TABS = ("users", "organizations", "logs", "messages", "keys", "health", "storage")


@pytest.fixture
def application(make_application):
    return make_application(SUPER_USERS=["devtable"])


@pytest.fixture
def admin(application):
    return Visitor(application, "devtable")


def assert_harmless(page):
    """Nothing that somebody wrote is an element of the page."""
    assert page.status == 200
    assert all("onerror" not in known for _, known in page.elements)
    assert all(known.get("src", "").startswith("/static/") for tag, known in page.elements if tag == "script")
    assert "alert(1)" in page.text


# --- who sees it


@pytest.mark.parametrize("tab", TABS)
def test_every_tab_opens(admin, tab):
    """A superuser sees every tab, and each leads to all others and to the jobs."""
    page = admin.open(f"/superuser/?tab={tab}")
    assert page.status == 200
    assert {f"/superuser/?tab={other}" for other in TABS[1:]} | {"/superuser/", "/superuser/jobs/"} <= set(page.links)


@pytest.mark.parametrize("address", ["/superuser/", *(f"/superuser/?tab={tab}" for tab in TABS), "/superuser/jobs/"])
def test_nobody_else_does(application, address):
    """Whoever is no superuser is told so, and whom to ask; whoever is not signed in is asked to, and comes back."""
    page = Visitor(application, "reader").open(address)
    assert page.status == 403
    assert "people who run the registry" in page.text
    assert [form.action for form in page.forms if form.action.startswith("/do/")] == ["/do/logout"]
    answer = Visitor(application).get(address)
    assert answer.status == 303
    assert answer.headers["location"].startswith("/signin/?next=%2Fsuperuser")


def test_no_such_tab(admin):
    """There is no page of what there is not."""
    assert admin.open("/superuser/?tab=nosuch").status == 404
    assert admin.open("/superuser/?user=nosuch").status == 404


def test_the_way_there(application, admin):
    """Only a superuser has the link to it in his bar."""
    assert "/superuser/" in admin.open("/").links
    assert "/superuser/" not in Visitor(application, "reader").open("/").links


def test_a_session_that_is_not_fresh(application, admin):
    """Some time after signing in the password is asked for, and then the page is there."""
    application.clock.advance(3600)
    page = admin.open("/superuser/?tab=organizations")
    assert "Your password, please" in page.text
    wrong = admin.send(page.form("verifyUser"), field__password="wrong")
    assert "Your password, please" in wrong.text
    assert any(known.get("role") == "alert" for _, known in wrong.elements)
    page = admin.send(wrong.form("verifyUser"), field__password="password")
    assert page.address == "/superuser/?tab=organizations"
    assert "buynlarge" in page.text


# --- users


def test_a_new_user(application, admin):
    """A new user's password is on the page that follows, once, and signs him in."""
    page = admin.send(admin.open("/superuser/").form("createInstallUser"), field__username="leela")
    password = re.search(r"[0-9A-Z]{32}", page.text)[0]
    assert "docker login -u leela" in page.text
    assert password not in admin.open("/superuser/").html
    assert Visitor(application, "leela", password).open("/").status == 200
    assert audited(application, "user_create")[-1][0] == "devtable"


def test_a_user_that_cannot_be(admin):
    """A name that cannot be one is refused in a sentence, on the page of the form."""
    page = admin.send(admin.open("/superuser/").form("createInstallUser"), field__username="No Name")
    assert any(known.get("role") == "alert" for _, known in page.elements)
    assert page.has("createInstallUser")


def test_disable_and_enable(application, admin):
    """A button in the list disables a user, and another one enables him."""
    admin.send(admin.open("/superuser/").form("changeInstallUser", path__username="reader", field__enabled="0"))
    assert Client(application, "reader").get("/user/").status == 401
    page = admin.send(admin.open("/superuser/").form("changeInstallUser", path__username="reader", field__enabled="1"))
    assert "reader is enabled." in page.text
    assert Client(application, "reader").get("/user/").status == 200


def test_password_and_address(application, admin):
    """His page changes a user's password, if it was typed twice alike, and his e-mail address."""
    form = admin.open("/superuser/?user=reader").form("changeInstallUser", field__password="")
    page = admin.send(form, field__password="another-password", _repeated="other-password")
    assert "not the same" in page.text
    admin.send(form, field__password="another-password", _repeated="another-password")
    assert Client(application, ("reader", "another-password")).get("/user/").status == 200
    form = admin.open("/superuser/?user=reader").form("changeInstallUser", field__email="reader@example.com")
    admin.send(form, field__email="r@example.com")
    assert "r@example.com" in admin.open("/superuser/").text


def test_delete_a_user(application, admin):
    """A user is deleted when his name was typed."""
    form = admin.open("/superuser/?user=freshuser").form("deleteInstallUser")
    assert "nothing was done" in admin.send(form, _typed="someone").text
    page = admin.send(form, _typed="freshuser")
    assert "The account freshuser is deleted." in page.text
    assert admin.open("/superuser/?user=freshuser").status == 404


def test_other_superusers(admin):
    """A superuser is out of reach: there is no form for him, and it is said how he is changed."""
    page = admin.open("/superuser/?user=devtable")
    assert page.status == 200
    assert not page.has("deleteInstallUser")
    assert not page.has("changeInstallUser")
    assert "/docs/operate#accounts" in page.links
    listed = admin.open("/superuser/")
    assert all(form.first("path.username") != "devtable" for form in listed.forms)


def test_pages_of_users(application, admin):
    """Many users are on several pages."""
    from quay.model import namespace

    def fill(txn):
        for number in range(120):
            namespace.create_user(txn, f"user{number:03}", time_machine_s=0)

    application.write(fill)
    seen, page = set(), admin.open("/superuser/")
    for _ in range(5):
        seen |= {link for link in page.links if "?user=" in link}
        following = [link for link in page.links if "next_page=" in link]
        if not following:
            break
        page = admin.open(following[0])
    assert len([link for link in seen if "=user" in link]) == 120


# --- organizations


def test_organizations(application, admin):
    """An organization is renamed, taken over, and deleted by its name; its page is found by the new one."""
    page = admin.open("/superuser/?tab=organizations")
    assert "/superuser/?tab=organizations&organization=buynlarge" in page.links
    form = admin.open("/superuser/?tab=organizations&organization=buynlarge").form("changeOrganization")
    page = admin.send(form, field__name="bnl")
    assert page.address == "/superuser/?tab=organizations&organization=bnl"
    page = admin.send(page.form("takeOwnership"))
    assert page.address == "/organization/bnl"
    assert "you administer it" in page.text
    form = admin.open("/superuser/?tab=organizations&organization=bnl").form("deleteOrganization")
    assert "nothing was done" in admin.send(form, _typed="buynlarge").text
    admin.send(form, _typed="bnl")
    assert admin.open("/organization/bnl").status == 404
    assert [kind for kind in ("org_change_name", "take_ownership", "org_delete") if audited(application, kind)] == [
        "org_change_name",
        "take_ownership",
        "org_delete",
    ]


# --- logs, messages, keys


def test_logs(admin):
    """What was done anywhere is listed and counted."""
    page = admin.open("/superuser/?tab=logs")
    assert "Signed in" in page.text
    assert any(tag == "svg" for tag, _ in page.elements)


def test_messages(application, admin):
    """A message stands on every page until it is withdrawn; HTML in it is text."""
    form = admin.open("/superuser/?tab=messages").form("createGlobalMessage")
    page = admin.send(form, field__message__content=f"Down on *Sunday* {XSS}", field__message__severity="warning")
    assert_harmless(page)
    everybody = Visitor(application).open("/")
    assert_harmless(everybody)
    assert "Down on Sunday" in everybody.text
    admin.send(page.form("deleteGlobalMessage"))
    assert "Down on Sunday" not in Visitor(application).open("/").text


def test_service_keys(application, admin):
    """A new key's private half is shown once; it is listed, and deleted."""
    form = admin.open("/superuser/?tab=keys").form("createServiceKey")
    page = admin.send(form, field__service="mirror", field__name="the mirror", field__expiration="2031-12-31")
    assert "BEGIN PRIVATE KEY" in page.text or "BEGIN RSA PRIVATE KEY" in page.text
    page = admin.open("/superuser/?tab=keys")
    assert "PRIVATE KEY" not in page.html
    assert "2031-12-31" in page.text
    kid = Client(application, "devtable").get("/superuser/keys").json["keys"]
    (made,) = [key["kid"] for key in kid if key["service"] == "mirror"]
    admin.send(page.form("deleteServiceKey", path__kid=made))
    assert "the mirror" not in admin.open("/superuser/?tab=keys").text


def test_a_key_that_waits(application, admin):
    """A key that nobody has approved has a button for it."""
    from quay.model import key

    application.write(key.publish, "0" * 64, "scanner", {"kty": "RSA"}, None, False)
    page = admin.open("/superuser/?tab=keys")
    assert "not approved" in page.text
    page = admin.send(page.form("approveServiceKey"))
    assert "by devtable" in page.text
    assert "not approved" not in page.text


# --- health, storage


def test_health(application, admin):
    """Each service is told in a sentence, and what does not work leads to what to do."""
    page = admin.open("/superuser/?tab=health")
    assert "Everything works." in page.text
    assert "The database takes rows and keeps them" in page.text

    async def fails():
        from quay.storage import StorageFailed

        raise StorageFailed("default", "read", 5)

    application.blobs.check = fails
    application.clock.advance(10)
    page = admin.open("/superuser/?tab=health")
    assert "Something does not work" in page.text
    assert "/docs/runbooks#disk-full" in page.links


def test_the_machine(application, admin, monkeypatch):
    """What was found of disks, certificate and clock is told with its fix, and what is wrong of it at the top."""
    monkeypatch.setattr(installation, "condition", lambda config, now, daily, backups: [fine("The disk has room.")])
    page = admin.open("/superuser/?tab=health")
    assert "The disk has room." in page.text
    assert "will not do for long" not in page.text
    told = [wrong("The disk is <full>.", "quay gc", "/docs/runbooks#disk-full"), remarkable("It is late.")]
    monkeypatch.setattr(installation, "condition", lambda config, now, daily, backups: told)
    page = admin.open("/superuser/?tab=health")
    assert "will not do for long" in page.text
    assert "The disk is <full>. quay gc" in page.text
    assert "/docs/runbooks#disk-full" in page.links
    found = Client(application, "devtable").get("/superuser/health").json
    assert found["condition"][1] == {"state": "remarkable", "sentence": "It is late.", "fix": "", "link": ""}


def test_what_comes_in_a_day(application, admin, monkeypatch):
    """The forecast rests on the bytes of the last month."""
    days = []
    monkeypatch.setattr(installation, "condition", lambda config, now, daily, backups: days.append(daily) or [])
    admin.open("/superuser/?tab=health")
    application.repository().upload(b"x" * 3000)
    admin.open("/superuser/?tab=health")
    assert days[1] - days[0] == 100


def test_storage(application, admin):
    """What is held is counted once, and what a collection would free is tried out on request only."""
    client = application.repository()
    client.upload(b"x" * 3000)
    page = admin.open("/superuser/?tab=storage")
    assert "2.9 KiB in 1 blobs" in page.text
    assert "/superuser/?tab=storage&garbage=1" in page.links
    assert "would free nothing now" in admin.open("/superuser/?tab=storage&garbage=1").text
    application.clock.advance(3 * 86400)
    found = Client(application, "devtable").get("/superuser/storage?garbage=true").json
    assert found["garbage"] == {"tags": 0, "manifests": 0, "links": 1, "blobs": 1, "bytes": 3000}
    assert found["locations"] == [{"location": "default", "blobs": 1, "bytes": 3000}]
    assert Client(application, "devtable").get("/superuser/storage").json["garbage"] is None
    assert application.read(lambda txn: txn.connection.exec_driver_sql("SELECT count(*) FROM blob").scalar()) == 1


@pytest.mark.parametrize("auth", [None, "reader"])
def test_the_api_of_it(application, auth):
    """The state of the installation is for superusers."""
    refused = 401 if auth is None else 403
    for path in ("/superuser/storage", "/superuser/health"):
        assert Client(application, auth).get(path).status == refused


# --- pages that did not work


def test_nothing_there(application, admin):
    """Where there is nothing, the page says where to look: the search, the owner; harmless whatever was asked for."""
    page = admin.open("/repository/devtable/nosuch")
    assert page.status in (403, 404)
    page = Visitor(application).open("/nosuch/thing:latest")
    assert page.status == 404
    assert "/search?q=thing" in page.links
    assert "/nosuch" in page.links
    page = admin.open("/%3Cscript%3Ealert(1)%3C/script%3E")
    assert page.status == 404
    assert all(known.get("src", "").startswith("/static/") for tag, known in page.elements if tag == "script")


def test_not_allowed(application):
    """Who may not see a repository is told whom to ask, and where the error is explained."""
    page = Visitor(application, "freshuser").open("/repository/devtable/shared")
    assert page.status == 403
    assert "/devtable" in page.links
    assert "/docs/errors#insufficient_scope" in page.links


# --- the certificate

DAY = 86400


def shows(made, days):
    """The server of `made` shows a certificate that ends in so many days, which its own authority has not made."""
    files = CertificateFiles(made.config.data)
    begun = datetime.fromtimestamp(made.clock.seconds(), UTC) + timedelta(days=days) - authority.SERVER_LIFE
    files.make(("registry.test",), begun)
    (made.config.data / "tls" / "authority.pem").unlink()


@pytest.mark.parametrize(
    ("days", "said"), [(29.5, "ends in 29 days"), (0.5, "ends in 0 days"), (-1, "has ended"), (31, None), (300, None)]
)
def test_a_certificate_that_ends(make_application, days, said):
    """From thirty days before its end, every page of a superuser tells of it, and of nobody else."""
    made = make_application(SUPER_USERS=["devtable"], TLS_CERTIFICATE="tls/server.pem", TLS_KEY="tls/server.pem")
    shows(made, days)
    admin = Visitor(made, "devtable")
    for address in ("/", "/superuser/?tab=health", "/docs/"):
        page = admin.open(address)
        assert ("The certificate of this registry" in page.text) is (said is not None)
        assert said is None or (said in page.text and "/docs/runbooks#certificate-expired" in page.links)
    assert "The certificate of this registry" not in Visitor(made, "reader").open("/").text
    assert "The certificate of this registry" not in Visitor(made).open("/docs/").text


def test_a_certificate_that_is_renewed(make_application):
    """What the server renews by itself is worth a word only if it has not."""
    made = make_application(SUPER_USERS=["devtable"], TLS_CERTIFICATE="tls/server.pem", TLS_KEY="tls/server.pem")
    begun = datetime.fromtimestamp(made.clock.seconds(), UTC)
    CertificateFiles(made.config.data).make(("registry.test",), begun)
    admin = Visitor(made, "devtable")
    for days, told in ((0, False), (336, False), (345, True)):
        made.clock.rightNow = begun.timestamp() + days * DAY
        assert Client(made, "devtable").get("/superuser/certificate").json["close"] is told
    assert "The certificate of this registry" not in admin.open("/signin/").text


def test_no_certificate(admin, application):
    """A server that speaks no TLS has no certificate to tell of."""
    found = Client(application, "devtable").get("/superuser/certificate").json
    assert found == {"ends": None, "days": None, "close": False}
