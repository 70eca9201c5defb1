"""
The setup console over HTTP: the token's life, the race for the first administrator, coming back, and every refusal.

Everything is the real thing but the sockets: certificates are made, directories written, a PostgreSQL asked.
"""

import json
import re
from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest
from cryptography import x509

from quay import authority, config
from quay.database import once
from quay.model import founding, namespace, repository
from quay.oci.reference import RepositoryName
from quay.service.founding import invitation, new_token, url_of
from quay.service.front import plain_front_of
from quay.setup import CertificateFiles
from quay.testdata.people import PASSWORD
from quay.web.factory import RegistrySite
from quay.web.site import TRANSLATIONS
from tests.http.application import HOST, NOW, Application, done

ADA = {"name": "ada", "email": "ada@example.org", "password": "correct-horse", "repeated": "correct-horse"}
NAMES = {"hostname": "registry.test:8443", "listen": "127.0.0.1:0", "tls": "own", "others": "10.0.0.5\nregistry.test"}
KEPT = {"database": "kept"}


@pytest.fixture
def empty(sqlite_template, tmp_path):
    """A server that nobody administers yet."""
    made = Application(tmp_path, sqlite_template, LISTEN="127.0.0.1:8080").start()
    yield made
    made.stop()


class Browser:
    """Keeps cookies, and sends forms as browsers do."""

    def __init__(self, application):
        self.application = application
        self.cookies = {}
        self.set = []

    def _request(self, method, path, body=b"", **headers):
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        given = {"Accept": "text/html", **({"Cookie": cookies} if cookies else {}), **headers}
        answer = self.application.request(method, path, given, body)
        cookie = answer.headers.get("set-cookie")
        if cookie:
            self.set.append(cookie)
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        return answer

    def get(self, path):
        return self._request("GET", path)

    def post(self, path, fields, **headers):
        body = urlencode(fields).encode()
        return self._request("POST", path, body, **{"Content-Type": "application/x-www-form-urlencoded"}, **headers)

    def send(self, path, fields):
        """A form of this session's: with what the page that it is on has in it."""
        page = self.get({"/setup/apply": "/setup/summary", "/setup/restart": "/setup/summary"}.get(path, path))
        csrf = re.search(rb'name="_csrf_token" value="(\w+)"', page.body)
        return self.post(path, {"_csrf_token": csrf[1].decode() if csrf else "", **fields})


def token_of(application):
    return application.write(new_token, application.config)


def arrive(application):
    """A browser with the token of this server."""
    browser = Browser(application)
    answer = browser.get(f"/setup/?token={token_of(application)}")
    assert (answer.status, answer.headers["location"]) == (303, "/setup/administrator")
    return browser


@pytest.fixture
def ada(empty):
    """The first administrator, who has just made herself."""
    browser = arrive(empty)
    answer = browser.post("/setup/administrator", ADA)
    assert (answer.status, answer.headers["location"]) == (303, "/setup/names")
    return browser


# --- the token


def test_the_address_that_a_start_prints(empty):
    """One line with one address, by the name of the registry, while there is nobody; and none any more after that."""
    from quay.config import Endpoint

    listening = Endpoint("127.0.0.1", 8080)
    (line,) = done(invitation(empty.core, listening))
    address = re.search(rf"http://{HOST}(/setup/\?token=\S+)$", line)
    assert address
    browser = Browser(empty)
    assert browser.get(address[1]).status == 303
    empty.write(namespace.create_user, "bob", superuser=True, time_machine_s=0)
    assert done(invitation(empty.core, listening)) == []


def test_the_address_without_a_name(tmp_path):
    """Where no name is configured, it is an address of this machine, and not 0.0.0.0."""
    from quay.config import Endpoint, parse

    plain = parse("", {}, tmp_path)
    assert url_of(plain, Endpoint("127.0.0.1", 8080), "T") == "http://127.0.0.1:8080/setup/?token=T"
    found = re.fullmatch(r"http://(\S+):8080/setup/\?token=T", url_of(plain, Endpoint("0.0.0.0", 8080), "T"))
    assert found
    assert found[1] != "0.0.0.0"


