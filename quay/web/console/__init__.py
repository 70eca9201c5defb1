"""
The web console: pages for people, made on the server, and forms that do what the API does.

A page asks the API as the one who looks at it (`page.py`); a form is a call of the API (`action.py`). So the console
has no rights of its own, and nothing can be done here that cannot be done by a script. Reading and acting work without
JavaScript; what scripts add is in `/static/`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast
from urllib.parse import parse_qs, quote, urlencode

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from quay.auth.seals import SealBroken
from quay.oci.errors import NameUnknown, RegistryError
from quay.web.api import RepositoryConverter, RestAPI
from quay.web.api.call import Means
from quay.web.api.errors import BadRequest, FreshLoginRequired, InvalidToken
from quay.web.api.identity import CsrfRefused, Identifier, Identity
from quay.web.api.route import Route
from quay.web.console import (
    bundles,
    docs,
    home,
    jobs,
    manifest,
    organization,
    repository,
    robots,
    search,
    shortcuts,
    superuser,
    user,
)
from quay.web.console.action import FIELD, Action, Fields
from quay.web.console.page import Elsewhere, NoPage, Page, PageTable, SignInFirst, View
from quay.web.console.problem import hints
from quay.web.console.shown import SHOWN
from quay.web.console.surroundings import surroundings
from quay.web.pages import Pages
from quay.web.request import RegistryRequest, Translations, not_a_method
from quay.web.respond import run_handler, send_empty, send_error

TABLES: Final[tuple[PageTable, ...]] = (
    home.pages,
    organization.pages,
    robots.pages,
    user.pages,
    manifest.pages,
    repository.pages,
    search.pages,
    superuser.pages,
    jobs.pages,
    bundles.pages,
    docs.pages,
    shortcuts.pages,
)
"""The pages of every part. What is not here is not served."""

FORM_LIMIT: Final = 256 * 1024
SIGN_IN: Final = "signinUser"
FLASH: Final = b"flash"
FLASH_S: Final = 60


class Console(Resource):
    """Every address that belongs to nothing else. `translations` are as in `RestAPI`."""

    isLeaf = True

    def __init__(
        self, means: Means, api: RestAPI, identifier: Identifier, pages: Pages, translations: Translations
    ) -> None:
        super().__init__()
        self._means = means
        self._api = api
        self._identifier = identifier
        self._pages = pages
        self._translations = translations
        self._klein = self._routed()

    def render(self, request: RegistryRequest) -> int | bytes:
        """Answer `request`; every answer goes through here."""
        try:
            b"/".join(request.postpath or []).decode("utf-8")
        except UnicodeDecodeError:  # Klein would write each of these down
            return self._nothing(request)
        answer: int = self._klein.render(request)
        return answer

    def _routed(self) -> IResource:
        app = Klein()
        app.url_map.converters["repository"] = RepositoryConverter
        app.url_map.strict_slashes = False
        for number, page in enumerate(page for table in TABLES for page in table):
            app.route(page.path, methods=["GET"], endpoint=f"page {number}")(self._endpoint(page))
        app.route("/do/<nickname>", methods=["POST"], endpoint="do")(self._begin)
        app.route("/do-each/<nickname>", methods=["POST"], endpoint="do each")(self._begin_each)
        app.handle_errors(HTTPException)(cast("Any", self._unrouted))
        resource: IResource = app.resource()
        return resource

    def _endpoint(self, page: Page) -> Any:
        def answer(request: RegistryRequest, **path: Any) -> Deferred[None]:
            return run_handler(request, self._show(page, request, path), self._translations, self._refuse)

        return answer

    def _begin(self, request: RegistryRequest, nickname: str) -> Deferred[None]:
        return run_handler(request, self._do(request, nickname), self._translations, self._refuse)

    def _begin_each(self, request: RegistryRequest, nickname: str) -> Deferred[None]:
        return run_handler(request, self._do(request, nickname, each=True), self._translations, self._refuse)

    def _unrouted(self, request: RegistryRequest, failure: Failure) -> bytes:
        """What Klein sends, and finishes, where it finds no page, or none for this method."""
        problem = failure.value
        if isinstance(problem, MethodNotAllowed):
            return _composed_json(request, not_a_method(request.method, problem.valid_methods or ()))
        return self._nothing(request)

    def _nothing(self, request: RegistryRequest, identity: Identity | None = None) -> bytes:
        """That there is no page here: to a person a page, to a client its JSON."""
        where = _path(request)
        if _is_read_by_a_person(request):
            found = hints(where, 404)
            return self._composed(request, identity, "console/problem.html", status=404, hints=found, **_NO_PAGE)
        nothing = NameUnknown(f"There is nothing at {where!r}.", advice="The registry's API is at /v2/.")
        return _composed_json(request, nothing)

    # --- pages

    async def _show(self, page: Page, request: RegistryRequest, path: dict[str, Any]) -> None:
        identity = await self._identifier.identify(request)
        now = self._means.clock.seconds()
        means = self._means
        view = View(request, identity, self._api, means.config, _query(request), now, means.cpu)
        try:
            context = await page.show(view, **path)
        except SignInFirst:
            _redirect(request, f"/signin/?{urlencode({'next': _here(request)})}")
            return
        except InvalidToken:
            if view.signed_in:
                raise
            _redirect(request, f"/signin/?{urlencode({'next': _here(request)})}")
            return
        except Elsewhere as moved:
            _redirect(request, local(moved.where))
            return
        except NoPage:
            request.write(self._nothing(request, identity))
            request.finish()
            return
        except FreshLoginRequired:
            self._send(request, identity, "console/fresh_page.html")
            return
        except RegistryError as refused:
            self._refuse(request, refused, identity)
            return
        around = await surroundings(view)
        self._send(request, identity, page.template, at=view.at, **around, **context)

    def _send(self, request: RegistryRequest, identity: Identity | None, template: str, **context: Any) -> None:
        request.write(self._composed(request, identity, template, **context))
        request.finish()

    def _composed(
        self, request: RegistryRequest, identity: Identity | None, template: str, *, status: int = 200, **context: Any
    ) -> bytes:
        session = None if identity is None else identity.session
        return self._pages.compose(
            request,
            template,
            status=status,
            me=None if identity is None or session is None else identity.principal.name,
            is_superuser=session is not None and identity is not None and identity.principal.superuser,
            csrf="" if session is None else self._means.sessions.csrf_token(session),
            here=_here(request),
            host=self._api.base(request).partition("://")[2],
            base=self._api.base(request),
            flash=self._taken_flash(request),
            curl=self._curl(request),
            **context,
        )

    def _curl(self, request: RegistryRequest) -> Any:
        """What templates call to show how an action is done without them."""

        def curl(nickname: str, path: Mapping[str, Any], body: Any = None, query: Mapping[str, str] = _NOTHING) -> str:
            return Action(self._api.route(nickname), path, body, query).command(self._api.base(request))

        return curl

    def _refuse(self, request: RegistryRequest, error: RegistryError, identity: Identity | None = None) -> None:
        """What did not work: to a person a page, to a client its JSON."""
        if not _is_read_by_a_person(request):
            send_error(request, error)
            return
        sentence = _sentence(error)
        heading = _HEADINGS.get(error.status, "This did not work")
        told = {"heading": heading, "sentence": sentence, "hints": hints(_path(request), error.status, error)}
        self._send(request, identity, "console/problem.html", status=error.status, **told)

    # --- actions

    async def _do(self, request: RegistryRequest, nickname: str, *, each: bool = False) -> None:
        fields = _meant(await self._fields(request), request)
        identity = await self._identifier.identify(request)
        route = self._api.route(nickname)
        self._check_meant(request, identity, route, fields)
        back = local(fields.get("_back", ["/"])[0])
        try:
            _check_typed(fields)
            actions = Action.each(route, fields) if each else [Action.of(route, fields)]
            identity = await self._show_password(request, identity, fields)
            answer = await self._perform(request, identity, actions)
        except FreshLoginRequired:
            where = request.path.decode("latin-1")
            asked = {"layout": "console/frame.html", "fields": fields, "where": where, "back": back}
            self._send(request, identity, "fresh.html", **asked)
        except RegistryError as refused:
            self._flash(request, "wrong", _sentence(refused))
            _redirect(request, back)
        else:
            self._done(request, identity, route, fields, answer)

    async def _perform(self, request: RegistryRequest, identity: Identity, actions: Sequence[Action]) -> Any:
        """Do all of them, though some be refused; gives the answer to the last. Raises what was refused."""
        answer, refused = None, []
        for action in actions:
            try:
                nickname = action.route.nickname
                parts = {"query": action.query, "body": action.body}
                answer = await self._api.invoke(request, identity, nickname, action.path, **parts)
            except FreshLoginRequired:
                raise
            except RegistryError as error:
                refused.append(error)
        if refused and len(actions) > 1:
            raise BadRequest(f"{len(refused)} of {len(actions)} were not done. {_sentence(refused[0])}")
        if refused:
            raise refused[0]
        return answer

    def _done(self, request: RegistryRequest, identity: Identity, route: Route, fields: Fields, answer: Any) -> None:
        next_ = local(_filled(fields.get("_next", fields.get("_back", ["/"]))[0], fields, answer))
        if route.nickname in SHOWN:
            request.setResponseCode(200)
            shown = SHOWN[route.nickname]
            self._send(request, identity, shown.template, next=next_, **shown.gather(answer, self._api.base(request)))
            return
        if fields.get("_done"):
            self._flash(request, "done", fields["_done"][0][:300])
        _redirect(request, next_)

    def _check_meant(self, request: RegistryRequest, identity: Identity, route: Route, fields: Fields) -> None:
        """
        Raises `CsrfRefused` unless the form is of this session; of nobody's form, the origin has been looked at. So it
        has of that by which somebody signs in anew, who had opened it before he signed in elsewhere.
        """
        session = identity.session
        shown = fields.get("_csrf_token", [""])[0]
        if session is None or self._means.sessions.is_csrf_token(session, shown):
            return
        if route.nickname != SIGN_IN or request.getHeader("Origin") is None:
            raise CsrfRefused("This form is not of your present session: go back, load the page again, and repeat it.")

    async def _show_password(self, request: RegistryRequest, identity: Identity, fields: Fields) -> Identity:
        """
        Where the form asked for the password, because the session was not fresh, make it fresh first; gives the
        identity as it is then.
        """
        password = fields.get("_password", [""])[0]
        if not password:
            return identity
        code = fields.get("_totp", [""])[0].strip()
        body = {"password": password, **({"totp": code} if code else {})}
        await self._api.invoke(request, identity, "verifyUser", {}, body=body)
        return await self._identifier.identify(request)

    async def _fields(self, request: RegistryRequest) -> Fields:
        origin: str | None = request.getHeader("Origin")
        if origin not in (None, self._api.base(request)):
            raise CsrfRefused("This form was sent by another site, and nothing was done.")
        raw: bytes = await request.body.read(FORM_LIMIT)
        try:
            return parse_qs(raw.decode("utf-8"), keep_blank_values=True, max_num_fields=1000)
        except ValueError:
            raise BadRequest("The form cannot be read.") from None

    # --- what is said once, on the next page

    def _flash(self, request: RegistryRequest, kind: str, text: str) -> None:
        sealed = self._means.seals.seal("flash", json.dumps([kind, text[:1000]]).encode())
        request.addCookie(FLASH, sealed, path="/", max_age=str(FLASH_S), httpOnly=True, sameSite="lax")

    def _taken_flash(self, request: RegistryRequest) -> Any:
        sealed: bytes | None = request.getCookie(FLASH)
        if not sealed:
            return None
        request.addCookie(FLASH, b"", path="/", max_age="0", httpOnly=True, sameSite="lax")
        try:
            return json.loads(self._means.seals.open("flash", sealed.decode("latin-1"), FLASH_S))
        except SealBroken:
            return None


def _composed_json(request: RegistryRequest, error: RegistryError) -> bytes:
    """The body of `error`, with the status and headers of the answer set for it."""
    body = json.dumps(error.body()).encode()
    request.setResponseCode(error.status)
    for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **error.headers}.items():
        request.setHeader(name, value)
    return body


def _is_read_by_a_person(request: RegistryRequest) -> bool:
    return b"text/html" in (request.getHeader(b"Accept") or b"")


_NOTHING: Final[Mapping[str, str]] = {}
_NO_PAGE: Final = {
    "heading": "There is nothing here",
    "sentence": "Nothing is at this address, or nothing that you may see.",
}
_HEADINGS: Final[Mapping[int, str]] = {
    400: "This cannot be",
    401: "Sign in first",
    403: "You may not do this",
    404: "There is nothing here",
    429: "Too many attempts",
    503: "Not now",
}


def local(where: str) -> str:
    """The address `where`, if it is one of this registry; else its home page. So nobody is sent away from here."""
    if not where.startswith("/") or where.startswith("//") or "\\" in where or not where.isprintable():
        return "/"
    return quote(where, safe="/?&=%:+@,;~#!$'()*[]-._")


def _filled(where: str, fields: Fields, answer: Any) -> str:
    """
    `where` with what the answer knows: `/repository/{namespace}/{name}` leads to what has just been made. What the
    answer does not say may be a field: `{field.name}`.
    """
    known = {name: values[0] for name, values in fields.items() if name.startswith(FIELD)}
    known |= answer if isinstance(answer, dict) else {}
    for name, value in known.items():
        if isinstance(value, str):
            where = where.replace(f"{{{name}}}", quote(value))
    return where


def _meant(fields: Fields, request: RegistryRequest) -> Fields:
    """Of a form with several buttons, what the one sends that was pressed: its address says `only` which field."""
    only = request.args.get(b"only", [b""])[0].decode("latin-1")
    if not only:
        return fields
    return {name: values for name, values in fields.items() if not name.startswith(FIELD) or name == FIELD + only}


def _check_typed(fields: Fields) -> None:
    """Raises `BadRequest` if the form asks for a name to be typed, or a password twice, and another one was."""
    expected = fields.get("_expect", [""])[0]
    typed = fields.get("_typed", [""])[0].strip()
    if expected != typed and "_expect" in fields:
        raise BadRequest(f"To be sure, type {expected!r}: you typed {typed[:80]!r}, so nothing was done.")
    if "_repeated" in fields and fields["_repeated"] != fields.get("field.password"):
        raise BadRequest("The two passwords are not the same, so nothing was done.")


def _sentence(error: RegistryError) -> str:
    return f"{error.message} {error.advice}".strip()


def _path(request: RegistryRequest) -> str:
    return request.path.decode("latin-1")[:160]


def _here(request: RegistryRequest) -> str:
    return local(request.uri.decode("latin-1")) if request.method in (b"GET", b"HEAD") else "/"


def _query(request: RegistryRequest) -> dict[str, str]:
    try:
        return {name.decode("utf-8"): values[0].decode("utf-8") for name, values in request.args.items()}
    except UnicodeDecodeError:
        raise BadRequest("The address is not UTF-8.") from None


def _redirect(request: RegistryRequest, where: str) -> None:
    send_empty(request, 303, {"Location": where, "Cache-Control": "no-store"})
