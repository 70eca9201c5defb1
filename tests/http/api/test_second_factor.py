"""A second factor: begun, confirmed, asked for, lost and removed; what a password alone opens meanwhile."""

import pyotp
import pytest

from quay.model import credential, namespace, second_factor
from quay.testdata.people import PASSWORD
from tests.http.api.browser import Browser
from tests.http.api.client import Client, audited

STEP_S = 30
FRESH_S = 600


@pytest.fixture
def app(make_application):
    return make_application()


class Person(Browser):
    """A user with a code generator."""

    totp = None

    def begin(self):
        assert self.sign_in("public").status == 200
        begun = self.post("/user/totp", {"password": PASSWORD}).json
        self.totp = pyotp.parse_uri(begun["otpauth_uri"])
        assert self.totp.secret == begun["secret"]
        return self

    def code(self, steps=0):
        return self.totp.at(int(self.application.clock.seconds()) + steps * STEP_S)

    def confirm(self):
        """The recovery codes; the code of now is used up."""
        answer = self.post("/user/totp/confirm", {"code": self.code()})
        assert answer.status == 200, answer
        self.application.clock.advance(STEP_S)
        return answer.json["recovery_codes"]


@pytest.fixture
def person(app):
    return Person(app).begin()


def test_signing_in_takes_a_code(app, person):
    """With a confirmed second factor, the right password is told that a code is missing, and does with one."""
    person.confirm()
    answer = Browser(app).sign_in("public")
    assert (answer.status, answer.json["needsTotp"], answer.json["invalidCredentials"]) == (403, True, False)
    assert "set-cookie" not in answer.headers
    wrong = Browser(app).sign_in("public", "wrong", totp=person.code())
    assert "needsTotp" not in wrong.json and wrong.json["invalidCredentials"]
    assert Browser(app).sign_in("public", totp=person.code()).status == 200


def test_unconfirmed(app, person):
    """One that was only begun keeps nobody out; a wrong code does not confirm it, and another begin replaces it."""
    assert Browser(app).sign_in("public").status == 200
    old = person.totp
    assert person.post("/user/totp/confirm", {"code": "000000"}).status == 400
    begun = person.post("/user/totp", {"password": PASSWORD}).json
    assert begun["secret"] != old.secret
    assert person.post("/user/totp/confirm", {"code": old.at(int(app.clock.seconds()))}).status == 400
    assert person.get("/user/totp").json == {"enabled": False, "recovery_codes_left": 0}


def test_begin_takes_the_password(app):
    """A session alone gets no second factor."""
    browser = Browser(app)
    browser.sign_in("public")
    assert browser.post("/user/totp", {"password": "wrong"}).status == 403
    assert browser.post("/user/totp/confirm", {"code": "123456"}).status == 404


def test_a_code_is_good_once(app, person):
    """A code opens one session, not two; nor does one of a step before it afterwards."""
    person.confirm()
    app.clock.advance(STEP_S)
    before, now = person.code(-1), person.code()
    assert Browser(app).sign_in("public", totp=now).status == 200
    assert Browser(app).sign_in("public", totp=now).status == 403
    assert Browser(app).sign_in("public", totp=before).status == 403


@pytest.mark.parametrize(("steps", "status"), [(-2, 403), (-1, 200), (0, 200), (1, 200), (2, 403)])
def test_window(app, person, steps, status):
    """Clocks may differ by one step, and not by two."""
    person.confirm()
    app.clock.advance(5 * STEP_S)
    assert Browser(app).sign_in("public", totp=person.code(steps)).status == status


@pytest.mark.parametrize("code", ["", "0", "abcdef", "١٢٣٤٥٦", "0" * 64, "' OR 1=1 --"])
def test_wrong_codes(app, person, code):
    """Whatever is no code opens nothing."""
    person.confirm()
    assert Browser(app).sign_in("public", totp=code).status == 403


