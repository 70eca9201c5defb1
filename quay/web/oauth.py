"""
The OAuth 2 provider: an application asks a user for leave, and gets a token with which it acts for him.

Both of Quay's ways are here: a code, which the application fetches a token for (with PKCE, if it likes), and the token
at once in the fragment of the address, which older clients want. Nobody is ever sent to an address that is not the
application's own. Source: RFC 6749 sections 4.1 and 4.2; RFC 7636 (S256 only); RFC 7009; Quay's `/oauth` routes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import attrs
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from quay.auth import scopes
from quay.auth.credentials import parse_basic
from quay.auth.scopes import ScopeInvalid
from quay.database import Transaction
from quay.model import application as applications
from quay.model import audit, authorization, credential
from quay.model.application import Application
from quay.model.authorization import TOKEN_LIFETIME_S
from quay.model.namespace import Namespace
from quay.oci.errors import RegistryError, Unauthorized
from quay.web.api.application import is_web_address, scope_views
from quay.web.api.call import Means
from quay.web.api.identity import CsrfRefused, Identifier, Identity
from quay.web.pages import Pages
from quay.web.request import RegistryRequest
from quay.web.respond import run_handler, send_empty, send_json

FORM_LIMIT: Final = 16 * 1024
_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_VERIFIER: Final = re.compile(r"[A-Za-z0-9._~-]{43,128}")
_FIELDS: Final = ("client_id", "redirect_uri", "scope", "response_type", "state", "code_challenge")

Form = Mapping[str, str]


class Problem(RegistryError):
    """What a person reads who was sent here with a request that makes no sense; he is not sent on."""

    def __init__(self, status: int, heading: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status  # type: ignore[misc]  # the status of this one, not of the class
        self.heading = heading


class Refused(RegistryError):
    """What an application reads that asked for a token. Source: RFC 6749 section 5.2."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.status = status  # type: ignore[misc]  # the status of this one, not of the class
        self.error = error


@attrs.frozen
class Asked:
    """What an application asks a user for. `scope` has its names in order, with spaces between them."""

    application: Application
    scope: str
    redirect_uri: str
    response_type: Literal["code", "token"]
    state: str
    challenge: str | None

    def fields(self) -> dict[str, str]:
        """What a form has to send for it."""
        values = (
            self.application.client_id,
            self.redirect_uri,
            self.scope,
            self.response_type,
            self.state,
            self.challenge or "",
        )
        return dict(zip(_FIELDS, values, strict=True))

    def back(self, **answer: str) -> str:
        """The address of the application with `answer` in it: in the query for a code, else in the fragment."""
        if self.state:
            answer["state"] = self.state
        separator = "#" if self.response_type == "token" else "&" if "?" in self.redirect_uri else "?"
        return f"{self.redirect_uri}{separator}{urlencode(answer, quote_via=quote)}"


