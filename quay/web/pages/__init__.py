"""
Pages for people: Jinja templates, escaped throughout, sent with headers that keep scripts and frames of others out.

The templates are beside this module, and so are the style sheets and scripts that they name, under `/static/`: nothing
comes from outside the box. Source: OWASP Secure Headers Project; CSP Level 3.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import mktime_tz, parsedate_tz
from functools import cache
from time import time
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from quay import __version__
from quay.interfaces import IPool
from quay.web.addresses import Addresses
from quay.web.request import RegistryRequest

_HEADERS: Final = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
)


def ago(seconds: float | None, now: float | None = None) -> str:
    """How long ago a time (seconds since the epoch) was, as people say it; an empty text for never."""
    if seconds is None:
        return ""
    passed = max(0, int((time() if now is None else now) - seconds))
    for unit, length in _UNITS:
        if passed >= length:
            count = passed // length
            return f"{count} {unit}{'' if count == 1 else 's'} ago"
    return "just now"


def utc(seconds: float) -> str:
    """A time (seconds since the epoch) as ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(int(seconds), UTC).isoformat().replace("+00:00", "Z")


def moment(date: str | None) -> float | None:
    """A date as the API has it (RFC 2822), in seconds since the epoch; None for what has not happened."""
    parts = None if date is None else parsedate_tz(date)
    return None if parts is None else float(mktime_tz(parts))


def span(seconds: float) -> str:
    """A length of time in the largest unit that fits it, as people say it: `2 weeks`."""
    unit, length = next((one for one in _SPANS if seconds >= one[1]), ("second", 1))
    count = int(seconds // length)
    return f"{count} {unit}{'' if count == 1 else 's'}"


def ink(color: str) -> str:
    """Black or white, whichever is read better on `color` (`#rrggbb`). Source: WCAG 2.2, relative luminance."""
    parts = (int(color[start : start + 2], 16) / 255 for start in (1, 3, 5))
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return "#000" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 else "#fff"


def byte_count(size: float | None) -> str:
    """A number of bytes in the unit that leaves one to four digits: `1.5 MiB`."""
    if size is None:
        return ""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def short_digest(digest: str) -> str:
    """As much of a digest as tells it from others at a glance."""
    algorithm, _, rest = digest.partition(":")
    return f"{algorithm}:{rest[:12]}"


_UNITS: Final = (
    ("year", 365 * 86400),
    ("month", 30 * 86400),
    ("day", 86400),
    ("hour", 3600),
    ("minute", 60),
)


_SPANS: Final = (("week", 7 * 86400), *_UNITS[2:])


@cache
def _environment() -> Environment:
    """What knows the templates, and remembers them compiled: with a large one, that takes a tenth of a second."""
    made = Environment(
        loader=PackageLoader("quay.web.pages"), autoescape=True, undefined=StrictUndefined, auto_reload=False
    )
    made.globals.update(version=__version__)
    made.filters.update(ago=ago, bytes=byte_count, short=short_digest)
    made.filters.update(ink=ink, moment=moment, span=span, utc=utc)
    return made


class Pages:
    """Renders templates for a registry that is called `title`, and reached at `addresses`."""

    def __init__(self, title: str, addresses: Addresses) -> None:
        self._title = title
        self._addresses = addresses

    @staticmethod
    async def prepare(pool: IPool) -> None:
        """Compile all templates in `pool`, one at a time, so that nobody's page waits for it, nor anything else."""
        for name in _environment().list_templates(extensions=["html"]):
            await pool.run(_environment().get_template, name)

    def compose(
        self, request: RegistryRequest, template: str, *, status: int = 200, forms_to: Iterable[str] = (), **values: Any
    ) -> bytes:
        """
        The page that `template` is with `values`, with the status and headers of the answer set for it. Its forms may
        lead here and, in the end, to the origins in `forms_to`.
        """
        body = _environment().get_template(template).render(title=self._title, **values).encode()
        request.setResponseCode(status)
        for name, value in _HEADERS.items():
            request.setHeader(name, value)
        if self._addresses.is_secure_context(request):  # elsewhere browsers ignore it, and complain
            request.setHeader("Cross-Origin-Opener-Policy", "same-origin")
        request.setHeader("Content-Security-Policy", " ".join([_POLICY, *forms_to]))
        request.setHeader("Content-Length", str(len(body)))
        return body

    def send(self, request: RegistryRequest, template: str, **values: Any) -> None:
        """Answer with the page that `compose` gives, and be done with the request."""
        request.write(self.compose(request, template, **values))
        request.finish()
