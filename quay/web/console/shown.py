"""
What is shown once: for the actions whose answer holds a secret, the page that shows it.

A secret is in the answer of the call that makes it, and in no other: so it is on the page that answers the form, and no
address leads to it again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from quay.web.console import credentials
from quay.web.console.page import Context
from quay.web.console.qr import qr_code


@attrs.frozen
class Shown:
    """`gather` makes what `template` shows of the answer of the API and of this server's address."""

    template: str
    gather: Callable[[Any, str], Context] = attrs.field(eq=False)


def _robot(answer: Any, base: str) -> Context:
    return {"what": "robot", "name": answer["name"], **_login(base, answer["name"], answer["token"])}


def _app_token(answer: Any, base: str) -> Context:
    token = answer["token"]
    return {"what": "app token", "name": token["title"], **_login(base, "$app", token["token_code"])}


def _application_token(answer: Any, base: str) -> Context:
    found = {"what": "API token", "name": answer["name"], **_login(base, "$oauthtoken", answer["token"])}
    return found | {"snippets": [credentials.api_call(base, answer["token"]), *found["snippets"]]}


def _login(base: str, name: str, secret: str) -> Context:
    return {"login": name, "secret": secret, "snippets": credentials.snippets(base, name, secret)}


def _user(answer: Any, base: str) -> Context:
    return {"made": answer}


def _service_key(answer: Any, base: str) -> Context:
    return {"key": answer}


def _application(answer: Any, base: str) -> Context:
    return {"application": answer}


def _begun(answer: Any, base: str) -> Context:
    return {"begun": answer, "qr": qr_code(answer["otpauth_uri"])}


def _recovery_codes(answer: Any, base: str) -> Context:
    return {"codes": answer["recovery_codes"]}


def _export(answer: Any, base: str) -> Context:
    return {"url": answer["exported_data_url"]}


def _notification(answer: Any, base: str) -> Context:
    return {"secret": answer.get("secret", "")}


_ROBOT: Final = Shown("console/secret.html", _robot)
_APPLICATION: Final = Shown("console/secret_application.html", _application)
_EXPORT: Final = Shown("console/secret_export.html", _export)
_RECOVERY_CODES: Final = Shown("console/secret_recovery.html", _recovery_codes)

SHOWN: Final[Mapping[str, Shown]] = {
    "createOrgRobot": _ROBOT,
    "createUserRobot": _ROBOT,
    "regenerateOrgRobotToken": _ROBOT,
    "regenerateUserRobotToken": _ROBOT,
    "createAppToken": Shown("console/secret.html", _app_token),
    "createRepoNotification": Shown("console/secret_notification.html", _notification),
    "createOrganizationApplication": _APPLICATION,
    "resetOrganizationApplicationClientSecret": _APPLICATION,
    "createOrganizationApplicationToken": Shown("console/secret.html", _application_token),
    "createInstallUser": Shown("console/secret_user.html", _user),
    **dict.fromkeys(("exportRepoLogs", "exportUserLogs", "exportOrgLogs"), _EXPORT),
    "createServiceKey": Shown("console/secret_key.html", _service_key),
    "beginSecondFactor": Shown("console/secret_factor.html", _begun),
    "confirmSecondFactor": _RECOVERY_CODES,
    "renewRecoveryCodes": _RECOVERY_CODES,
}
"""By the nickname of the route; the answers of all others are not shown."""