class OAuth(Resource):
    """Everything below `/oauth/`."""

    isLeaf = True

    def __init__(self, means: Means, identifier: Identifier, pages: Pages) -> None:
        super().__init__()
        self._means = means
        self._identifier = identifier
        self._pages = pages
        self._handlers: Mapping[tuple[bytes, bytes], Callable[[RegistryRequest], Coroutine[Any, Any, None]]] = {
            (b"GET", b"authorize"): self._authorize,
            (b"POST", b"authorizeapp"): self._authorized,
            (b"POST", b"denyapp"): self._denied,
            (b"GET", b"localapp"): self._local,
            (b"POST", b"access_token"): self._access_token,
            (b"POST", b"revoke"): self._revoke,
        }

    def render(self, request: RegistryRequest) -> int:
        handler = self._handlers.get((request.method, b"/".join(request.postpath or [])), self._nothing)
        run_handler(request, handler(request), refuse=self._refuse)
        return NOT_DONE_YET

    def _refuse(self, request: RegistryRequest, error: RegistryError) -> None:
        if isinstance(error, Refused):
            body = {"error": error.error, "error_description": error.message}
            send_json(request, error.status, body, {"Cache-Control": "no-store"})
            return
        heading = error.heading if isinstance(error, Problem) else "This did not work"
        sentence = f"{error.message} {error.advice}".strip()
        self._pages.send(request, "problem.html", status=error.status, heading=heading, sentence=sentence)

    async def _nothing(self, request: RegistryRequest) -> None:
        raise Problem(404, "There is nothing here", "An application that sent you here has the wrong address.")

    # --- the user is asked

    async def _authorize(self, request: RegistryRequest) -> None:
        asked = await self._asked(request, _query(request))
        identity = await self._identifier.identify(request)
        if identity.session is None:
            here = f"/oauth/authorize?{urlencode(asked.fields())}"
            _redirect(request, f"/signin/?{urlencode({'next': here})}")
        elif asked.response_type == "code" and await self._is_granted(identity, asked):
            await self._grant(request, identity, asked)
        else:
            self._send_consent(request, identity, asked)

    def _send_consent(self, request: RegistryRequest, identity: Identity, asked: Asked) -> None:
        assert identity.session is not None, "nobody else is asked for his consent"
        self._pages.send(
            request,
            "oauth_consent.html",
            forms_to=[_origin(asked.redirect_uri)],
            application=asked.application,
            user=identity.principal.name,
            scopes=scope_views(asked.scope),
            destination=urlsplit(asked.redirect_uri).netloc,
            fields=asked.fields() | {"_csrf_token": self._means.sessions.csrf_token(identity.session)},
        )

    # --- and answers

    async def _authorized(self, request: RegistryRequest) -> None:
        form = await self._form(request)
        identity = await self._identifier.identify(request)
        asked = await self._asked(request, form)
        if identity.session is not None:
            self._check_csrf(identity, form)
        elif identity.principal.kind != "user" or not self._is_direct(asked.application):
            raise Unauthorized("Nobody is signed in here.", advice="Go back to the application and sign in.")
        await self._grant(request, identity, asked)

    async def _denied(self, request: RegistryRequest) -> None:
        form = await self._form(request)
        asked = await self._asked(request, form)
        self._check_csrf(await self._identifier.identify(request), form)
        _redirect(request, asked.back(error="access_denied"))

    async def _grant(self, request: RegistryRequest, identity: Identity, asked: Asked) -> None:
        user_id = identity.principal.namespace_id
        assert user_id is not None, "users have a number"

        def code(txn: Transaction) -> dict[str, str]:
            issued = authorization.issue_code(
                txn,
                asked.application.id,
                user_id,
                asked.scope,
                redirect_uri=asked.redirect_uri,
                challenge=asked.challenge,
            )
            return {"code": issued}

        def token(txn: Transaction) -> dict[str, str]:
            _, secret = authorization.issue_token(txn, asked.application, user_id, asked.scope)
            _record(txn, asked.application, user_id, identity.principal.name, asked.scope, identity.caller.ip)
            return {"access_token": secret, "token_type": "Bearer", "expires_in": str(TOKEN_LIFETIME_S)}

        answer = await self._means.database.write(code if asked.response_type == "code" else token)
        if asked.redirect_uri.endswith(self._means.config.local_oauth_handler):
            answer |= {"scope": asked.scope}
        _redirect(request, asked.back(**answer))

    async def _is_granted(self, identity: Identity, asked: Asked) -> bool:
        user_id = identity.principal.namespace_id or 0
        given = await self._means.database.read(authorization.granted, asked.application.id, user_id)
        return given.issuperset(asked.scope.split())

    async def _local(self, request: RegistryRequest) -> None:
        identity = await self._identifier.identify(request)
        if identity.session is None:
            raise Problem(401, "Nobody is signed in", "Sign in, then ask for a token again.")
        self._pages.send(request, "oauth_token.html", granted="error" not in _query(request))

    # --- the application fetches its token, and gives it back

    async def _access_token(self, request: RegistryRequest) -> None:
        form = await self._form(request, foreign=True)
        if form.get("grant_type") != "authorization_code":
            raise Refused("unsupported_grant_type", "The only grant_type is authorization_code.")
        application, proved = await self._client(request, form)
        verifier = form.get("code_verifier") or None
        if verifier is not None and _VERIFIER.fullmatch(verifier) is None:
            raise Refused("invalid_request", "A code_verifier has 43 to 128 unreserved characters (RFC 7636).")
        ip = self._means.addresses.client_address(request)

        def fetch(txn: Transaction) -> tuple[str, str] | None:
            grant = authorization.redeem(
                txn,
                application.id,
                form.get("code", ""),
                redirect_uri=form.get("redirect_uri", ""),
                verifier=verifier,
                proved=proved,
            )
            if grant is None:
                return None
            made, secret = authorization.issue_token(txn, application, grant.user_id, grant.scope)
            _record(txn, application, grant.user_id, made.namespace.name, grant.scope, ip)
            return secret, grant.scope

        fetched = await self._means.database.write(fetch)
        if fetched is None:
            raise Refused("invalid_grant", "The code is unknown, used, expired, or was not made for this request.")
        answer = {
            "access_token": fetched[0],
            "token_type": "Bearer",
            "expires_in": TOKEN_LIFETIME_S,
            "refresh_token": None,
            "scope": fetched[1],
        }
        send_json(request, 200, answer, {"Cache-Control": "no-store"})

    async def _revoke(self, request: RegistryRequest) -> None:
        form = await self._form(request, foreign=True)
        application, proved = await self._client(request, form)
        if not proved:
            raise Refused("invalid_client", "Revoking a token takes the application's secret.", 401)
        ip = self._means.addresses.client_address(request)

        def give_back(txn: Transaction) -> None:
            held = credential.find(txn, "oauth", form.get("token", ""))
            if authorization.revoke_secret(txn, application.id, form.get("token", "")) and held is not None:
                _record_return(txn, application, held.namespace, ip)

        await self._means.database.write(give_back)
        send_empty(request, 200)

    async def _client(self, request: RegistryRequest, form: Form) -> tuple[Application, bool]:
        """The application that calls, and whether it showed its secret. Raises `Refused`."""
        client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
        header: bytes | None = request.getHeader(b"Authorization")
        if header is not None:
            shown = parse_basic(header)
            client_id, secret = shown.username, shown.secret

        def look(txn: Transaction) -> tuple[Application | None, bool]:
            found = applications.find(txn, client_id)
            return found, found is not None and bool(secret) and applications.is_secret(txn, found.id, secret)

        found, proved = await self._means.database.read(look)
        if found is None or (secret and not proved):
            raise Refused("invalid_client", "There is no application with this client_id and client_secret.", 401)
        return found, proved

    # --- what was asked for

    async def _asked(self, request: RegistryRequest, given: Form) -> Asked:
        """The request for leave that `given` is. Raises `Problem`."""
        missing = [name for name in ("client_id", "redirect_uri", "scope", "response_type") if not given.get(name)]
        if missing:
            raise Problem(400, "Something is missing", f"The application did not say: {', '.join(missing)}.")
        application = await self._means.database.read(applications.find, given["client_id"])
        if application is None:
            raise Problem(404, "Unknown application", "There is no application with this client_id here.")
        self._check_destination(request, application, given["redirect_uri"])
        return Asked(
            application,
            _scope(given["scope"]),
            given["redirect_uri"],
            _response_type(given["response_type"]),
            given.get("state", ""),
            _challenge(given),
        )

    def _check_destination(self, request: RegistryRequest, application: Application, uri: str) -> None:
        local = self._means.addresses.external_url(request) + self._means.config.local_oauth_handler
        if uri != local and not (application.redirect_uri and leads_home(application.redirect_uri, uri)):
            raise Problem(
                400,
                "Wrong address",
                "The application wants you to come back to an address that is not registered for it "
                "(redirect_uri_mismatch).",
            )

    def _is_direct(self, application: Application) -> bool:
        return application.client_id in self._means.config.direct_oauth_clients

    def _check_csrf(self, identity: Identity, form: Form) -> None:
        session = identity.session
        if session is None or not self._means.sessions.is_csrf_token(session, form.get("_csrf_token", "")):
            raise CsrfRefused("This form is not from this session: go back to the application and begin again.")

    async def _form(self, request: RegistryRequest, *, foreign: bool = False) -> Form:
        """The fields of a form; unless `foreign`, only of one of our own pages."""
        origin: str | None = request.getHeader("Origin")
        if not foreign and origin not in (None, self._means.addresses.external_url(request)):
            raise Problem(403, "Not from here", "This form was sent by another site, and nothing was done.")
        raw: bytes = await request.body.read(FORM_LIMIT)
        try:
            fields = parse_qsl(raw.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=50)
        except ValueError:
            raise Problem(400, "Too many fields", "No form here has so many fields.") from None
        return _storable(dict(fields))