def test_the_token_leaves_the_address(empty):
    """It moves into a cookie that scripts cannot read and that goes nowhere else, so that no history keeps it."""
    browser = arrive(empty)
    (cookie,) = browser.set
    attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"httponly", "path=/setup", "samesite=lax"} <= attributes
    page = browser.get("/setup/administrator")
    assert page.status == 200
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize("path", ["", "administrator", "names", "storage", "summary", "request.csr"])
def test_everything_needs_the_token(empty, path):
    """Without it there is a page that says how to get one, and nothing else."""
    token_of(empty)
    answer = empty.request("GET", f"/setup/{path}", {"Accept": "text/html"})
    assert answer.status == 403
    assert b"quay setup url" in answer.body
    wrong = empty.request("GET", f"/setup/{path}?token=wrong", {"Cookie": "setup=wrong"})
    assert wrong.status == 403


@pytest.mark.parametrize("path", ["administrator", "names", "storage", "apply", "restart"])
def test_nothing_is_done_without_it(empty, path):
    """No form is taken from who has no token."""
    token_of(empty)
    assert Browser(empty).post(f"/setup/{path}", {**ADA, **NAMES}).status == 403
    assert not empty.read(namespace.any_user)


def test_guessing_is_slow(empty):
    """After ten wrong tokens from an address it has to wait; whoever comes from there with the right one, too."""
    right = token_of(empty)
    statuses = [Browser(empty).get(f"/setup/?token=wrong{number}").status for number in range(12)]
    assert statuses == [403] * 10 + [429] * 2
    assert "retry-after" in Browser(empty).get(f"/setup/?token={right}").headers
    empty.clock.advance(61)
    assert Browser(empty).get(f"/setup/?token={right}").status == 303


def test_it_expires(empty):
    """After a day, the address and the cookie are worthless."""
    browser = arrive(empty)
    empty.clock.advance(founding.LIFETIME_S)
    assert browser.get("/setup/administrator").status == 403
    assert browser.post("/setup/administrator", ADA).status == 403
    assert not empty.read(namespace.any_user)


def test_a_new_one_ends_it(empty):
    """Who asks for another address ends the one before."""
    browser = arrive(empty)
    token_of(empty)
    assert browser.get("/setup/administrator").status == 403


def test_switched_off(sqlite_template, tmp_path):
    """Without the setup console there is nothing at its address, and a start says what to type instead."""
    from quay.config import Endpoint

    made = Application(tmp_path, sqlite_template, FEATURE_SETUP_CONSOLE=False).start()
    try:
        assert made.request("GET", "/setup/").status == 404
        (line,) = done(invitation(made.core, Endpoint("127.0.0.1", 8080)))
        assert "quay user create" in line
        assert "token" not in line
    finally:
        made.stop()


def test_of_an_installation_that_runs(make_application):
    """Where there is an administrator, there is no token, and the setup is his after signing in."""
    application = make_application()
    assert token_of(application) is None
    answer = application.request("GET", "/setup/")
    assert answer.status == 403
    assert b"after signing in" in answer.body


# --- the first administrator


def test_the_first_administrator(empty, ada):
    """She is a superuser, signed in, and clients log in with her password."""
    user = empty.read(namespace.find, "ada")
    assert (user.superuser, user.email) == (True, "ada@example.org")
    assert ada.get("/setup/names").status == 200
    assert empty.request("GET", "/api/v1/user/", {"Cookie": f"session={ada.cookies['session']}"}).json["super_user"]
    assert empty.ask_token(("ada", "correct-horse")).status == 200


