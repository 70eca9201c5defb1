"""Errors are sentences with the code and the status of the specification."""

from __future__ import annotations

import json

import pytest

from quay.oci import errors
from quay.oci.errors import RegistryError

ERRORS = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, RegistryError)]


@pytest.mark.parametrize("error", ERRORS)
def test_every_error_has_a_code_and_a_failing_status(error: type[RegistryError]) -> None:
    """Each class says its code in capitals, and a status from 400 on."""
    assert error.code == error.code.upper()
    assert 400 <= error.status < 600


def test_body_is_that_of_the_specification() -> None:
    """Code, message and detail stand in one element of `errors`, with the facts and the advice in the detail."""
    error = errors.BlobUnknown("There is no such blob.", advice="Push it.", digest="sha256:ab", size=3, parts=[1])
    detail = {"digest": "sha256:ab", "size": 3, "parts": [1], "advice": "Push it."}
    assert error.body() == {"errors": [{"code": "BLOB_UNKNOWN", "message": "There is no such blob.", "detail": detail}]}


def test_facts_of_any_kind_become_json() -> None:
    """A fact that JSON does not know is told as text."""
    assert json.dumps(errors.Denied("No.", who=ValueError("x"), when=None).body())


def test_error_prints_its_message() -> None:
    """`str()` is the message, so a log shows the sentence."""
    assert str(errors.Denied("Nobody pushes here.")) == "Nobody pushes here."


def test_errors_share_no_headers() -> None:
    """Headers of one refusal do not appear on another."""
    error = errors.RangeInvalid("No.", headers={"Content-Range": "bytes */1"})
    assert error.headers == {"Content-Range": "bytes */1"}
    assert errors.RangeInvalid("No.").headers == {}
