"""Markdown of strangers, in pages of the registry."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quay.web.pages.markdown import is_safe, render

ELEMENTS = {
    "p", "br", "hr", "em", "strong", "s", "code", "pre", "blockquote", "a", "ul", "ol", "li", "h3", "h4", "h5", "h6",
    "table", "thead", "tbody", "tr", "th", "td",
}  # fmt: skip
ATTRIBUTES = {("a", "href"), ("a", "title"), ("a", "rel"), ("ol", "start"), ("code", "class")}


class Checked(HTMLParser):
    """Fails for whatever is not in the lists above, and for a link that leads where none may."""

    def handle_starttag(self, tag, attrs):
        assert tag in ELEMENTS, tag
        for name, value in attrs:
            assert (tag, name) in ATTRIBUTES, (tag, name)
            assert name != "href" or re.match(r"https?://|(?!//)[^:]*($|[/?#])", value, re.I), value


def check(text):
    html = str(render(text))
    Checked().feed(html)
    return html


def test_what_people_write():
    """Headings, lists, code, tables, links."""
    html = check("# Title\n\n- *one*\n- `two`\n\n|a|b|\n|:-|-:|\n|1|2|\n\n[docs](https://e.example/a?b&c) ~~no~~")
    for part in ("<h3>Title</h3>", "<em>one</em>", "<code>two</code>", "<td>1</td>", "<s>no</s>"):
        assert part in html
    assert '<a href="https://e.example/a?b&amp;c" rel="nofollow noreferrer">docs</a>' in html


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "a <b onclick=alert(1)>b</b>",
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt:alert(1))",
        "[x](java&#x73;cript:alert(1))",
        "[x](java\tscript:alert(1))",
        "[x](&#1;javascript:alert(1))",
        "[x](data:text/html;base64,PHNjcmlwdD4=)",
        "[x](vbscript:x)",
        "[x](file:///etc/passwd)",
        "[x](//evil.example)",
        "[x](/\\evil.example)",
        "[x](\\\\evil.example)",
        "<javascript:alert(1)>",
        "![x](javascript:alert(1))",
        '![x"onerror="alert(1)](https://e.example/"onerror="alert(1))',
        '[x](https://e.example "t\\" onmouseover=\\"alert(1)")',
        '```"><script>alert(1)</script>\nx\n```',
        "[x]: javascript:alert(1)\n\n[x]",
        "|<script>|\n|-|\n|<img onerror=x>|",
        "# <svg/onload=alert(1)>",
    ],
)
def test_hostile(text):
    """No markup but what Markdown makes, and no link that runs anything or leaves for who knows where."""
    check(text)


def test_pictures():
    """A picture is a link to it: a page fetches nothing from elsewhere."""
    html = check("![logo](https://e.example/logo.png)")
    assert html == '<p><a href="https://e.example/logo.png" rel="nofollow noreferrer">logo</a></p>\n'


@pytest.mark.parametrize("address", ["https://e.example", "HTTP://e.example", "/repository/a/b", "b?tab=tags", "#x"])
def test_links(address):
    """The web and the pages of this registry can be linked to."""
    assert is_safe(address)


@given(st.text(alphabet=st.sampled_from("<>\"'()[]!`*_#|:/\\& \n\tajscript=x0;"), max_size=60))
def test_anything(text):
    """Whatever is written, what comes out is made of the same few elements."""
    check(text)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text", ["[" * 25_000, "*a " * 8_000, "> " * 12_000, "- " * 12_000, "`" * 25_000, "|a" * 12_000]
)
def test_much(text):
    """A text that is made to take long, or to go deep, comes to an end."""
    check(text)