def test_what_was_made_is_on_record(empty, ada):
    """The audit log has who was made, and from where; it has no password."""
    found = empty.request("GET", "/api/v1/superuser/logs", {"Cookie": f"session={ada.cookies['session']}"}).json
    (entry,) = [entry for entry in found["logs"] if entry["kind"] == "user_create"]
    assert entry["metadata"]["username"] == "ada"
    assert entry["ip"]
    assert "correct-horse" not in json.dumps(found)


def test_a_race_gives_one(empty):
    """Of several who have the token and send the form at the same time, one becomes the administrator."""
    shared = arrive(empty).cookies["setup"]
    answers = []
    for name in ("ada", "bob", "cyd"):
        browser = Browser(empty)
        browser.cookies["setup"] = shared
        answers.append(browser.post("/setup/administrator", {**ADA, "name": name, "email": f"{name}@example.org"}))
    assert [answer.status for answer in answers] == [303, 403, 403]
    assert empty.read(namespace.find, "bob") is None


def test_a_cookie_of_before_is_worthless(empty):
    """Whoever had the token too cannot go on when somebody else was faster."""
    other = arrive(empty)
    token = other.cookies["setup"]
    first = Browser(empty)
    first.cookies["setup"] = token
    first.post("/setup/administrator", ADA)
    assert other.get("/setup/administrator").status == 403
    assert other.get("/setup/names").status == 403


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"password": "short", "repeated": "short"}, "at least 8 characters"),
        ({"password": "with a space", "repeated": "with a space"}, "no whitespace"),
        ({"repeated": "correct-house"}, "The two passwords are not the same"),
        ({"name": "Ada Lovelace"}, "Ada Lovelace"),
        ({"name": "ada+robot"}, "ada+robot"),
        ({"name": ""}, "This will not do"),
        ({"email": "nowhere"}, "nowhere"),
        ({"name": "<script>alert(1)</script>"}, "&lt;script&gt;"),
    ],
)
def test_not_an_administrator(empty, changes, sentence):
    """What cannot be a name, an address or a password is said beside the form, which keeps what was typed; not it."""
    browser = arrive(empty)
    answer = browser.post("/setup/administrator", {**ADA, **changes})
    assert answer.status == 400
    text = answer.body.decode()
    assert sentence in text.replace("&#43;", "+")
    assert "<script>alert" not in text
    assert 'value="correct-h' not in text
    assert not empty.read(namespace.any_user)
    assert browser.post("/setup/administrator", ADA).status == 303


def test_a_name_that_is_taken(empty):
    """A user who is there already does not become an administrator by that."""
    empty.write(namespace.create_user, "ada", time_machine_s=0)
    browser = arrive(empty)
    assert browser.post("/setup/administrator", ADA).status == 400
    assert not empty.read(namespace.any_superuser)


# --- the administrator goes on


@pytest.mark.parametrize("path", ["names", "storage", "apply", "restart"])
def test_only_who_means_it(empty, ada, path):
    """A form without the token of the session, or from another site, changes nothing."""
    assert ada.post(f"/setup/{path}", {**NAMES, **KEPT}).status == 403
    page = ada.get("/setup/names")
    csrf = re.search(rb'_csrf_token" value="(\w+)"', page.body)[1].decode()
    answer = ada.post(f"/setup/{path}", {**NAMES, "_csrf_token": csrf}, Origin="https://evil.example")
    assert answer.status == 403
    assert not (empty.config.data / "tls").exists()


def test_not_for_others(make_application):
    """Who is no superuser has no part in it, signed in or not."""
    application = make_application()
    browser = Browser(application)
    browser.post("/do/signinUser", {"field.username": "reader", "field.password": PASSWORD})
    assert "session" in browser.cookies
    for path in ("names", "storage", "summary", "request.csr"):
        assert browser.get(f"/setup/{path}").status == 403
    assert browser.post("/setup/names", NAMES).status == 403


