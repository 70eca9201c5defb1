"""
Lists that another registry gives page by page, read within bounds, and its JSON, of which nothing is taken on trust.

Source: OCI Distribution Specification 1.1, "Listing tags"; Docker Registry HTTP API V2, "Listing Repositories";
RFC 8288 (links); Quay's API, `listRepos`.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import quote

from quay.egress import Answer
from quay.oci.errors import DigestInvalid
from quay.oci.reference import Digest
from quay.registry.client.calls import Calls
from quay.registry.client.errors import RemoteWrong

LIST_LIMIT: Final = 8 * 1024 * 1024
"""Bytes of one page."""
PAGES: Final = 100_000
PAGE_SIZE: Final = 1000

_NEXT = re.compile(r"<([^<>]*)>\s*;[^,<]*\brel\s*=\s*\"?next\"?", re.IGNORECASE)


async def listed(calls: Calls, place: str, scope: str, key: str, doing: str) -> AsyncIterator[str]:
    """The names under `key` on the page at `place`, and on those that follow. Raises `RemoteError`."""
    following: str | None = f"{place}?n={PAGE_SIZE}"
    seen: set[str] = set()
    for _ in range(PAGES):
        if following is None or following in seen:
            return
        seen.add(following)
        answer = await calls.ask("GET", following, scope, limit=LIST_LIMIT)
        if answer.status != 200:
            raise calls.refusal(doing, answer)
        for name in _names(document_of(calls, answer, doing).get(key)):
            yield name
        following = next_place(calls, following, answer)


async def listed_by_quay(calls: Calls, token: str) -> AsyncIterator[str]:
    """The repositories with images that a Quay shows to whoever has this OAuth token. Raises `RemoteError`."""
    doing, page = "list its repositories through Quay's API", ""
    for _ in range(PAGES):
        place = f"/api/v1/repository?public=true&repo_kind=image&next_page={quote(page, safe='')}"
        headers = {"Authorization": f"Bearer {token}"}
        answer = await calls.ask("GET", place, "quay api", headers=headers, limit=LIST_LIMIT)
        if answer.status != 200:
            raise calls.refusal(doing, answer)
        document = document_of(calls, answer, doing)
        for one in _objects(document.get("repositories")):
            if isinstance(one.get("namespace"), str) and isinstance(one.get("name"), str):
                yield f"{one['namespace']}/{one['name']}"
        following = document.get("next_page")
        if not isinstance(following, str) or following == page:
            return
        page = following


def next_place(calls: Calls, place: str, answer: Answer) -> str | None:
    """Where the next page is, at the same registry; None after the last one. Raises `RemoteWrong`."""
    found = _NEXT.search(answer.headers.get("link", ""))
    if found is None:
        return None
    here, there = calls.origin(place), calls.origin(found[1])
    if here.origin != there.origin:
        raise RemoteWrong(f"{calls.host} has the next page of a list somewhere else.")
    return there.path


def document_of(calls: Calls, answer: Answer, doing: str) -> dict[str, Any]:
    """The JSON object that was answered. Raises `RemoteWrong`."""
    try:
        document = json.loads(answer.body) if answer.complete else None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise RemoteWrong(f"{calls.host} gave no readable answer when it was to {doing}.")
    return document


def _objects(listed: object) -> list[dict[str, Any]]:
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []


def _names(listed: object) -> list[str]:
    return [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []


def digests_of(listed: object) -> list[Digest]:
    """The digests of a list of descriptors."""
    found = (digest_of(entry.get("digest")) for entry in _objects(listed))
    return [digest for digest in found if digest is not None]


def digest_of(text: object) -> Digest | None:
    """The digest that `text` spells; None if it spells none."""
    try:
        return Digest.parse(text) if isinstance(text, str) else None
    except DigestInvalid:
        return None
