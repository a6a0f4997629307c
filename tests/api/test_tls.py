"""What is wrong with the API's certificate is told by its setting and file."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from api.serve import tls_of
from schemas.settings import Settings, SettingsError
from tests.support.authority import Authority, ServerFiles


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def files(authority: Authority) -> ServerFiles:
    return authority.server("api")


def tls_by(certificate: Path | str, key: Path | str) -> ssl.SSLContext | None:
    return tls_of(Settings(api_tls_certificate=str(certificate), api_tls_key=str(key)))


def refusal(certificate: Path | str, key: Path | str) -> str:
    with pytest.raises(SettingsError) as caught:
        tls_by(certificate, key)
    return str(caught.value)


def test_without_either_it_speaks_plain_http_and_with_both_tls(files: ServerFiles) -> None:
    assert tls_of(Settings()) is None
    context = tls_by(files.certificate, files.key)
    assert context is not None
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_one_alone_is_refused(files: ServerFiles) -> None:
    assert "belong together" in refusal(files.certificate, "")
    assert "belong together" in refusal("", files.key)


def test_a_file_that_is_not_there_is_named_with_its_setting(files: ServerFiles) -> None:
    told = refusal("/none.crt", files.key)
    assert told == (
        "WALLET_API_TLS_CERTIFICATE names /none.crt, which cannot be read: "
        "No such file or directory"
    )
    assert refusal(files.certificate, "/none.key").startswith("WALLET_API_TLS_KEY names /none.key")
    assert "Is a directory" in refusal(files.certificate.parent, files.key)


def test_another_key_and_what_is_no_certificate_are_told_apart_from_a_missing_file(
    authority: Authority, files: ServerFiles
) -> None:
    other = authority.server("another")
    for certificate, key in ((files.certificate, other.key), (files.key, files.key)):
        assert "are no certificate and its key, as PEM" in refusal(certificate, key)


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked(
    files: ServerFiles, tmp_path: Path
) -> None:
    key = load_pem_private_key(files.key.read_bytes(), None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"hush"))
    )
    assert "without a passphrase" in refusal(files.certificate, locked)