def test_an_old_session_shows_the_password(empty, ada):
    """Ten minutes after the password was shown, it is asked for again; then what was sent is done."""
    empty.clock.advance(601)
    asked = ada.send("/setup/names", NAMES)
    assert asked.status == 200
    assert b"Your password, please" in asked.body
    assert not (empty.config.data / "tls").exists()
    wrong = ada.send("/setup/names", {**NAMES, "_password": "wrong-horse"})
    assert wrong.status in (400, 401, 403)
    right = ada.send("/setup/names", {**NAMES, "_password": "correct-horse"})
    assert (right.status, right.headers["location"]) == (303, "/setup/storage")


def test_coming_back(empty, ada):
    """The setup leads to the first step that is not done, and shows what was answered; passwords it never shows."""
    assert ada.get("/setup/").headers["location"] == "/setup/names"
    ada.send("/setup/names", NAMES)
    assert ada.get("/setup/").headers["location"] == "/setup/storage"
    assert b"registry.test:8443" in ada.get("/setup/names").body
    ada.send("/setup/storage", KEPT)
    assert ada.get("/setup/").headers["location"] == "/setup/summary"
    sealed = (empty.config.data / "setup.sealed").read_bytes()
    assert b"registry.test" not in sealed


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"hostname": "https://registry.test"}, "Name of the registry: "),
        ({"hostname": ""}, "Name of the registry: is missing"),
        ({"listen": "8443"}, "Where the server listens"),
        ({"listen": "192.0.2.77:8443"}, "this machine has no such address"),
        ({"others": "<img src=x onerror=alert(1)>"}, "Its other names: "),
        ({"tls": "given"}, "There is no certificate yet"),
        ({"tls": "given", "certificate": "x"}, "give its key, too"),
        ({"tls": "given", "certificate": "x", "key": "y"}, "The key is none in PEM"),
        ({"tls": "proxy"}, "Addresses or networks of the proxy: is empty"),
        ({"tls": "none"}, "is not one of own, given, request, proxy"),
    ],
)
def test_names_that_will_not_do(empty, ada, changes, sentence):
    """Each refusal is a sentence in the words of the screen; nothing is made, and what was typed is still there."""
    answer = ada.send("/setup/names", {**NAMES, **changes})
    assert answer.status == 400
    text = answer.body.decode()
    assert sentence in text.replace("&#39;", "'")
    assert "<img src=x" not in text
    assert not (empty.config.data / "tls").exists()


def test_a_request_for_a_certificate(empty, ada):
    """The request can be downloaded, its key cannot; until the certificate comes, one's own authority stands in."""
    assert ada.get("/setup/request.csr").status == 400
    answer = ada.send("/setup/names", {**NAMES, "tls": "request"})
    assert answer.headers["location"] == "/setup/names"
    csr = ada.get("/setup/request.csr")
    assert csr.body.startswith(b"-----BEGIN CERTIFICATE REQUEST-----")
    assert csr.headers["content-disposition"] == 'attachment; filename="registry.csr"'
    page = ada.get("/setup/names").body
    assert b"BEGIN CERTIFICATE REQUEST" in page
    assert b"PRIVATE KEY-----\n" not in page
    assert (empty.config.data / "tls" / "server.pem").exists()


def test_a_certificate_that_is_given(empty, ada):
    """A certificate with its key is taken, and the key is on no page afterwards, and among no answers."""
    from datetime import UTC, datetime

    from quay import authority

    now = datetime.fromtimestamp(NOW, UTC)
    given = authority.issue(authority.found("Company", now), ["registry.test"], now).pem.decode()
    answer = ada.send("/setup/names", {**NAMES, "tls": "given", "certificate": given, "key": given})
    assert answer.status == 303, answer.body
    for path in ("names", "storage", "summary"):
        assert given.splitlines()[1].encode() not in ada.get(f"/setup/{path}").body
    again = ada.send("/setup/names", {**NAMES, "tls": "given"})
    assert again.status == 303
    other = ada.send("/setup/names", {**NAMES, "tls": "given", "hostname": "other.test"})
    assert b"not for other.test" in other.body


