"""A browser: keeps the cookie of its session, and sends the CSRF token along with what changes something."""

import json

from quay.testdata.people import PASSWORD


class Browser:
    """Calls `/api/v1` as a page of the console does."""

    def __init__(self, application):
        self.application = application
        self.cookie = None
        self.csrf = None

    def sign_in(self, username, password=PASSWORD, **more):
        """The answer to a sign-in."""
        return self.post("/signin", {"username": username, "password": password, **more})

    def call(self, method, path, body=None, **headers):
        fields = {"Cookie": f"session={self.cookie}"} if self.cookie else {}
        if self.csrf:
            fields["X-CSRF-Token"] = self.csrf
        raw = b""
        if body is not None:
            fields["Content-Type"] = "application/json"
            raw = json.dumps(body).encode()
        answer = self.application.request(method, f"/api/v1{path}", fields | headers, raw)
        self._keep(answer)
        return answer

    def _keep(self, answer):
        self.csrf = answer.headers.get("x-next-csrf-token", self.csrf)
        if "set-cookie" in answer.headers:
            self.cookie = answer.headers["set-cookie"].partition(";")[0].removeprefix("session=")

    def get(self, path, **headers):
        return self.call("GET", path, **headers)

    def post(self, path, body=None, **headers):
        return self.call("POST", path, {} if body is None else body, **headers)

    def put(self, path, body=None, **headers):
        return self.call("PUT", path, {} if body is None else body, **headers)

    def delete(self, path, **headers):
        return self.call("DELETE", path, **headers)
