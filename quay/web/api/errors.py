"""
How the REST API says no: Quay's error types with their statuses, in Quay's JSON.

Handlers raise; nobody writes error JSON. What the model refuses is told as a bad request, because its sentences are
written for the person who asked. Source: Quay's `/api/v1/error/{error_type}` and RFC 7807, which it follows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, TypedDict

from quay.model.credential import CredentialInvalid
from quay.model.label import LabelInvalid
from quay.model.namespace import NamespaceInvalid, NamespaceTaken
from quay.model.notification import NotificationInvalid
from quay.model.permission import GrantInvalid
from quay.model.repository import RepositoryInvalid, RepositoryTaken
from quay.model.tag import TagExpires
from quay.model.team import TeamInvalid, TeamTaken
from quay.oci.errors import RegistryError, TagImmutable
from quay.web.request import Translations

PREFIX: Final = "/api/v1/error/"


class ApiError(RegistryError):
    """The base of all refusals of the API; `payload` are members that this answer has beside the usual ones."""

    error_type: ClassVar[str] = "invalid_request"

    def __init__(self, detail: str, *, headers: Mapping[str, str] | None = None, **payload: Any) -> None:
        super().__init__(detail, headers=headers)
        self.payload = payload


class BadRequest(ApiError):
    error_type, status = "invalid_request", 400


class InvalidToken(ApiError):
    """Nobody, or nobody who can be believed."""

    error_type, status = "invalid_token", 401


class FreshLoginRequired(ApiError):
    """The session is too old for this: its user must show the password again."""

    error_type, status = "fresh_login_required", 401

    def __init__(self) -> None:
        super().__init__(
            "The action requires a fresh login to succeed: send your password to /api/v1/signin/verify, then try again."
        )


class Forbidden(ApiError):
    error_type, status = "insufficient_scope", 403


class NotFound(ApiError):
    error_type, status = "not_found", 404


class MethodNotAllowed(ApiError):
    error_type, status = "method_not_allowed", 405


class Conflict(ApiError):
    error_type, status = "conflict", 409


class Gone(ApiError):
    error_type, status = "gone", 410


class UnsupportedMedia(ApiError):
    error_type, status = "unsupported_media_type", 415


class NotImplementedHere(ApiError):
    """The repository is of a kind for which this does not exist."""

    error_type, status = "not_implemented", 501


class ReadOnly(ApiError):
    """The registry, or the repository, takes no changes now."""

    error_type, status = "read_only", 503

    def __init__(self, detail: str) -> None:
        super().__init__(detail, message=detail, is_readonly=True)


DESCRIPTIONS: Final[Mapping[str, tuple[str, str]]] = {
    "invalid_request": ("Invalid request", "The request was malformed, or asked for something that cannot be."),
    "invalid_response": ("Invalid response", "Another service answered with something that could not be understood."),
    "invalid_token": ("Invalid token", "There were no credentials, or they are wrong, revoked or expired."),
    "expired_token": ("Expired token", "The token was good once: get another one."),
    "fresh_login_required": ("Fresh login required", "The password must have been shown within the last minutes."),
    "insufficient_scope": ("Insufficient scope", "Whoever asks, or the token shown, may not do this."),
    "exceeds_license": ("Exceeds license", "The plan does not allow this."),
    "not_found": ("Not found", "There is no such thing, or not where it was looked for."),
    "method_not_allowed": ("Method not allowed", "The address exists, but takes other methods: see Allow."),
    "conflict": ("Conflict", "What is there stands in the way."),
    "tag_immutable": ("Tag immutable", "The tag is locked: it can be neither moved nor deleted until it is unlocked."),
    "gone": ("Gone", "This part of the API has been withdrawn; its documentation says what replaced it."),
    "unsupported_media_type": ("Unsupported media type", "Bodies are JSON: send Content-Type: application/json."),
    "request_too_large": ("Request too large", "The body has more bytes than are taken here."),
    "too_many_requests": ("Too many requests", "Wait for as long as Retry-After says."),
    "not_implemented": ("Not implemented", "This does not exist for a repository of this kind."),
    "read_only": ("Read only", "The registry or the repository takes no changes now."),
    "unavailable": ("Unavailable", "The registry cannot do it now: try again after the time in Retry-After."),
    "external_service_timeout": ("External service timeout", "Another service did not answer in time."),
    "downstream_issue": ("Downstream issue", "Another service could not do its part."),
    "token_rotation_failed": ("Token rotation failed", "The new token could not be made; the old one is still good."),
    "server_error": ("Server error", "The registry failed. Its log knows more, under the id in this answer."),
}
"""Title and description of every error type."""

_BY_KIND: Final[Mapping[type[RegistryError], str]] = {TagImmutable: "tag_immutable"}
_BY_STATUS: Final[Mapping[int, str]] = {
    400: "invalid_request",
    401: "invalid_token",
    403: "insufficient_scope",
    404: "not_found",
    405: "invalid_request",
    408: "invalid_request",
    409: "conflict",
    413: "request_too_large",
    416: "invalid_request",
    429: "too_many_requests",
    503: "unavailable",
    507: "unavailable",
}


class ApiErrorBody(TypedDict):
    """What is sent when something is refused, with what the kind of error adds."""

    status: int
    type: str
    title: str
    detail: str
    error_message: str
    error_type: str


def body(error: RegistryError, base: str) -> dict[str, Any]:
    """The JSON of `error`; `base` is the URL of the server as the client reaches it."""
    kind = error.error_type if isinstance(error, ApiError) else _kind_of(error)
    detail = f"{error.message} {error.advice}".strip()
    return {
        "status": error.status,
        "type": f"{base}{PREFIX}{kind}",
        "title": kind,
        "detail": detail,
        "error_message": detail,
        "error_type": kind,
    } | (error.payload if isinstance(error, ApiError) else {})


def _kind_of(error: RegistryError) -> str:
    return _BY_KIND.get(type(error)) or _BY_STATUS.get(error.status, "server_error")


def _bad_request(problem: Exception) -> RegistryError:
    return BadRequest(str(problem), message=str(problem))


TRANSLATIONS: Final[Translations] = dict.fromkeys(
    (
        CredentialInvalid,
        GrantInvalid,
        LabelInvalid,
        NamespaceInvalid,
        NamespaceTaken,
        NotificationInvalid,
        RepositoryInvalid,
        RepositoryTaken,
        TagExpires,
        TeamInvalid,
        TeamTaken,
    ),
    _bad_request,
)
"""What the model refuses, and how that is told."""