def test_a_directory_that_will_not_do(empty, ada):
    """A place where nothing can be written is refused before anything depends on it."""
    (empty.config.data / "file").touch()
    answer = ada.send("/setup/storage", {**KEPT, "blobs": "file"})
    assert answer.status == 400
    assert b"Blobs cannot be kept in" in answer.body


def test_a_database_that_is_not_there(empty, ada):
    """A PostgreSQL that does not answer is refused, and its password shown to nobody."""
    fields = {"database": "postgresql", "host": "127.0.0.1", "port": "1", "user": "u", "name": "n", "password": "hush!"}
    answer = ada.send("/setup/storage", fields)
    assert answer.status == 400
    assert b"Nothing listens at this host and port" in answer.body
    assert b"hush!" not in answer.body


@pytest.mark.parametrize("port", ["", "many", "99999", "-1"])
def test_a_port_that_is_none(empty, ada, port):
    """A port that is no number is said to be that, or is the usual one."""
    answer = ada.send("/setup/storage", {"database": "postgresql", "host": "127.0.0.1", "port": port, "user": "u"})
    assert answer.status == 400
    assert (b"Port of PostgreSQL" in answer.body) is bool(port)


def test_there_is_no_other_storage(ada):
    """What this release cannot do is said, and not offered."""
    text = ada.get("/setup/storage").body.decode()
    assert "S3, Azure, Google and Swift are not implemented" in text


def test_a_registry_in_use_stays_where_it_is(make_application):
    """Where there are repositories, no answer moves the database away from under them."""
    application = make_application(SUPER_USERS=["devtable"])
    browser = Browser(application)
    browser.post("/do/signinUser", {"field.username": "devtable", "field.password": PASSWORD})
    assert b"stay where they are" in browser.get("/setup/storage").body
    answer = browser.send("/setup/storage", {"database": "postgresql", "host": "elsewhere", "blobs": "/elsewhere"})
    assert answer.status == 303
    browser.send("/setup/names", NAMES)
    assert b"DB_URI" not in browser.get("/setup/summary").body


# --- the end


def test_the_summary(empty, ada):
    """What becomes of the answers is shown, key by key, with what clients do, each kind at an address of its own."""
    ada.send("/setup/names", NAMES)
    ada.send("/setup/storage", KEPT)
    for client in ("docker", "podman", "containerd", "kubernetes"):
        text = ada.get(f"/setup/summary?client={client}").body.decode()
        assert "registry.test:8443/ada/alpine" in text
        assert "SERVER_HOSTNAME" in text
    assert "docker login -u ada registry.test:8443" in ada.get("/setup/summary?client=<script>").body.decode()


def test_the_summary_before_anything_was_answered(ada):
    """Without names there is nothing to sum up, and the page says what is missing."""
    answer = ada.get("/setup/summary")
    assert answer.status == 400
    assert b"The names of the registry are missing" in answer.body


def test_the_configuration_is_written(empty, ada):
    """The file is the commented default one with the answers in it, for its owner only; then a restart is due."""
    ada.send("/setup/names", NAMES)
    ada.send("/setup/storage", {**KEPT, "blobs": "there"})
    assert ada.send("/setup/apply", {}).headers["location"] == "/setup/summary"
    file = empty.config.data / "quay.yaml"
    assert file.stat().st_mode & 0o777 == 0o600
    found = config.load(file, {})
    assert str(found.hostname) == "registry.test:8443"
    assert found.storage["default"].options["storage_path"] == str(empty.config.data / "there")
    assert found.tls_certificate == empty.config.data / "tls" / "server.pem"
    text = ada.get("/setup/summary").body.decode()
    assert "has to start anew" in text
    assert "systemctl restart" in text, "this server was started by something else"


