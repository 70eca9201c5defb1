"""
`/csrf_token`: what a page of ours has to send along when it changes something. Other sites cannot read the answer.

Source: Quay's route of this name.
"""

from __future__ import annotations

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from quay.auth.sessions import Sessions
from quay.web.api.identity import Identifier
from quay.web.request import RegistryRequest
from quay.web.respond import run_handler, send_json


class CsrfToken(Resource):
    """The token of the session that the request's cookie belongs to; "" for whoever is in none, and needs none."""

    isLeaf = True

    def __init__(self, identifier: Identifier, sessions: Sessions) -> None:
        super().__init__()
        self._identifier = identifier
        self._sessions = sessions

    def render_GET(self, request: RegistryRequest) -> int:
        run_handler(request, self._answer(request))
        return NOT_DONE_YET

    async def _answer(self, request: RegistryRequest) -> None:
        session = (await self._identifier.identify(request)).session
        token = "" if session is None else self._sessions.csrf_token(session)
        send_json(
            request, 200, {"csrf_token": token}, {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        )
