"""The certificates of an installation: made, taken, asked for and renewed, in files that nobody else can read."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from quay import authority
from quay.authority import Unfit
from quay.setup import CertificateFiles

NOW = datetime(2026, 11, 26, tzinfo=UTC)
NAMES = ("registry.example.org", "10.0.0.5")


@pytest.fixture
def files(tmp_path: Path) -> CertificateFiles:
    return CertificateFiles(tmp_path)


def test_nothing_yet(files: CertificateFiles) -> None:
    """Before anything was made there is no authority, no certificate and no request."""
    assert (files.authority(), files.current(), files.request(), files.renew(NOW)) == (None, None, None, False)


def test_made(files: CertificateFiles) -> None:
    """An authority is founded once; what it issues anew is by the same one, so that nobody has to trust it again."""
    first, second = files.make(NAMES, NOW), files.make((*NAMES, "more.example.org"), NOW)
    own = files.authority()
    assert own is not None
    assert first.chain[1] == second.chain[1] == own
    current = files.current()
    assert current is not None
    assert authority.names_of(current.certificate) == ("registry.example.org", "more.example.org", "10.0.0.5")


def test_for_its_owner_only(files: CertificateFiles) -> None:
    """Nobody else may read the files, or even see which there are."""
    files.make(NAMES, NOW)
    files.ask(NAMES)
    directory = files.server.parent
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    modes = {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}
    assert modes == {0o600}


def test_taken(files: CertificateFiles) -> None:
    """A certificate that is given, with its key, is what the server shows."""
    company = authority.found("Company", NOW)
    given = authority.issue(company, NAMES, NOW)
    files.take(given.pem, given.pem, NAMES[0], NOW)
    current = files.current()
    assert current is not None
    assert current.chain == given.chain
    assert files.authority() is None


@pytest.mark.parametrize("name", ["other.example.org", "10.0.0.6"])
def test_refused(files: CertificateFiles, name: str) -> None:
    """One that will not do changes nothing."""
    files.make(NAMES, NOW)
    before = files.server.read_bytes()
    given = authority.issue(authority.found("Company", NOW), NAMES, NOW)
    with pytest.raises(Unfit, match="not for"):
        files.take(given.pem, given.pem, name, NOW)
    assert files.server.read_bytes() == before


def test_asked_for(files: CertificateFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key of a request stays here; the certificate that comes for it needs no other, and ends the request."""
    files.ask(NAMES)
    company = authority.found("Company", NOW)
    key = (files.server.parent / "request.key").read_bytes()
    given = signed(company, key)
    files.take(given, None, NAMES[0], NOW)
    current = files.current()
    assert current is not None
    assert authority.is_issued_by(current.certificate, company.certificate)
    assert files.request() is None
    assert not (files.server.parent / "request.key").exists()


def signed(company: authority.Pair, key: bytes) -> bytes:
    """A certificate for this key, as a company's authority would make it from the request."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    public = serialization.load_pem_private_key(key, None).public_key()
    names = x509.SubjectAlternativeName([x509.DNSName(NAMES[0])])
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(company.certificate.subject)
        .public_key(public)  # type: ignore[arg-type]  # the key of a request is of a kind that can be certified
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=90))
        .add_extension(names, critical=False)
    )
    made = builder.sign(company.key, hashes.SHA256())
    return authority.pem_of(made) + authority.pem_of(company.certificate)


def test_a_certificate_for_no_request(files: CertificateFiles) -> None:
    """Without its key, and without a request here, a certificate is of no use."""
    given = authority.issue(authority.found("Company", NOW), NAMES, NOW)
    with pytest.raises(Unfit, match="give its key, too"):
        files.take(given.pem, None, NAMES[0], NOW)


def test_renewed(files: CertificateFiles) -> None:
    """A month before its end the certificate is made anew, for the same names, by the same authority; not earlier."""
    made = files.make(NAMES, NOW)
    assert not files.renew(NOW + timedelta(days=300))
    late = NOW + timedelta(days=340)
    assert files.renew(late)
    current = files.current()
    assert current is not None
    assert authority.names_of(current.certificate) == NAMES
    assert current.chain[1] == made.chain[1]
    authority.check(current, NAMES[0], late + timedelta(days=300))
    assert not files.renew(late)


def test_what_others_issued_is_left_alone(files: CertificateFiles) -> None:
    """A company's certificate is not replaced, although there is an authority of one's own beside it."""
    files.make(NAMES, NOW)
    given = authority.issue(authority.found("Company", NOW), NAMES, NOW)
    files.take(given.pem, given.pem, NAMES[0], NOW)
    assert not files.renew(NOW + timedelta(days=360))


def test_an_old_authority(files: CertificateFiles) -> None:
    """An authority that ends soon is followed by a new one at the next certificate; after its end it signs nothing."""
    first = files.make(NAMES, NOW)
    assert not files.renew(NOW + timedelta(days=4000))
    second = files.make(NAMES, NOW + timedelta(days=3640))
    assert second.chain[1] != first.chain[1]


# --- another authority


def test_two_are_trusted_before_one_takes_over(files: CertificateFiles) -> None:
    """Clients get to know the next authority while the present one issues; then it takes over, and both stay known."""
    first = files.make(NAMES, NOW)
    own = first.chain[1]
    following = files.found_next(NAMES[0], NOW)
    assert files.found_next(NAMES[0], NOW) == following != own
    assert files.authorities(NOW) == (own, following)
    assert files.make(NAMES, NOW).chain[1] == files.authority() == own
    issued = files.take_over(NOW)
    assert issued.chain[1] == files.authority() == following
    assert authority.names_of(issued.certificate) == authority.names_of(first.certificate)
    assert files.authorities(NOW) == (following, own)
    assert files.authorities(own.not_valid_after_utc) == ()
    with pytest.raises(Unfit, match="No authority waits"):
        files.take_over(NOW)


def test_a_lost_authority(files: CertificateFiles) -> None:
    """Where the key is lost, clients go on to trust what the server shows, until the next authority takes over."""
    own = files.make(NAMES, NOW).chain[1]
    (files.server.parent / "authority.pem").unlink()
    assert files.authorities(NOW) == (own,)
    following = files.found_next(NAMES[0], NOW)
    assert files.authorities(NOW) == (following, own)
    assert files.take_over(NOW).chain[1] == following
    assert files.authorities(NOW) == (following, own)


def test_a_given_certificate_is_nobody_s_to_take_over(files: CertificateFiles) -> None:
    """A certificate of a company's authority stays what it is."""
    company = authority.found("Company", NOW)
    given = authority.issue(company, NAMES, NOW)
    files.make(NAMES, NOW)
    files.take(authority.pem_of(given.certificate), given.pem, NAMES[0], NOW)
    files.found_next(NAMES[0], NOW)
    with pytest.raises(Unfit, match="not of its own authority"):
        files.take_over(NOW)
    current = files.current()
    assert current is not None and current.certificate == given.certificate


def test_a_power_cut_while_it_takes_over(files: CertificateFiles) -> None:
    """Whatever step it ends at, it can be done again, and no authority that a client may trust is forgotten."""
    own = files.make(NAMES, NOW).chain[1]
    following = files.found_next(NAMES[0], NOW)
    kept = (files.server.parent / "authority-next.pem").read_bytes()
    files.take_over(NOW)
    (files.server.parent / "authority-next.pem").write_bytes(kept)  # it was not removed any more
    assert files.authorities(NOW) == (following, own)
    assert files.take_over(NOW).chain[1] == following
    assert files.authorities(NOW) == (following, own)