def leads_home(registered: str, asked: str) -> bool:
    """
    Whether `asked` is the registered address or lies below it. Quay compares the beginnings of the texts, and so would
    take `https://example.com.evil` for `https://example.com`.
    """
    if asked == registered:
        return True
    if not (is_web_address(asked) and is_web_address(registered)):
        return False
    home, there = urlsplit(registered), urlsplit(asked)
    below = there.path.startswith(home.path.rstrip("/") + "/")
    climbs = re.search(r"(?:^|/)(?:\.|%2e){1,2}(?:/|$)", there.path, re.IGNORECASE)
    return (home.scheme, home.netloc) == (there.scheme, there.netloc) and below and climbs is None and not home.query


def _scope(text: str) -> str:
    try:
        named = scopes.parse(text)
    except ScopeInvalid as error:
        raise Problem(404, "Unknown scope", str(error)) from error
    return " ".join(sorted(named))


def _response_type(text: str) -> Literal["code", "token"]:
    if text == "code":
        return "code"
    if text == "token":
        return "token"
    raise Problem(400, "Unknown response type", "The application asks for neither a code nor a token.")


def _challenge(given: Form) -> str | None:
    challenge = given.get("code_challenge", "")
    if not challenge:
        return None
    if given.get("code_challenge_method", "S256") != "S256" or _CHALLENGE.fullmatch(challenge) is None:
        raise Problem(400, "Unknown challenge", "Of the methods of PKCE, only S256 is known here.")
    return challenge


