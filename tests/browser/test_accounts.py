"""People: signing in and out, second factors and tokens, organizations and teams, and what programs are let do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import parse_qs, urlencode, urlsplit

import pyotp
import pytest

from tests.browser.conftest import Visit
from tests.distribution import Client
from tests.server import RunningQuay, User


@pytest.fixture(scope="module")
def bob(quay: RunningQuay) -> User:
    """Somebody else with an account."""
    return quay.add_user("bob")


def test_signing_in_and_out(visit: Visit, dev: User) -> None:
    """A wrong password is told so, the right one leads to where one was going, and after signing out that is closed."""
    visitor = visit()
    visitor.go("/new/")
    assert visitor.path == "/signin/?next=%2Fnew%2F"
    visitor.sign_in(User(dev.name, "not-the-password"))
    visitor.told("There is no user dev with this password.")
    visitor.sign_in(dev)
    assert visitor.path == "/new/"
    visitor.press("Sign out")
    visitor.follow("Sign in")
    visitor.go("/new/")
    assert visitor.path.startswith("/signin/")


def test_an_app_token(visit: Visit, quay: RunningQuay, dev: User) -> None:
    """It is shown once, logs in to the registry, and no more after it is revoked."""
    visitor = visit(dev)
    visitor.go("/user/dev?tab=tokens")
    visitor.type("What it is for", "laptop")
    visitor.press("Make the token")
    token = visitor.copied("Token")
    client = Client(quay.host, "$app", token)
    assert client.login("dev/anything")
    visitor.follow("I have copied it")
    visitor.misses(token)
    visitor.press("Revoke", visitor.row("laptop"), exact=False)
    visitor.told("The token is worthless now.")
    assert "Revoke the token laptop?" in visitor.asked[0]
    with pytest.raises(AssertionError, match="401"):
        client.login("dev/anything")


def test_a_second_factor(visit: Visit, quay: RunningQuay) -> None:
    """It is set up with what a generator shows, and from then on the password alone does not sign in; a code does."""
    eve = quay.add_user("eve")
    visitor = visit(eve)
    visitor.go("/user/eve?tab=security")
    visitor.type("Your password", eve.password)
    visitor.press("Set it up")
    assert visitor.page.get_by_role("img", name="The secret as a QR code").is_visible()
    generator = pyotp.TOTP(visitor.copied("Secret"))
    visitor.type("The code that it shows now", generator.now())
    visitor.press("Confirm")
    first, *others = visitor.copied("Recovery codes").split()
    assert len(others) > 3
    visitor.follow("I have kept them")
    visitor.misses(first)
    visitor.reads("Signing in takes a code of your authenticator app.")
    later = visit()
    later.go("/signin/")
    later.sign_in(eve)
    assert later.path.startswith("/signin/")
    later.sign_in(eve, first)
    assert later.path == "/"
    assert later.page.get_by_role("button", name="Sign out").is_visible()


def test_a_code_of_the_generator_signs_in(visit: Visit, quay: RunningQuay) -> None:
    """A code that has not been used yet is taken beside the password."""
    mallory = quay.add_user("mallory")
    visitor = visit(mallory)
    visitor.go("/user/mallory?tab=security")
    visitor.type("Your password", mallory.password)
    visitor.press("Set it up")
    generator = pyotp.TOTP(visitor.copied("Secret"))
    now = visitor.page.evaluate("Date.now()") // 1000
    visitor.type("The code that it shows now", generator.at(now - 30))
    visitor.press("Confirm")
    later = visit()
    later.go("/signin/")
    later.sign_in(mallory, generator.at(now))
    assert later.path == "/"


def test_an_organization_with_a_team(visit: Visit, dev: User, bob: User) -> None:
    """An organization is made, and a team, whose new member sees what a default permission gives to it."""
    visitor = visit(dev)
    visitor.go("/organizations/")
    visitor.follow("New organization")
    visitor.type("Name", "acme")
    visitor.press("Make the organization")
    assert visitor.path == "/organization/acme"
    visitor.follow("Teams")
    visitor.type("Name", "builders")
    visitor.press("Make the team")
    visitor.told("The team is made: add its members.")
    visitor.type("A user, or a robot of acme", bob.name)
    visitor.press("Add to the team")
    visitor.told("The new member is in the team.")
    assert visitor.row("bob").is_visible()
    visitor.go("/organization/acme?tab=defaults")
    team = visitor.card("For a team")
    visitor.choose("Team", "builders", team)
    visitor.choose("Role", "write", team)
    visitor.press("Make it", team)
    visitor.told("The default permission is made.")
    visitor.go("/new/?namespace=acme")
    visitor.type("Name", "product")
    visitor.press("Make it")
    visitor.follow("Settings")
    assert visitor.row("builders").get_by_role("combobox").input_value() == "write"
    member = visit(bob)
    member.go("/")
    member.follow("acme")
    member.follow("acme/product")
    member.reads("It is empty")


@pytest.fixture(scope="module")
def owner(quay: RunningQuay) -> User:
    """Who has an organization with an application."""
    return quay.add_user("owner")


@pytest.fixture
def deployer(visit: Visit, quay: RunningQuay, owner: User) -> Iterator[str]:
    """The client id of an application of an organization, made through the API."""
    maker = visit(owner)
    maker.call("POST", "organization/", {"name": "makers"})
    made = maker.call(
        "POST",
        "organization/makers/applications",
        {"name": "Deployer", "redirect_uri": f"{quay.url}/oauth/localapp", "description": "Puts things there."},
    )
    yield made["client_id"]
    maker.call("DELETE", "organization/makers")


def asked_by(deployer: str, quay: RunningQuay, **changes: str) -> str:
    """Where an application sends people, to ask for what it wants."""
    home = f"{quay.url}/oauth/localapp"
    query = {"client_id": deployer, "redirect_uri": home, "scope": "repo:read", "response_type": "token"}
    return f"/oauth/authorize?{urlencode(query | changes)}"


def test_a_token_for_an_application(visit: Visit, quay: RunningQuay, bob: User, deployer: str) -> None:
    """Who is asked says yes, after signing in, and reads a token that works; it is in no address any more."""
    visitor = visit()
    visitor.go(asked_by(deployer, quay))
    visitor.sign_in(bob)
    visitor.reads("Let Deployer act for you?")
    visitor.press("Authorize")
    visitor.reads("Your access token")
    token = visitor.page.locator("#token").inner_text()
    assert re.fullmatch(r"\S{40,}", token)
    assert token not in visitor.page.url
    assert Client(quay.host, "$oauthtoken", token).login("bob/anything", "pull")
    visitor.go("/user/bob?tab=authorizations")
    visitor.press("Revoke", visitor.row("Deployer"), exact=False)
    visitor.told("The application cannot act for you with that any more.")


def test_an_application_elsewhere(visit: Visit, quay: RunningQuay, owner: User, bob: User, deployer: str) -> None:
    """The browser follows the answer to the application's own address, which no policy of the page forbids."""
    home = quay.url.replace("127.0.0.1", "localhost") + "/docs/quickstart"
    path = f"organization/makers/applications/{deployer}"
    visit(owner).call("PUT", path, {"name": "Deployer", "application_uri": home, "redirect_uri": home})
    visitor = visit(bob)
    visitor.go(asked_by(deployer, quay, redirect_uri=home, response_type="code", state="kept"))
    visitor.press("Authorize")
    assert visitor.page.url.startswith(f"{home}?")
    answer = parse_qs(urlsplit(visitor.page.url).query)
    assert answer["state"] == ["kept"]
    assert answer["code"]


def test_no_is_an_answer(visit: Visit, quay: RunningQuay, bob: User, deployer: str) -> None:
    """Who does not want it gives no token, and the application is told."""
    visitor = visit(bob)
    visitor.go(asked_by(deployer, quay))
    visitor.press("Do not")
    visitor.reads("Authorization canceled")
