"""
The whole web tree over SQLite, blobs in memory and threads that are none: everything happens at once, under a Clock.

`Application` is the server as `quay.service` puts it together, and a synchronous client for it that speaks HTTP through
a StringTransport.
"""

import base64
import json
import shutil

import attrs
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from quay import config, testdata
from quay.oci.reference import Digest
from quay.registry.blobs import Stores
from quay.service.appliance import front_of
from quay.service.core import Core
from quay.service.metrics import CoreMetrics, Metrics
from quay.storage.memory import MemoryBlobs
from quay.testdata import people
from quay.testdata.images import Content
from quay.threads import ImmediatePool, Threads
from quay.web.factory import RegistrySite
from quay.web.site import TRANSLATIONS

HOST = "registry.test:5000"
NOW = 1_790_000_000
CHUNK = 64 * 1024
"""What one `recv` brings."""


def done(awaitable):
    """The result of something that needs no waiting; what it raises is raised."""

    async def wait():
        return await awaitable

    outcome = []
    Deferred.fromCoroutine(wait()).addBoth(outcome.append)
    assert outcome, "this would have to wait"
    if isinstance(outcome[0], Failure):
        outcome[0].raiseException()
    return outcome[0]


def basic(username, password):
    """The header of these credentials."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


class ImmediateThreads(Threads):
    """Threads that call at once."""

    def __init__(self):
        MultiService.__init__(self)
        self.blobs = self.cpu = self.directory = self.db_read = self.db_write = ImmediatePool()


@attrs.frozen
class Answer:
    """What came back; `headers` by name in lower case."""

    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        """The code of the error that this is."""
        return self.json["errors"][0]["code"]


class Connection:
    """One connection of a client."""

    def __init__(self, site):
        self.transport = StringTransport()
        self.channel = site.buildProtocol(None)
        self.channel.makeConnection(self.transport)

    def send(self, data):
        for start in range(0, len(data), CHUNK):
            self.channel.dataReceived(data[start : start + CHUNK])

    def request(self, method, path, headers=(), body=b""):
        """Send a request; a `body` that is a list goes in chunks."""
        fields = {"Host": HOST} | dict(headers)
        if isinstance(body, list):
            fields["Transfer-Encoding"] = "chunked"
            body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in [*body, b""])
        elif body or method in ("POST", "PUT", "PATCH"):
            fields = {"Content-Length": str(len(body))} | fields
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def answer(self, method="GET"):
        """The next answer of this connection."""
        raw = self.transport.value()
        head, ended, rest = raw.partition(b"\r\n\r\n")
        assert ended, f"no answer yet: {raw[:200]!r}"
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        code = int(status.split()[1])
        bodiless = method == "HEAD" or code in (204, 304)
        length = 0 if bodiless else int(headers["content-length"])
        assert len(rest) >= length, "the answer is not complete"
        self.transport.clear()
        self.transport.write(rest[length:])
        return Answer(code, headers, rest[:length])

    def lose(self):
        """The client is gone."""
        self.channel.connectionLost(Failure(ConnectionLost()))


class Application:
    """A server with its client. `settings` are keys of the configuration; a `template` is a migrated SQLite file."""

    def __init__(self, directory, template=None, **settings):
        if template is not None:
            shutil.copy(template, directory / "quay.db")
        self.directory = directory
        written = {"SERVER_HOSTNAME": HOST} | settings
        self.config = config.parse(json.dumps(written), {}, directory, data=str(directory))
        self.clock = Clock()
        self.clock.rightNow = NOW
        self.blobs = MemoryBlobs("default", now=self.clock.seconds)
        self.core = Core(self.clock, self.config, ImmediateThreads(), Stores({"default": self.blobs}, "default"))
        self.events = []
        self.core.bus.subscribe(object, self.events.append)
        self._repositories = 0

    def copied(self, directory, **settings):
        """Another one, with what this one had when it stopped: rows, bytes, keys and secrets."""
        shutil.copytree(self.directory, directory, dirs_exist_ok=True)
        other = Application(directory, **settings)
        other.blobs.blobs.update(self.blobs.blobs)
        return other

    # --- the server

    def start(self):
        done(self.core.start())
        metrics = Metrics(self.clock)
        metrics.show(CoreMetrics(self.core))
        front = front_of(self.clock, self.core, metrics)
        self.site = RegistrySite(
            front, reactor=self.clock, observer=metrics.requests.observe, translations=TRANSLATIONS
        )
        self.site.express = front.express
        return self

    def stop(self):
        done(self.core.stop())

    def fill(self):
        """Bring the test data in."""
        done(testdata.fill(self.core, lambda line: None))
        return self

    def populate(self):
        """Bring in the people and the repositories of the test data, without a content."""
        hashed = done(self.core.passwords.hash(testdata.PASSWORD))
        self.write(people.populate, hashed, self.core.policy.time_machine_s)
        return self

    def write(self, work, *args, **kwargs):
        """One transaction."""
        return done(self.core.database.write(work, *args, **kwargs))

    def read(self, work, *args, **kwargs):
        return done(self.core.database.read(work, *args, **kwargs))

    # --- the client

    def connect(self):
        return Connection(self.site)

    def request(self, method, path, headers=(), body=b"", auth=None):
        """The answer to one request. `auth` is a bearer token, or user name and password."""
        fields = dict(headers)
        if auth is not None:
            fields["Authorization"] = f"Bearer {auth}" if isinstance(auth, str) else basic(*auth)
        connection = self.connect()
        connection.request(method, path, fields, body)
        answer = connection.answer(method)
        connection.lose()
        return answer

    def ask_token(self, auth, *scopes, service=HOST, headers=()):
        """The answer of the token service."""
        query = "&".join([f"service={service}", *(f"scope={scope}" for scope in scopes)])
        return self.request("GET", f"/v2/auth?{query}", headers, auth=auth)

    def token(self, auth, *scopes):
        answer = self.ask_token(auth, *scopes)
        assert answer.status == 200, answer
        return answer.json["token"]

    def repository(self, auth=("devtable", testdata.PASSWORD)):
        """A client of a new repository of devtable's."""
        self._repositories += 1
        return Repository(self, f"devtable/repository-{self._repositories}", auth)


