"""A client of the API over an in-memory server: JSON in, JSON out, as one principal."""

import json
from base64 import urlsafe_b64decode

from quay.testdata.people import PASSWORD


class Client:
    """Calls `/api/v1` with these credentials (a bearer token, user name and password, or None)."""

    def __init__(self, application, auth=None, **headers):
        self.application = application
        self.auth = (auth, PASSWORD) if isinstance(auth, str) and "+" not in auth and len(auth) < 20 else auth
        self.headers = headers

    def call(self, method, path, body=None, **headers):
        fields = self.headers | headers
        raw = b""
        if body is not None:
            fields = {"Content-Type": "application/json"} | fields
            raw = json.dumps(body).encode()
        return self.application.request(method, f"/api/v1{path}", fields, raw, auth=self.auth)

    def get(self, path, **headers):
        return self.call("GET", path, **headers)

    def post(self, path, body=None, **headers):
        return self.call("POST", path, body, **headers)

    def put(self, path, body=None, **headers):
        return self.call("PUT", path, body, **headers)

    def delete(self, path, **headers):
        return self.call("DELETE", path, **headers)


def audited(application, kind):
    """The entries of this kind in the audit log, the oldest first, as (performer, details)."""
    from quay.database.schema import audit

    rows = application.read(lambda txn: txn.execute(audit.select().order_by(audit.c.id)).all())
    return [(row.performer, row.details) for row in rows if row.kind == kind]


def rights(application, auth, scope):
    """The actions that a new registry token for `scope` has, for whoever shows `auth`."""
    payload = application.token(auth, scope).split(".")[1]
    claims = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return [action for access in claims["access"] for action in access["actions"]]
