"""Who asks, and from where: what a use-case needs to decide and the audit log needs to tell."""

from __future__ import annotations

import attrs

from quay.auth.principal import Principal


@attrs.frozen
class Caller:
    """`ip` and `user_agent` are the client's, as far as trusted proxies tell the truth."""

    principal: Principal
    ip: str = ""
    user_agent: str = ""
