"""The client of other registries, against one on the loopback that behaves, breaks or cheats as a test says."""

from __future__ import annotations

import ipaddress
from typing import Any

from twisted.internet import ssl
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from quay.egress import Egress, Policy
from quay.oci.reference import Digest, Tag
from quay.registry.client import (
    Credentials,
    RegistryClient,
    RemoteError,
    RemoteFailed,
    RemoteMissing,
    RemoteRefused,
    RemoteWrong,
    base_of,
    calls,
)
from quay.registry.client.challenge import challenges, read_token
from tests import foreign
from tests.foreign import ForeignRegistry, reactor
from tests.unit.egress.test_egress import Names, certificate

LAYER = bytes(range(256)) * 800


@implementer(IConsumer)
class Taker:
    """Takes a body, pausing its producer at every piece."""

    def __init__(self) -> None:
        self.data = b""
        self.producer: Any = None

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert self.producer is None and streaming
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def write(self, data: bytes) -> None:
        self.data += data
        if self.producer is not None:
            self.producer.pauseProducing()
            reactor.callLater(0, lambda: self.producer and self.producer.resumeProducing())


class Given:
    """A body that is there already."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.length = len(data)

    def deliver_to(self, consumer: IConsumer) -> Deferred[int]:
        consumer.write(self.data)
        return succeed(self.length)


class ClientCase(TestCase):
    """A registry with one image, and a client for it."""

    timeout = 30

    def setUp(self) -> None:
        self.patch(calls, "PAUSE_S", 0.001)
        self.registry = self.made()

    def made(self, **options: Any) -> ForeignRegistry:
        registry = ForeignRegistry(**options)
        self.addCleanup(registry.close)
        self.digest = registry.image("team/app", LAYER, tag="1.0")
        self.layer = Digest.of(LAYER)
        return registry

    def client(self, registry: ForeignRegistry | None = None, credentials: Credentials | None = None) -> RegistryClient:
        policy = Policy(networks=(ipaddress.ip_network("127.0.0.1/32"),))
        return RegistryClient(reactor, Egress(reactor, policy), (registry or self.registry).url, credentials)

    async def pulled(self, client: RegistryClient) -> bytes:
        taker = Taker()
        await client.blob("team/app", self.layer, len(LAYER)).deliver_to(taker)
        return taker.data

    async def assert_raises(self, kind: type[RemoteError], asking: Any) -> str:
        raised: list[RemoteError] = []
        try:
            await asking
        except RemoteError as error:
            raised.append(error)
        self.assertIsInstance(raised[0], kind)
        return str(raised[0])


class PullTests(ClientCase):
    """Lists, manifests and blobs of a registry that behaves."""

    async def test_lists_follow_their_pages(self) -> None:
        """The catalog and the tags come whole, however short a page is."""
        self.registry.pages = 2
        for number in range(5):
            self.registry.image(f"team/app{number}", tag="x")
            self.registry.image("team/app", tag=f"t{number}")
        client = self.client()
        self.assertEqual(6, len([name async for name in client.repositories()]))
        self.assertEqual(6, len([tag async for tag in client.tags("team/app")]))

    async def test_a_manifest_and_its_blob(self) -> None:
        """What is pulled is what is there, byte for byte, at the pace of whoever takes it."""
        client = self.client()
        found = await client.manifest("team/app", Tag("1.0"))
        self.assertEqual(self.digest, found.digest)
        self.assertEqual(self.digest, await client.resolve("team/app", Tag("1.0")))
        self.assertEqual(LAYER, await self.pulled(client))
        self.assertEqual(len(LAYER), await client.size("team/app", self.layer))

    async def test_what_is_not_there_is_missing(self) -> None:
        """A tag that is not there is told from a registry that fails."""
        said = await self.assert_raises(RemoteMissing, self.client().manifest("team/app", Tag("2.0")))
        self.assertIn("there is none", said)

    async def test_referrers_by_api_and_by_tag(self) -> None:
        """Where the API is not there, the referrers tag says what refers to a manifest."""
        subject = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": self.digest, "size": 1}
        one = self.registry.image("team/app", b"signature", subject=subject)
        self.assertEqual([one], await self.client().referrers("team/app", self.digest))
        self.registry.referrers = False
        self.assertEqual([], await self.client().referrers("team/app", self.digest))
        self.registry.index("team/app", one, tag=self.digest.replace(":", "-"))
        self.assertEqual([one], await self.client().referrers("team/app", self.digest))


class AuthorizationTests(ClientCase):
    """Who gets in, and what is shown to whom."""

    async def test_a_token_is_fetched_once_for_all(self) -> None:
        """Calls with one scope share a token, which the token server gives for the password."""
        registry = self.made(user="me", password="secret")
        client = self.client(registry, Credentials("me", "secret"))
        await self.pulled(client)
        await self.pulled(client)
        await client.manifest("team/app", Tag("1.0"))
        self.assertEqual(1, registry.asked_for("/token"))

    async def test_basic(self) -> None:
        """A registry that wants the password itself gets it, once it has said so."""
        registry = self.made(user="me", password="secret", basic=True)
        self.assertEqual(LAYER, await self.pulled(self.client(registry, Credentials("me", "secret"))))

    async def test_a_wrong_password_is_refused_in_a_sentence(self) -> None:
        """What the token server says of the credentials, the error says; the password is not in it."""
        registry = self.made(user="me", password="secret")
        said = await self.assert_raises(RemoteRefused, self.client(registry, Credentials("me", "other-secret")).check())
        self.assertIn("bad password", said)
        self.assertNotIn("other-secret", said)

    async def test_credentials_do_not_follow_a_redirect(self) -> None:
        """Whoever a blob is fetched from by a redirect sees neither token nor password."""
        seen: list[object] = []
        elsewhere = self.made()

        def look(request: Any) -> None:
            seen.append(request.getHeader("authorization"))

        registry = self.made(user="me", password="secret")
        place = f"/v2/team/app/blobs/{self.layer}"
        elsewhere.odd[place] = [look]
        client = self.client(registry, Credentials("me", "secret"))
        await client.manifest("team/app", Tag("1.0"))
        registry.odd[place] = [foreign.status(307, location=f"{elsewhere.url}{place}")]
        self.assertEqual(LAYER, await self.pulled(client))
        self.assertEqual([None], seen)

    def test_challenges_as_registries_write_them(self) -> None:
        """Several schemes in one header, commas and quotes in values, and nonsense."""
        found = challenges(
            'Basic realm="a, \\"b\\"", Bearer realm="https://x/t?y=z",service=s,scope="repository:a/b:pull,push"'
        )
        self.assertEqual(["basic", "bearer"], [one.scheme for one in found])
        self.assertEqual('a, "b"', found[0].parameters["realm"])
        self.assertEqual("repository:a/b:pull,push", found[1].parameters["scope"])
        self.assertEqual([], challenges("\x00,,,"))

    def test_a_token_that_would_break_a_header_is_none(self) -> None:
        """What a token server gives is used only if it fits."""
        self.assertIsNone(read_token(b'{"token":"a\\r\\nX: y"}', 0))
        self.assertIsNone(read_token(b"[" * 100_000, 0))
        token = read_token(b'{"access_token":"abc","expires_in":300}', 10)
        self.assertEqual(("abc", 310), (token.value, token.expires) if token else None)


class PrivateTests(ClientCase):
    """A registry with a certificate of a private CA."""

    async def test_a_private_ca(self) -> None:
        """Whoever believes its CA asks it by its name; nobody else does."""
        private = certificate("registry.example")
        registry = self.made(context=private.options())
        trust = ssl.trustRootFromCertificates([private])
        name = f"registry.example:{registry.port}"
        policy = Policy(networks=(ipaddress.ip_network("127.0.0.1/32"),))
        names = Names(registry_example=[["127.0.0.1"]])
        believing = RegistryClient(reactor, Egress(reactor, policy, trust=trust, resolver=names), name)
        self.assertEqual(LAYER, await self.pulled(believing))
        said = await self.assert_raises(
            RemoteFailed, RegistryClient(reactor, Egress(reactor, policy, resolver=names), name).check()
        )
        self.assertIn("certificate", said)


class ListTests(ClientCase):
    """What is not in a catalog."""

    async def test_the_api_of_quay(self) -> None:
        """With a token for its API, a Quay lists what its catalog does not show; and its pages are followed."""
        seen: list[object] = []

        def page(body: bytes) -> Any:
            def answer(request: Any) -> bytes:
                seen.append((request.getHeader("authorization"), request.args[b"next_page"][0]))
                return body

            return answer

        self.registry.odd["/api/v1/repository"] = [
            page(b'{"repositories":[{"namespace":"a","name":"b"},{"namespace":1},7],"next_page":"x y"}'),
            page(b'{"repositories":[{"namespace":"c","name":"d"}]}'),
        ]
        names = [name async for name in self.client().quay_repositories("token")]
        self.assertEqual(["a/b", "c/d"], names)
        self.assertEqual([("Bearer token", b""), ("Bearer token", b"x y")], seen)

    async def test_referrers_are_asked_for_in_vain_once(self) -> None:
        """A registry without the API is not asked for it for every image."""
        registry = self.made(referrers=False)
        client = self.client(registry)
        for _ in range(3):
            self.assertEqual([], await client.referrers("team/app", self.digest))
        self.assertEqual(1, registry.asked_for("/referrers/"))


class TroubleTests(ClientCase):
    """What breaks is tried again, within reason."""

    async def test_what_passes_is_waited_for(self) -> None:
        """A registry that is busy or broken for a moment is asked again."""
        place = "/v2/team/app/manifests/1.0"
        self.registry.odd[place] = [foreign.status(503), foreign.status(429, retry_after="0"), foreign.broken(b"", 9)]
        await self.client().manifest("team/app", Tag("1.0"))
        self.assertEqual(4, self.registry.asked_for(place))

    async def test_what_does_not_pass_is_given_up(self) -> None:
        """A registry that stays broken is asked so often, and no more."""
        place = "/v2/team/app/manifests/1.0"
        self.registry.odd[place] = [foreign.status(500)] * 20
        await self.assert_raises(RemoteFailed, self.client().manifest("team/app", Tag("1.0")))
        self.assertEqual(calls.ATTEMPTS, self.registry.asked_for(place))

    async def test_a_broken_download_goes_on(self) -> None:
        """A blob whose connection breaks is gone on with, from the byte where it broke."""
        place = f"/v2/team/app/blobs/{self.layer}"
        ranges: list[object] = []

        def look(request: Any) -> None:
            ranges.append(request.getHeader("range"))

        self.registry.odd[place] = [foreign.broken(LAYER[:50_000], len(LAYER)), look]
        self.assertEqual(LAYER, await self.pulled(self.client()))
        self.assertEqual(["bytes=50000-"], ranges)

    async def test_a_registry_without_ranges(self) -> None:
        """Where a range is not understood, what is here already is passed over."""
        place = f"/v2/team/app/blobs/{self.layer}"
        self.registry.odd[place] = [foreign.broken(LAYER[:50_000], len(LAYER)), foreign.body(LAYER)]
        self.assertEqual(LAYER, await self.pulled(self.client()))

    async def test_a_blob_that_never_comes_whole(self) -> None:
        """A blob that breaks where it broke before is given up."""
        place = f"/v2/team/app/blobs/{self.layer}"
        self.registry.odd[place] = [foreign.broken(b"", len(LAYER))] * 50
        await self.assert_raises(RemoteFailed, self.pulled(self.client()))


class HostileTests(ClientCase):
    """What another registry cannot do to us."""

    async def test_a_manifest_without_end(self) -> None:
        """A manifest is cut off at the size that one may have."""
        self.registry.odd["/v2/team/app/manifests/1.0"] = [foreign.endless]
        await self.assert_raises(RemoteWrong, self.client().manifest("team/app", Tag("1.0")))

    async def test_a_blob_without_end(self) -> None:
        """A blob is cut off at the size that was promised."""
        self.registry.odd[f"/v2/team/app/blobs/{self.layer}"] = [foreign.endless]
        said = await self.assert_raises(RemoteWrong, self.pulled(self.client()))
        self.assertIn(str(len(LAYER)), said)

    async def test_a_redirect_to_a_metadata_address(self) -> None:
        """Nobody is led to an address that is closed."""
        elsewhere = "http://169.254.169.254/latest/meta-data/"
        self.registry.odd[f"/v2/team/app/blobs/{self.layer}"] = [foreign.status(307, location=elsewhere)]
        await self.assert_raises(RemoteRefused, self.pulled(self.client()))

    async def test_a_token_server_at_a_metadata_address(self) -> None:
        """Nor is a password sent there."""
        challenge = 'Bearer realm="http://169.254.169.254/token",service="x"'
        self.registry.odd["/v2/"] = [foreign.status(401, www_authenticate=challenge)]
        said = await self.assert_raises(RemoteError, self.client(credentials=Credentials("me", "secret")).check())
        self.assertIn("token server", said)

    async def test_pages_that_go_round(self) -> None:
        """A list whose next page is the same one ends."""
        place = "/v2/team/app/tags/list"
        turning = foreign.body(b'{"tags":["a"]}', link=f'<{place}?n=1>; rel="next"')
        self.registry.odd[place] = [turning] * 20
        self.assertEqual(["a", "a"], [tag async for tag in self.client().tags("team/app")])

    async def test_a_page_elsewhere(self) -> None:
        """The next page of a list is asked of nobody else."""
        link = '<http://127.0.0.1:1/next>; rel="next"'
        self.registry.odd["/v2/_catalog"] = [foreign.body(b'{"repositories":["a"]}', link=link)]
        await self.assert_raises(RemoteWrong, self.listed())

    async def listed(self) -> list[str]:
        return [name async for name in self.client().repositories()]


class PushTests(ClientCase):
    """What is given to another registry."""

    async def test_an_image_is_pushed(self) -> None:
        """A blob streams there, unless it is there; a manifest follows, and all of it can be pulled."""
        data = b"pushed" * 100_000
        digest = Digest.of(data)
        client = self.client()

        async def body() -> Given:
            return Given(data)

        self.assertTrue(await client.push_blob("new/one", digest, body))
        self.assertFalse(await client.push_blob("new/one", digest, body))
        self.assertEqual(data, self.registry.kept("new/one").blobs[digest])
        media_type, raw = self.registry.kept("team/app").manifests[self.digest]
        self.assertEqual(self.digest, await client.push_manifest("new/one", Tag("t"), media_type, raw))
        self.assertEqual(self.digest, await client.resolve("new/one", Tag("t")))

    async def test_a_push_that_is_refused(self) -> None:
        """Whoever does not take a blob says so."""
        self.registry.odd["/v2/new/one/blobs/uploads/"] = [foreign.status(403)]

        async def body() -> Given:
            return Given(b"x")

        await self.assert_raises(RemoteRefused, self.client().push_blob("new/one", Digest.of(b"x"), body))


class NameTests(TestCase):
    """How a registry is called."""

    def test_https_unless_said_otherwise(self) -> None:
        """A bare host is asked over https; Docker Hub is where it answers."""
        self.assertEqual("https://registry.example:5000/", base_of("registry.example:5000"))
        self.assertEqual("http://registry.example/", base_of("http://registry.example/some/path"))
        self.assertEqual("https://registry-1.docker.io/", base_of("docker.io"))