def test_the_file_before_is_kept(empty, ada):
    """What somebody has written stays in the file, and the file as it was stays beside it."""
    file = empty.config.data / "quay.yaml"
    before = "# ours\nREGISTRY_TITLE: Ours\nLISTEN: 127.0.0.1:8080\n"
    file.write_text(before)
    ada.send("/setup/names", NAMES)
    ada.send("/setup/apply", {})
    assert file.with_name("quay.yaml.previous").read_text() == before
    assert file.read_text().startswith("# ours\nREGISTRY_TITLE: Ours\nLISTEN: 127.0.0.1:0\n")


def test_a_file_that_cannot_be_changed(empty, ada):
    """A file that is not written line by line stays as it is, and that is said."""
    file = empty.config.data / "quay.yaml"
    file.write_text("{REGISTRY_TITLE: Ours}\n")
    ada.send("/setup/names", NAMES)
    answer = ada.post("/setup/apply", {"_csrf_token": csrf_of(ada)})
    assert answer.status == 400
    assert b"cannot be changed line by line" in answer.body
    assert file.read_text() == "{REGISTRY_TITLE: Ours}\n"


def csrf_of(browser):
    return re.search(rb'_csrf_token" value="(\w+)"', browser.get("/setup/names").body)[1].decode()


def test_it_cannot_restart_itself(empty, ada):
    """A server that something else started does not pretend to restart."""
    ada.send("/setup/names", NAMES)
    answer = ada.post("/setup/restart", {"_csrf_token": csrf_of(ada)})
    assert answer.status == 400
    assert b"restart it as you started it" in answer.body


def test_another_database(empty, ada, postgres):
    """The administrator is made in the new database, with her password, before the file names it."""
    name = "setup_http"
    postgres.create(name)
    try:
        fields = {"database": "postgresql", "host": "127.0.0.1", "port": str(postgres.port), "user": "quay"}
        ada.send("/setup/names", NAMES)
        answer = ada.send("/setup/storage", {**fields, "name": name, "sslmode": "disable"})
        assert answer.status == 303, answer.body
        text = ada.get("/setup/summary").body.decode()
        assert "with the administrator ada in it" in text
        ada.send("/setup/apply", {})
        url = config.load(empty.config.data / "quay.yaml", {}).database_url
        user, hashed = once(url, there)
        assert (user.name, user.superuser, user.email) == ("ada", True, "ada@example.org")
        assert hashed == empty.read(lambda txn: there(txn)[1])
    finally:
        postgres.drop(name)


def there(txn):
    user = namespace.find(txn, "ada")
    return user, namespace.password_hash(txn, user.id)


def test_nothing_but_the_steps(empty, ada):
    """Other addresses and other methods are nothing."""
    assert ada.get("/setup/elsewhere").status == 400
    assert ada.post("/setup/summary", {}).status == 400


# --- the authority


def test_the_certificate_of_the_authority(empty, ada):
    """/ca is the certificate for a client, and for a browser a page with its fingerprint and what to do with it."""
    assert empty.request("GET", "/ca").status == 404
    ada.send("/setup/names", NAMES)
    pem = empty.request("GET", "/ca")
    assert pem.status == 200
    assert pem.body.startswith(b"-----BEGIN CERTIFICATE-----")
    assert b"PRIVATE" not in pem.body
    found = x509.load_pem_x509_certificate(pem.body)
    page = empty.request("GET", "/ca", {"Accept": "text/html"}).body.decode()
    assert authority.fingerprint(found) in page
    assert "certs.d" in page
    der = empty.request("GET", "/ca/quay-ca.cer")
    assert x509.load_der_x509_certificate(der.body) == found
    assert empty.request("GET", "/ca/../quay-ca.key").status == 404


def test_two_authorities(empty, ada):
    """While one takes over from the other, /ca hands out both: together in PEM, and one by one for Windows."""
    ada.send("/setup/names", NAMES)
    assert empty.request("GET", "/ca/quay-ca-2.cer").status == 404
    files, now = CertificateFiles(empty.config.data), datetime.fromtimestamp(empty.clock.seconds(), UTC)
    following = files.found_next("registry.test", now)
    both = x509.load_pem_x509_certificates(empty.request("GET", "/ca").body)
    assert both == [files.authority(), following]
    for path, found in zip(("/ca/quay-ca.cer", "/ca/quay-ca-2.cer"), both, strict=True):
        assert x509.load_der_x509_certificate(empty.request("GET", path).body) == found
    page = empty.request("GET", "/ca", {"Accept": "text/html"}).body.decode()
    assert all(authority.fingerprint(each) in page for each in both)
    assert "trust both" in page and "/ca/quay-ca-2.cer" in page


