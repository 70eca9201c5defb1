"""An installation that begins by itself: its configuration, its certificate, and who may look at them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from stat import S_IMODE

from cryptography import x509

from quay.config import Endpoint, settle
from quay.config.surroundings import Surroundings
from quay.setup.beginning import Beginning, begin, is_new

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_it_begins_with_tls(tmp_path: Path) -> None:
    """What was written is a configuration that speaks TLS there, with a certificate for the name."""
    data = tmp_path / "above" / "data"
    assert is_new(data)
    begin(data, Beginning(listen=(Endpoint("127.0.0.1", 8443),)), NOW)
    assert not is_new(data)
    config = settle(Surroundings.of(None, {"QUAY_DATA": str(data)}))
    assert (config.scheme, list(map(str, config.listen))) == ("https", ["127.0.0.1:8443"])
    assert config.tls_certificate is not None
    certificate = x509.load_pem_x509_certificate(config.tls_certificate.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "localhost" in names.get_values_for_type(x509.DNSName)


def test_nobody_else_may_enter(tmp_path: Path) -> None:
    """The data directory is its owner's alone, whatever the umask leaves to others."""
    data = tmp_path / "above" / "data"
    begin(data, Beginning(listen=(Endpoint("127.0.0.1", 8443),)), NOW)
    assert S_IMODE(data.stat().st_mode) == 0o700