class Repository:
    """A client that pushes to one repository, and pulls from it."""

    def __init__(self, application, name, auth):
        self.application, self.name, self.auth = application, name, auth
        self.token = application.token(auth, f"repository:{name}:pull,push")

    def request(self, method, rest, headers=(), body=b""):
        return self.application.request(method, f"/v2/{self.name}/{rest}", headers, body, auth=self.token)

    def get(self, rest, **headers):
        return self.request("GET", rest, _spelled(headers))

    def head(self, rest, **headers):
        return self.request("HEAD", rest, _spelled(headers))

    def at(self, location, method, headers=(), body=b""):
        """A request to where a `Location` points."""
        path = location.removeprefix(f"http://{HOST}")
        return self.application.request(method, path, headers, body, auth=self.token)

    def begin(self):
        """The location of a new upload."""
        answer = self.request("POST", "blobs/uploads/")
        assert answer.status == 202, answer
        return answer.headers["location"]

    def upload(self, data):
        digest = Digest.of(data)
        answer = self.request("POST", f"blobs/uploads/?digest={digest}", body=data)
        assert answer.status == 201, answer
        return digest

    def put(self, reference, raw, media_type):
        return self.request("PUT", f"manifests/{reference}", {"Content-Type": media_type}, raw)

    def push(self, content: Content, tag=None):
        """Push all of it; gives the answer to the last request."""
        for blob in content.blobs:
            self.upload(blob)
        for child in content.children:
            self.push(child)
        answer = self.put(tag or content.digest, content.raw, content.media_type)
        assert answer.status == 201, answer
        return answer

    def pull(self, reference, times=1):
        """Get the manifest so many times, and let that be counted."""
        for _ in range(times):
            answer = self.get(f"manifests/{reference}", Accept="*/*")
            assert answer.status == 200, answer
        self.application.clock.advance(self.application.core.pulls.period)


def _spelled(headers):
    return {name.replace("_", "-"): value for name, value in headers.items()}
