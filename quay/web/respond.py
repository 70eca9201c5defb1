"""
Answers: JSON, the specification's errors, and the boundary at which exceptions become one or the other.

Nobody writes error JSON by hand: a handler raises, and `run_handler` answers. Source: OCI Distribution Specification
1.1, "Error Codes".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Mapping
from contextvars import ContextVar
from typing import Any, TypeAlias

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http

from quay.oci.errors import RegistryError, Unavailable
from quay.web.addresses import Addresses, client_address
from quay.web.body import ClientGone
from quay.web.request import InternalError, RegistryRequest, Translations

__all__ = [
    "Addresses",
    "Translations",
    "client_address",
    "request_id",
    "run_handler",
    "send_empty",
    "send_error",
    "send_json",
]

log = Logger()
request_id: ContextVar[str] = ContextVar("request_id", default="-")
"""The id of the request that is being handled, for the log."""

Refusal: TypeAlias = Callable[[RegistryRequest, RegistryError], None]

_OF_A_BODY = (b"Content-Range", b"Accept-Ranges", b"Docker-Content-Digest", b"ETag", b"Cache-Control")


def send_json(request: RegistryRequest, status: int, value: object, headers: Mapping[str, str] | None = None) -> None:
    """Answer with `value` as JSON, and be done with the request. For HEAD, all but the body."""
    body = json.dumps(value, separators=(",", ":")).encode()
    _head(request, status, len(body), headers)
    request.setHeader(b"Content-Type", b"application/json")
    request.write(body)
    request.finish()


def send_empty(request: RegistryRequest, status: int, headers: Mapping[str, str] | None = None) -> None:
    """Answer without a body, and be done with the request."""
    _head(request, status, None if status == http.NO_CONTENT else 0, headers)
    request.finish()


def send_error(request: RegistryRequest, error: RegistryError) -> None:
    """Answer with `error`: its status, its headers and its JSON."""
    for name in _OF_A_BODY:  # a handler may have begun to describe what it then could not send
        request.responseHeaders.removeHeader(name)
    request.etag = request.lastModified = None
    request.setHeader(b"Docker-Distribution-API-Version", b"registry/2.0")
    send_json(request, error.status, error.body(), error.headers)


def run_handler(
    request: RegistryRequest,
    handler: Coroutine[Any, Any, None],
    translations: Translations | None = None,
    refuse: Refusal = send_error,
) -> Deferred[None]:
    """
    Run `handler` for `request`, answer what it raises, and cancel it when the client hangs up. A handler that
    returns without an answer is answered with the status and headers it set. The Deferred fires when the handler
    has ended, and never fails; `translations` are the site's, unless others are given. `refuse` sends an error.
    """
    table = request.site.translations if translations is None else translations
    running = Deferred.fromCoroutine(_run(request, handler, table, refuse))
    request.notifyFinish().addErrback(lambda _: running.cancel())
    return running


async def _run(
    request: RegistryRequest, handler: Coroutine[Any, Any, None], translations: Translations, refuse: Refusal
) -> None:
    request_id.set(request.id)
    try:
        await handler
    except Exception as problem:  # the boundary: everything is answered here, and logged if nobody foresaw it
        _answer_problem(request, problem, translations, refuse)
    else:
        _conclude(request, refuse)


def _conclude(request: RegistryRequest, refuse: Refusal) -> None:
    if request.answerable and request.code == 200:
        refuse(request, _unforeseen(request, RuntimeError("the handler ended without an answer")))
    elif request.answerable:
        send_empty(request, request.code)
    elif not (request.finished or request.disconnected):
        request.finish()


def _answer_problem(request: RegistryRequest, problem: Exception, translations: Translations, refuse: Refusal) -> None:
    error = _told(request, problem, translations)
    if error is not None and request.answerable:
        refuse(request, error)
    else:
        request.hang_up()


def _told(request: RegistryRequest, problem: Exception, translations: Translations) -> RegistryError | None:
    """What to tell the client of `problem`, if anything; what nobody foresaw is logged."""
    if isinstance(problem, RegistryError):
        return problem
    if isinstance(problem, ClientGone):
        return None
    if isinstance(problem, CancelledError):
        return Unavailable("This request was interrupted.", advice="Try again.", headers={"Retry-After": "1"})
    return translated(problem, translations) or _unforeseen(request, problem)


def translated(problem: Exception, translations: Translations) -> RegistryError | None:
    """What clients are told of an exception of another layer; None if nobody foresaw it."""
    for kind in type(problem).__mro__:
        if kind in translations:
            return translations[kind](problem)
    return None


def _unforeseen(request: RegistryRequest, problem: Exception) -> RegistryError:
    log.failure(
        "request {request_id} failed: {summary}", Failure(problem), request_id=request.id, summary=request.summary
    )
    return InternalError(request.id)


def _head(request: RegistryRequest, status: int, length: int | None, headers: Mapping[str, str] | None) -> None:
    request.setResponseCode(status)
    for name, value in (headers or {}).items():
        request.setHeader(name, value)
    if length is not None:  # with 204, RFC 9110 section 8.6 forbids to tell
        request.setHeader(b"Content-Length", b"%d" % length)
