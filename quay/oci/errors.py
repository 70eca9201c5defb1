"""
Every way in which the registry says no: the code and status of the specification, and a sentence.

An error holds its facts as attributes and puts them into one message that says who, what and why, and one
`advice` that says what to do. `docker` prints the message verbatim, so it is written for the person who reads it.

Source: OCI Distribution Specification 1.1, "Error Codes"; Docker Registry HTTP API V2, "Errors".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class RegistryError(Exception):
    """The base of all refusals: `code` and `status` are the specification's, `message` and `advice` are ours."""

    code: ClassVar[str] = "UNKNOWN"
    status: ClassVar[int] = 500

    def __init__(
        self, message: str, *, advice: str = "", headers: Mapping[str, str] | None = None, **facts: object
    ) -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice
        self.facts = facts
        self.headers: Mapping[str, str] = headers or {}

    def body(self) -> dict[str, object]:
        """The error as the specification's JSON object: `{"errors": [{"code", "message", "detail"}]}`."""
        detail: dict[str, object] = {
            name: value if isinstance(value, int | list | dict) else str(value) for name, value in self.facts.items()
        }
        if self.advice:
            detail["advice"] = self.advice
        return {"errors": [{"code": self.code, "message": self.message, "detail": detail}]}


class BlobUnknown(RegistryError):
    code, status = "BLOB_UNKNOWN", 404


class BlobUploadUnknown(RegistryError):
    code, status = "BLOB_UPLOAD_UNKNOWN", 404


class BlobUploadInvalid(RegistryError):
    code, status = "BLOB_UPLOAD_INVALID", 400


class RangeInvalid(RegistryError):
    """A chunk out of order, or a byte range outside the blob."""

    code, status = "BLOB_UPLOAD_INVALID", 416


class BlobTooLarge(RegistryError):
    code, status = "SIZE_INVALID", 413


class DigestInvalid(RegistryError):
    code, status = "DIGEST_INVALID", 400


class SizeInvalid(RegistryError):
    code, status = "SIZE_INVALID", 400


class NameInvalid(RegistryError):
    code, status = "NAME_INVALID", 400


class NameUnknown(RegistryError):
    code, status = "NAME_UNKNOWN", 404


class TagInvalid(RegistryError):
    code, status = "TAG_INVALID", 400


class TagExpired(RegistryError):
    """A deleted or expired tag that the time machine can still restore."""

    code, status = "TAG_EXPIRED", 404


class TagImmutable(RegistryError):
    """A tag that is locked; clients know the code from registries whose tags cannot be overwritten."""

    code, status = "TAG_ALREADY_EXISTS", 409


class ManifestUnknown(RegistryError):
    code, status = "MANIFEST_UNKNOWN", 404


class ManifestInvalid(RegistryError):
    code, status = "MANIFEST_INVALID", 400


class ManifestTooLarge(RegistryError):
    code, status = "MANIFEST_INVALID", 413


class ManifestTypeUnsupported(RegistryError):
    code, status = "MANIFEST_INVALID", 415


class ManifestBlobUnknown(RegistryError):
    code, status = "MANIFEST_BLOB_UNKNOWN", 400


class ManifestUnverified(RegistryError):
    code, status = "MANIFEST_UNVERIFIED", 400


class InvalidRequest(RegistryError):
    code, status = "INVALID_REQUEST", 400


class PaginationInvalid(RegistryError):
    code, status = "PAGINATION_NUMBER_INVALID", 400


class Unauthorized(RegistryError):
    """Also what a missing permission is on `/v2/`: 401, never 403, so that a client asks for another token."""

    code, status = "UNAUTHORIZED", 401


class Denied(RegistryError):
    """A namespace or registry that does not take this at all: Quay answers 405, and clients do not retry it."""

    code, status = "DENIED", 405


class Unsupported(RegistryError):
    code, status = "UNSUPPORTED", 405


class TooManyRequests(RegistryError):
    code, status = "TOOMANYREQUESTS", 429


class Unavailable(RegistryError):
    """The server cannot do it now; the `Retry-After` header says when to come back."""

    code, status = "UNAVAILABLE", 503


class StorageFull(RegistryError):
    code, status = "UNAVAILABLE", 507