def test_every_page_has_the_strict_policy(empty, ada):
    """No page of the setup allows scripts or styles of its own making, or frames."""
    ada.send("/setup/names", NAMES)
    for path in ("/setup/names", "/setup/storage", "/setup/summary", "/ca"):
        answer = ada.get(path)
        policy = answer.headers["content-security-policy"]
        assert "script-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert not re.search(r"<script(?![^>]* src=)|\sstyle=|\son\w+=", answer.body.decode())


def test_a_registry_that_came_into_use_meanwhile_stays(empty, ada):
    """Whoever pushed between the answer and its writing is not left behind."""
    ada.send("/setup/names", NAMES)
    ada.send("/setup/storage", {**KEPT, "blobs": "elsewhere"})
    owner = empty.read(namespace.find, "ada").id
    name = RepositoryName("ada", "image")
    empty.write(repository.create, name, namespace_id=owner, creator_id=owner, public=False)
    answer = ada.post("/setup/apply", {"_csrf_token": csrf_of(ada)})
    assert answer.status == 400
    assert b"There are repositories in this registry" in answer.body
    assert not (empty.config.data / "quay.yaml").exists()


@pytest.mark.parametrize(
    ("listen", "host", "onward"),
    [
        ("0.0.0.0:443", "registry.test", "registry.test"),
        ("0.0.0.0:443", "registry.test:80", "registry.test"),
        ("0.0.0.0:8443", "registry.test", "registry.test:8443"),
        ("0.0.0.0:8443", "[::1]:8080", "[::1]:8443"),
    ],
)
def test_plain_http_knows_where_tls_is(empty, listen, host, onward):
    """Where nobody said how clients reach the registry, they are sent on by the name they use to the port of TLS."""
    written = {"LISTEN": listen, "DATA": str(empty.config.data)} | dict.fromkeys(
        ("TLS_CERTIFICATE", "TLS_KEY"), "x.pem"
    )
    empty.core.config = config.parse(json.dumps(written), {}, empty.config.data)
    site = RegistrySite(plain_front_of(empty.clock, empty.core), reactor=empty.clock, translations=TRANSLATIONS)
    empty.site = site
    answer = empty.request("GET", "/repository/a/b", {"Host": host})
    assert (answer.status, answer.headers["location"]) == (308, f"https://{onward}/repository/a/b")


def test_plain_http_beside_tls(empty, ada):
    """It has the certificate and its page; whoever asks for more is sent on, before he has sent a password."""
    ada.send("/setup/names", NAMES)
    written = f'{{"SERVER_HOSTNAME": "registry.test", "EXTERNAL_TLS_TERMINATION": true, "DATA": "{empty.config.data}"}}'
    empty.core.config = config.parse(written, {}, empty.config.data)
    site = RegistrySite(plain_front_of(empty.clock, empty.core), reactor=empty.clock, translations=TRANSLATIONS)
    empty.site = site
    assert empty.request("GET", "/ca").body.startswith(b"-----BEGIN CERTIFICATE-----")
    assert empty.request("GET", "/static/quay.css").status == 200
    onward = empty.request("GET", "/repository/a/b?tab=tags")
    assert (onward.status, onward.headers["location"]) == (308, "https://registry.test/repository/a/b?tab=tags")
    for refused in (empty.request("POST", "/v2/a/b/blobs/uploads/"), empty.request("GET", "/v2/", auth=("a", "b"))):
        assert refused.status == 404
        assert "https://registry.test" in refused.body.decode()
