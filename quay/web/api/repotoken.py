"""Access tokens of repositories, which are no longer made: robots and application tokens do what they did."""

from __future__ import annotations

from typing import Any, Final, NoReturn

from quay.model.permission import Role
from quay.web.api import needs
from quay.web.api.call import Call
from quay.web.api.errors import Gone
from quay.web.api.route import Routes

routes = Routes("repotoken", "Access tokens of repositories, which are gone.")

_ALL: Final = "/repository/<repository:repository>/tokens/"
_ADMIN: Final = needs.repository(Role.ADMIN)


@routes.get(_ALL, "listRepoTokens", _ADMIN)
@routes.post(_ALL, "createToken", _ADMIN)
async def tokens(call: Call) -> dict[str, Any]:
    """Nothing any more: use robots."""
    _gone()


@routes.get(f"{_ALL}<code>", "getTokens", _ADMIN)
@routes.put(f"{_ALL}<code>", "changeToken", _ADMIN)
@routes.delete(f"{_ALL}<code>", "deleteToken", _ADMIN)
async def token(call: Call, code: str) -> dict[str, Any]:
    """Nothing any more: use robots."""
    _gone()


def _gone() -> NoReturn:
    raise Gone("Handling of access tokens is no longer supported: give a robot a role on the repository instead.")