def test_guessing_codes_is_slow(app, person):
    """After five wrong codes even the right one has to wait a minute, from whatever address."""
    person.confirm()
    for _ in range(5):
        assert Browser(app).sign_in("public", totp="000000").status == 403
    answer = Browser(app).sign_in("public", totp=person.code())
    assert (answer.status, answer.headers["retry-after"]) == (429, "60")
    app.clock.advance(60)
    assert Browser(app).sign_in("public", totp=person.code()).status == 200


def test_recovery_codes(app, person):
    """Each recovery code opens the account once, however it is written down; new ones end the old ones."""
    codes = person.confirm()
    assert len(set(codes)) == 10
    assert Browser(app).sign_in("public", totp=codes[0]).status == 200
    assert Browser(app).sign_in("public", totp=codes[0]).status == 403
    assert Browser(app).sign_in("public", totp=codes[1].lower().replace("-", " ")).status == 200
    assert person.get("/user/totp").json == {"enabled": True, "recovery_codes_left": 8}
    renewed = person.post("/user/totp/recovery").json["recovery_codes"]
    assert Browser(app).sign_in("public", totp=codes[2]).status == 403
    assert Browser(app).sign_in("public", totp=renewed[0]).status == 200


def test_the_password_alone_opens_nothing_else(app, person):
    """Neither the API nor the registry takes the password alone, at once; each says what to use, and takes that."""
    basic = Client(app, "public")
    assert basic.get("/user/").status == 200
    person.confirm()
    answer = basic.get("/user/")
    assert answer.status == 401 and "app-specific token" in answer.json["detail"]
    refused = app.ask_token(("public", PASSWORD), "repository:public/publicrepo:pull,push")
    assert refused.status == 401 and "app-specific token" in refused.body.decode()
    token = app.write(lambda txn: credential.create(txn, namespace.find(txn, "public").id, "app")[1])
    assert app.token(("$app", token), "repository:public/publicrepo:pull,push")


def test_other_sessions_end(app, person):
    """Whoever was signed in before has to sign in with a code."""
    other = Browser(app)
    other.sign_in("public")
    person.confirm()
    assert (other.get("/user/").status, person.get("/user/").status) == (401, 200)


def test_verify_takes_a_code(app, person):
    """To make a session fresh takes both."""
    person.confirm()
    assert person.post("/signin/verify", {"password": PASSWORD}).json["needsTotp"]
    assert person.post("/signin/verify", {"password": PASSWORD, "totp": person.code()}).status == 200


def test_remove(app, person):
    """In a fresh session it is removed, and the password does again."""
    person.confirm()
    assert person.post("/user/totp", {"password": PASSWORD}).status == 409
    app.clock.advance(FRESH_S + 1)
    assert person.delete("/user/totp").status == 401
    person.post("/signin/verify", {"password": PASSWORD, "totp": person.code()})
    assert person.delete("/user/totp").status == 204
    assert person.delete("/user/totp").status == 404
    assert Browser(app).sign_in("public").status == 200
    assert Client(app, "public").get("/user/").status == 200
    assert [details["enabled"] for _, details in audited(app, "user_change_second_factor")] == [True, False]


def test_what_is_stored(app, person):
    """Neither the secret nor a recovery code can be read in the database."""
    codes = person.confirm()
    user = app.read(namespace.find, "public")
    assert person.totp.secret not in app.read(second_factor.find, user.id).sealed
    dump = "\n".join(app.read(lambda txn: list(map(str, txn.connection.connection.iterdump()))))
    assert person.totp.secret not in dump
    assert not any(code in dump or code.replace("-", "") in dump for code in codes)


def test_other_key(app, person):
    """If the key of the vault has changed, a recovery code still opens the account."""
    codes = person.confirm()
    user = app.read(namespace.find, "public")
    app.write(lambda txn: second_factor.remove(txn, user.id))
    app.write(second_factor.begin, user.id, "sealed with another key")
    app.write(lambda txn: second_factor.confirm(txn, second_factor.find(txn, user.id), 0))
    renewed = app.write(second_factor.renew_recovery_codes, user.id)
    assert Browser(app).sign_in("public", totp=person.code()).status == 403
    assert Browser(app).sign_in("public", totp=codes[0]).status == 403
    assert Browser(app).sign_in("public", totp=renewed[0]).status == 200
