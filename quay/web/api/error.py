"""What the types of errors mean: where the `type` of an error leads."""

from __future__ import annotations

from typing import TypedDict

from quay.web.api import needs
from quay.web.api.call import Call
from quay.web.api.errors import DESCRIPTIONS, PREFIX, NotFound
from quay.web.api.route import Routes

routes = Routes("error", "Error details API")


class ApiErrorDescription(TypedDict):
    """Description of an error."""

    type: str
    title: str
    description: str


@routes.get("/error/<error_type>", "getErrorDescription", needs.anonymous_too)
async def describe(call: Call, error_type: str) -> ApiErrorDescription:
    """Get a detailed description of the error."""
    if error_type not in DESCRIPTIONS:
        raise NotFound("There is no such type of error.")
    _, description = DESCRIPTIONS[error_type]
    return {"type": f"{call.base}{PREFIX}{error_type}", "title": error_type, "description": description}
