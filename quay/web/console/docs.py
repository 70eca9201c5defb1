"""
The documentation of this very version, served from the box: Markdown in `quay/docs`, and what is made from the code.

A page is cut into sections at its headings: each has an address of its own, and is what a search finds. `{base}`,
`{host}` and `{me}` in the texts are the address and the name of the registry, and the reader's name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from importlib.resources import files
from typing import Final
from urllib.parse import quote

import attrs
from markupsafe import Markup

from quay import config
from quay.web.api.errors import DESCRIPTIONS
from quay.web.console.page import Context, NoPage, PageTable, View
from quay.web.pages.markdown import render

pages = PageTable()

WRITTEN: Final[Mapping[str, Sequence[str]]] = {
    "Begin": ("quickstart", "clients"),
    "By task": ("robots", "teams", "tags", "notifications", "applications", "account", "search"),
    "Run it": ("install", "operate", "doctor", "backup", "import", "bundles", "nodes", "runbooks"),
    "Reference": ("configuration", "commands", "errors", "metrics"),
}
"""The pages, in their order, by part."""

WORDS: Final = 8
"""So many words of a query count."""
FOUND: Final = 40
"""Sections that a search shows, at most."""
AROUND: Final = 90
"""Characters that are shown before and after what was found."""

_HEADING: Final = re.compile(r"(#{1,3}) (.+)")
_FENCE: Final = re.compile(r"\s*(```|~~~)")
_NAME: Final = re.compile(r"\{(?:base|host|me)\}")
_SYNTAX: Final = re.compile(r"[`*|#]|-{3,}|\[([^\]]*)\]\([^)]*\)")


@attrs.frozen
class Section:
    """`text` is Markdown without the heading; `level` is 1 for what stands before the first section of a page."""

    title: str
    anchor: str
    level: int
    text: str = attrs.field(repr=False)

    @property
    def plain(self) -> str:
        """The text without its markup, on one line."""
        return " ".join(_SYNTAX.sub(r"\1", self.text).split())


@attrs.frozen
class Document:
    """A page of the documentation."""

    key: str
    title: str
    sections: Sequence[Section]


@pages.page("/docs", "console/docs.html")
async def contents(view: View) -> Context:
    """All pages; or, with `q` in the query, the sections that have these words."""
    query = view.query.get("q", "").strip()[:200]
    return {
        "query": query,
        "results": await view.in_background(_found, query, *_reader(view)) if query else [],
        "parts_": [(part, [document(key) for key in keys]) for part, keys in WRITTEN.items()],
    }


@pages.page("/docs/<key>", "console/doc.html")
async def show(view: View, key: str) -> Context:
    """One page."""
    if all(key not in keys for keys in WRITTEN.values()):
        raise NoPage
    body = await view.in_background(_rendered, key, *_reader(view))
    everything = [one for keys in WRITTEN.values() for one in keys]
    place = everything.index(key)
    return {
        "document": document(key),
        "body": body,
        "previous": document(everything[place - 1]) if place else None,
        "following": document(everything[place + 1]) if place + 1 < len(everything) else None,
    }


def _reader(view: View) -> tuple[str, str]:
    """What the texts call this registry and whoever reads them: its address, and his name."""
    return view.api.base(view.request), view.principal.name if view.signed_in else "NAME"


# --- the texts ----------------------------------------------------------------------------------------------------


@cache
def document(key: str) -> Document:
    """The page of this name, which `WRITTEN` has."""
    sections = list(_sections(_source(key)))
    return Document(key, sections[0].title, sections)


def _source(key: str) -> str:
    if key == "configuration":
        return config.reference()
    text = files("quay").joinpath("docs", f"{key}.md").read_text(encoding="utf-8")
    return text + "\n".join(_GENERATED[key]()) if key in _GENERATED else text


def _api_errors() -> Iterator[str]:
    for kind, (title, description) in DESCRIPTIONS.items():
        yield f"\n### {kind}\n\n{title}. {description}\n"


_GENERATED: Final[Mapping[str, Callable[[], Iterator[str]]]] = {"errors": _api_errors}


def _sections(source: str) -> Iterator[Section]:
    title, level, lines, fenced = "", 1, list[str](), False
    for line in source.splitlines():
        fenced ^= bool(_FENCE.match(line))
        heading = None if fenced else _HEADING.fullmatch(line)
        if heading is None:
            lines.append(line)
            continue
        if title:
            yield Section(title, anchor_of(title), level, "\n".join(lines))
        title, level, lines = heading[2], len(heading[1]), []
    yield Section(title, anchor_of(title), level, "\n".join(lines))


def anchor_of(title: str) -> str:
    """The name of a section in the address of its page."""
    return re.sub(r"[^a-z0-9_]+", "-", title.lower()).strip("-")


@lru_cache(maxsize=64)
def _rendered(key: str, base: str, me: str) -> Sequence[tuple[Section, Markup]]:
    """Each section with its HTML."""
    return [(section, render(_named(section.text, base, me))) for section in document(key).sections]


def _named(text: str, base: str, me: str) -> str:
    names = {"{base}": base, "{host}": base.partition("://")[2], "{me}": me}
    return _NAME.sub(lambda found: names[found[0]], text)


# --- search -------------------------------------------------------------------------------------------------------


@attrs.frozen
class Result:
    """A section that was found, and what stands around the first word: before it, it, and after it."""

    address: str
    title: str
    page: str
    before: str
    word: str
    after: str


def _found(query: str, base: str, me: str) -> list[Result]:
    """The sections that have all words of the query, those first that have them in their titles, or often."""
    words = query.lower().split()[:WORDS]
    every = (document(key) for keys in WRITTEN.values() for key in keys)
    scored = [(_score(page, section, words), page, section) for page in every for section in page.sections]
    best = sorted((one for one in scored if one[0]), key=lambda one: -one[0])
    return [_result(page, section, words[0], _named(section.plain, base, me)) for _, page, section in best[:FOUND]]


def _score(page: Document, section: Section, words: Sequence[str]) -> int:
    """0 unless each word is in the section, or in the title of its page and one of them in the section."""
    title, text = section.title.lower(), section.plain.lower()
    counts = [20 * title.count(word) + min(text.count(word), 10) for word in words]
    if not any(counts) or any(
        not count and word not in page.title.lower() for word, count in zip(words, counts, strict=True)
    ):
        return 0
    return sum(counts)


def _result(page: Document, section: Section, word: str, text: str) -> Result:
    """`text` is that of the section, as its reader sees it."""
    place = max(0, text.lower().find(word))
    begin, end = max(0, place - AROUND), place + len(word)
    address = f"/docs/{page.key}" + (f"#{quote(section.anchor)}" if section.level > 1 else "")
    found = text[place:end] if text[place:end].lower() == word else ""
    rest = text[end if found else place :]
    return Result(
        address=address,
        title=section.title,
        page=page.title,
        before=("…" if begin else "") + text[begin:place],
        word=found,
        after=rest[:AROUND] + ("…" if len(rest) > AROUND else ""),
    )
