"""
What people write as Markdown, as HTML that is safe in a page of the registry.

HTML in the text stays text; a link goes to the web, or to another page of this registry; pictures are links, because
nothing is fetched from elsewhere. Headings begin below those of the page. Source: CommonMark 0.31; tables and
strikethrough as GitHub has them.
"""

from __future__ import annotations

import re
from typing import Any, Final

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markupsafe import Markup, escape

LIMIT: Final = 25_000
"""Characters that are rendered; a description has no more."""

_SCHEMES: Final = re.compile(r"https?://", re.IGNORECASE)
_ELSEWHERE: Final = re.compile(r"[/\\]{2}|[^/?#]*:")
_TOP: Final = 3
"""The level of the largest heading: the page has two above it."""


def is_safe(address: str) -> bool:
    """Whether a link may go there: to the web, or by a relative address to another page of this registry."""
    text = address.strip()
    if not text.isprintable():
        return False
    return bool(_SCHEMES.match(text)) or not _ELSEWHERE.match(text)


def render(text: str) -> Markup:
    """The HTML of `text`."""
    return Markup(_MARKDOWN.render(text[:LIMIT]))  # noqa: S704  # the renderer escapes; the tests try it


class _Markdown(MarkdownIt):
    def validateLink(self, url: str) -> bool:  # the name is the library's
        return is_safe(url)


def _picture(self: RendererHTML, tokens: list[Token], number: int, options: Any, env: Any) -> str:
    token = tokens[number]
    words = token.content or "picture"
    return f'<a href="{escape(token.attrs.get("src", ""))}" rel="nofollow noreferrer">{escape(words)}</a>'


def _link(self: RendererHTML, tokens: list[Token], number: int, options: Any, env: Any) -> str:
    tokens[number].attrSet("rel", "nofollow noreferrer")
    return self.renderToken(tokens, number, options, env)


def _heading(self: RendererHTML, tokens: list[Token], number: int, options: Any, env: Any) -> str:
    token = tokens[number]
    level = min(int(token.tag[1:]) + _TOP - 1, 6)
    return f"<h{level}>" if token.nesting == 1 else f"</h{level}>\n"


def _cell(self: RendererHTML, tokens: list[Token], number: int, options: Any, env: Any) -> str:
    return f"<{tokens[number].tag}>"  # alignment would be an inline style, which no page may have


def _made() -> MarkdownIt:
    made = _Markdown("commonmark", {"html": False, "linkify": False, "maxNesting": 20})
    made.enable(["table", "strikethrough"])
    for name, rule in (
        ("image", _picture),
        ("link_open", _link),
        ("heading_open", _heading),
        ("heading_close", _heading),
        ("th_open", _cell),
        ("td_open", _cell),
    ):
        made.add_render_rule(name, rule)
    return made


_MARKDOWN: Final = _made()
