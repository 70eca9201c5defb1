"""The certificate that the ports show is taken up anew when it changes, and never lost to one that is no good."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from quay.service.tls import Certificates, Renewal, TlsMetrics, TlsUnusable
from quay.setup import CertificateFiles
from quay.threads import ImmediatePool
from quay.worker import Budget

NOW = datetime(2026, 11, 26, tzinfo=UTC)
DAY = 86400


@pytest.fixture
def files(tmp_path: Path) -> CertificateFiles:
    found = CertificateFiles(tmp_path)
    found.make(("registry.example.org",), NOW)
    return found


@pytest.fixture
def certificates(files: CertificateFiles) -> Certificates:
    found = Certificates(files.server, files.server)
    assert found.load()
    return found


def test_loaded_once(files: CertificateFiles, certificates: Certificates) -> None:
    """As long as the file is the same, every connection begins with the same context."""
    context = certificates.getContext()
    assert not certificates.load()
    assert certificates.getContext() is context
    files.make(("registry.example.org",), NOW)
    assert certificates.load()
    assert certificates.getContext() is not context


@pytest.mark.parametrize("content", [b"", b"rubbish", b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"])
def test_no_good(files: CertificateFiles, certificates: Certificates, content: bytes) -> None:
    """A file that is no good is refused in a sentence, and what was loaded stays."""
    context, expires = certificates.getContext(), certificates.expires
    files.server.write_bytes(content)
    with pytest.raises(TlsUnusable, match="TLS cannot be spoken with TLS_CERTIFICATE"):
        certificates.load()
    assert (certificates.getContext(), certificates.expires) == (context, expires)


def test_two_that_do_not_belong_together(tmp_path: Path, files: CertificateFiles) -> None:
    """A key of another certificate is noticed at the start, and not by the first client."""
    other = CertificateFiles(tmp_path / "other")
    other.make(("registry.example.org",), NOW)
    with pytest.raises(TlsUnusable):
        Certificates(files.server, other.server).load()


def test_renewed(files: CertificateFiles, certificates: Certificates) -> None:
    """The worker does nothing for eleven months; then it renews the certificate, and new connections see that."""
    clock = Clock()
    renewal = Renewal(certificates, files, ImmediatePool(), clock.seconds)
    ends = certificates.expires
    assert ends == NOW.timestamp() + 365 * DAY
    for days, expected in ((0, ends), (330, ends), (340, NOW.timestamp() + (340 + 365) * DAY)):
        clock.rightNow = NOW.timestamp() + days * DAY
        Deferred.fromCoroutine(renewal.run(Budget(clock, 10)))
        assert certificates.expires == expected


def test_a_damaged_file_does_not_stop_the_worker(files: CertificateFiles, certificates: Certificates) -> None:
    """What cannot be read is logged, and tried again the next time."""
    good = files.server.read_bytes()
    files.server.write_bytes(b"rubbish")
    clock = Clock()
    clock.rightNow = NOW.timestamp()
    renewal = Renewal(certificates, files, ImmediatePool(), clock.seconds)
    done: list[object] = []
    Deferred.fromCoroutine(renewal.run(Budget(clock, 10))).addBoth(done.append)
    files.server.write_bytes(good)
    Deferred.fromCoroutine(renewal.run(Budget(clock, 10))).addBoth(done.append)
    assert done == [None, None]


def test_metrics(certificates: Certificates) -> None:
    """When the certificate ends can be watched from outside."""
    (metric,) = TlsMetrics(certificates).collect()
    (sample,) = metric.samples
    assert (sample.name, sample.value) == ("quay_tls_certificate_expiry_timestamp_seconds", certificates.expires)
