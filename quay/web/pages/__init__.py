"""
Pages for people: Jinja templates, escaped throughout, sent with headers that keep scripts and frames of others out.

The templates are beside this module, and so are the style sheets and scripts that they name, under `/static/`: nothing
comes from outside the box. Source: OWASP Secure Headers Project; CSP Level 3.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from quay import __version__
from quay.web.request import RegistryRequest

_HEADERS: Final = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
)


class Pages:
    """Renders templates for a registry that is called `title`."""

    def __init__(self, title: str) -> None:
        self._environment = Environment(
            loader=PackageLoader("quay.web.pages"), autoescape=True, undefined=StrictUndefined, auto_reload=False
        )
        self._environment.globals.update(title=title, version=__version__)

    def send(
        self, request: RegistryRequest, template: str, *, status: int = 200, forms_to: Iterable[str] = (), **values: Any
    ) -> None:
        """
        Answer with the page that `template` is with `values`, and be done with the request. Its forms may lead here
        and, in the end, to the origins in `forms_to`.
        """
        body = self._environment.get_template(template).render(**values).encode()
        request.setResponseCode(status)
        for name, value in _HEADERS.items():
            request.setHeader(name, value)
        request.setHeader("Content-Security-Policy", " ".join([_POLICY, *forms_to]))
        request.setHeader("Content-Length", str(len(body)))
        request.write(body)
        request.finish()