def _origin(uri: str) -> str:
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc}"


def _query(request: RegistryRequest) -> Form:
    decoded = {
        name.decode("utf-8", "replace"): values[0].decode("utf-8", "replace") for name, values in request.args.items()
    }
    return _storable(decoded)


def _storable(fields: Form) -> Form:
    """The fields, if a database can hold them. Raises `Problem`."""
    if any("\0" in value for value in fields.values()):
        raise Problem(400, "Not text", "A field has a NUL in it.")
    return fields


def _redirect(request: RegistryRequest, where: str) -> None:
    send_empty(request, 302, {"Location": where, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"})


def _record(txn: Transaction, application: Application, user_id: int, user: str, scope: str, ip: str) -> None:
    details = {"oauth_token_application": application.name, "client_id": application.client_id, "scope": scope}
    entry = audit.Entry(
        kind="oauth_token_assigned",
        namespace_id=application.organization_id,
        performer_id=user_id,
        performer=user,
        ip=ip,
        details=details,
    )
    audit.append(txn, [entry])


def _record_return(txn: Transaction, application: Application, holder: Namespace, ip: str) -> None:
    entry = audit.Entry(
        kind="oauth_token_revoked",
        namespace_id=holder.id,
        performer_id=holder.id,
        performer=holder.name,
        ip=ip,
        details={"oauth_token_application": application.name, "client_id": application.client_id},
    )
    audit.append(txn, [entry])
