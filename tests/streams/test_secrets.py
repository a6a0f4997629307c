"""The account's key in Secrets Manager: read once, held to the configured account, never shown."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.client
import msgspec
import pytest
from botocore.exceptions import ClientError

from processors.dogecoin.derivation import Keychain, PrivateKeyUnusable, account_keys
from processors.dogecoin.hidden import Hidden
from schemas.settings import Settings, SettingsError
from streams.local.aws import CREDENTIALS, REGION, EmbeddedAws
from streams.local.process import free_port
from streams.secrets import (
    KeyOfAccountMissing,
    SecretDenied,
    SecretFault,
    SecretMissing,
    SecretOfAnotherAccount,
    Secrets,
    SecretsAway,
    SecretUnreadable,
    account_signer,
)

XPRV, XPUB = account_keys(b"one seed of the tests" * 2, "regtest")
OTHER_XPRV, OTHER_XPUB = account_keys(b"another seed of the tests" * 2, "regtest")
MAIN_XPRV, MAIN_XPUB = account_keys(b"one seed of the tests" * 2, "mainnet")


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An emulator for all tests of this file, each with a secret of its own name."""
    home: Path = tmp_path_factory.mktemp("aws")
    emulator = EmbeddedAws(home, port=free_port(), network="regtest")
    emulator.start()
    yield emulator.address
    emulator.stop()


@pytest.fixture
def settings(endpoint: str, request: pytest.FixtureRequest) -> Settings:
    """Settings that name the account, and a secret that is not there yet."""
    return Settings(
        network="regtest",
        account_xpub=XPUB,
        account_secret=f"wallet/{request.node.name}",
        aws_endpoint_url=endpoint,
        aws_region=REGION,
    )


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the emulator, and no others that this machine may have."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", CREDENTIALS[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CREDENTIALS[1])
    monkeypatch.delenv("AWS_PROFILE", raising=False)


def put(settings: Settings, text: str) -> None:
    """Put any text into the secret."""
    client = boto3.client(
        "secretsmanager", region_name=REGION, endpoint_url=settings.aws_endpoint_url
    )
    client.create_secret(Name=settings.account_secret, SecretString=text)


def document(**fields: Any) -> str:
    """The secret's text, with fields changed."""
    whole = {"v": 1, "network": "regtest", "path": "m/44'/1'/0'", "xprv": XPRV, "xpub": XPUB}
    return json.dumps(whole | fields)


def test_what_is_stored_is_read_and_signs(settings: Settings) -> None:
    assert Secrets(settings).store(Hidden(XPRV))
    (key,) = Secrets(settings).read()
    assert key.xprv.reveal() == XPRV
    assert key.xpub == XPUB
    assert key.version
    assert XPRV[4:40] not in repr(key)
    assert account_signer(settings).account_xpubs == (XPUB,)


def of_two(settings: Settings, *stored: tuple[str, str]) -> Settings:
    """Settings of two accounts, whose secrets hold the keys that are given by their suffix."""
    for suffix, xprv in stored:
        name = f"{settings.account_secret}{suffix}"
        Secrets(msgspec.structs.replace(settings, account_secret=name)).store(Hidden(xprv))
    return msgspec.structs.replace(
        settings,
        account_xpub=f"{XPUB},{OTHER_XPUB}",
        account_secret=", ".join(f"{settings.account_secret}{suffix}" for suffix, _ in stored),
    )


def test_two_accounts_have_a_secret_each_in_any_order(settings: Settings) -> None:
    whole = of_two(settings, ("-b", OTHER_XPRV), ("-a", XPRV))
    assert [key.xpub for key in Secrets(whole).read()] == [XPUB, OTHER_XPUB]
    assert account_signer(whole).account_xpubs == (XPUB, OTHER_XPUB)


def test_an_account_without_its_secret_is_told(settings: Settings) -> None:
    lacking = of_two(settings, ("-a", XPRV))
    with pytest.raises(KeyOfAccountMissing, match=Keychain(OTHER_XPUB, "regtest").fingerprint):
        Secrets(lacking).read()


def test_a_secret_of_no_account_is_told(settings: Settings) -> None:
    both = of_two(settings, ("-a", XPRV), ("-b", OTHER_XPRV))
    with pytest.raises(SecretOfAnotherAccount, match="-b is the key of account"):
        Secrets(msgspec.structs.replace(both, account_xpub=XPUB)).read()


def test_a_key_that_is_there_already_is_left_as_it_is(settings: Settings) -> None:
    secret = Secrets(settings)
    assert secret.store(Hidden(XPRV))
    (before,) = (key.version for key in secret.read())
    assert not secret.store(Hidden(XPRV))
    assert [key.version for key in secret.read()] == [before]


def test_another_accounts_key_is_replaced_only_if_asked_to(settings: Settings) -> None:
    secret = Secrets(settings)
    assert secret.store(Hidden(OTHER_XPRV))
    with pytest.raises(SecretOfAnotherAccount, match="names the wrong one"):
        secret.store(Hidden(XPRV))
    with pytest.raises(SecretOfAnotherAccount):
        secret.read()
    assert secret.store(Hidden(XPRV), replace=True)
    assert secret.read()[0].xprv.reveal() == XPRV


def test_a_secret_that_cannot_be_read_is_replaced_only_if_asked_to(settings: Settings) -> None:
    put(settings, "nothing of ours")
    secret = Secrets(settings)
    with pytest.raises(SecretUnreadable):
        secret.store(Hidden(XPRV))
    assert secret.store(Hidden(XPRV), replace=True)
    assert secret.read()[0].xprv.reveal() == XPRV


def test_what_is_no_private_key_is_not_stored(settings: Settings) -> None:
    for text in (XPUB, "", MAIN_XPRV):
        with pytest.raises(PrivateKeyUnusable):
            Secrets(settings).store(Hidden(text))
    with pytest.raises(SecretMissing, match="`wallet keys store` puts it there"):
        Secrets(settings).read()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "it is not"),
        ("{", "it is not"),
        (XPRV, "it is not"),
        (json.dumps({"v": 1, "xprv": XPRV}), "it is not"),
        (document(v=2), "version 2, and this release reads 1"),
        (document(network="mainnet"), "WALLET_NETWORK is regtest"),
        (document(path="m/44'/3'/0'"), "and not m/44'/1'/0'"),
        (document(xprv=XPUB), "it is a public key"),
        (document(xprv=MAIN_XPRV), "a dgpv key is not for regtest"),
        (document(xprv=XPRV[:-1]), "it is not Base58Check"),
        (document(xpub=XPRV), "its xpub is no public key"),
        (document(xpub=OTHER_XPUB), "of two accounts"),
    ],
    ids=[
        "empty",
        "no_json",
        "bare_key",
        "fields_missing",
        "version",
        "network",
        "path",
        "public",
        "main_key",
        "cut",
        "private_as_public",
        "two_accounts",
    ],
)
def test_a_secret_that_is_not_what_it_should_be_is_told_without_showing_it(
    settings: Settings, text: str, told: str
) -> None:
    put(settings, text or " ")
    with pytest.raises(SecretUnreadable, match=told) as raised:
        Secrets(settings).read()
    assert "\n" not in str(raised.value)
    assert_nothing_shown(raised.value)


def assert_nothing_shown(error: BaseException) -> None:
    """No frame but the test's own has a private key among its variables."""
    frames = error.__traceback__
    assert frames is not None
    told = traceback.TracebackException.from_exception(
        error.with_traceback(frames.tb_next), capture_locals=True
    )
    shown = "".join(told.format(chain=True))
    assert "self = <streams.secrets.Secrets" in shown
    assert not [key for key in (XPRV, MAIN_XPRV, OTHER_XPRV) if key[4:40] in shown]


def answered(code: str, message: str = "told by AWS") -> Callable[..., Any]:
    """A client whose every call is answered with an error."""

    def call(self: object, operation: str, parameters: dict[str, Any]) -> None:
        raise ClientError({"Error": {"Code": code, "Message": message}}, operation)

    return call


@pytest.mark.parametrize(
    ("code", "kind", "told"),
    [
        ("ResourceNotFoundException", SecretMissing, "there is no secret"),
        ("AccessDeniedException", SecretDenied, "secretsmanager:GetSecretValue"),
        ("UnrecognizedClientException", SecretDenied, "not ours to read"),
        ("ExpiredTokenException", SecretDenied, "ExpiredTokenException"),
        ("DecryptionFailure", SecretDenied, "KMS will not decrypt it"),
        ("InvalidRequestException", SecretsAway, "was answered InvalidRequestException"),
        ("InternalServiceError", SecretsAway, "told by AWS"),
    ],
)
def test_each_answer_of_aws_is_told_in_one_line(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    kind: type[SecretFault],
    told: str,
) -> None:
    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", answered(code))
    with pytest.raises(kind, match=told) as raised:
        account_signer(settings)
    assert "\n" not in str(raised.value)
    assert raised.value.__context__ is None


def test_a_refused_write_shows_no_key(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        botocore.client.BaseClient,
        "_make_api_call",
        answered("ResourceNotFoundException"),
    )
    with pytest.raises(SecretMissing) as raised:
        Secrets(settings).store(Hidden(XPRV))
    assert_nothing_shown(raised.value)


def test_an_endpoint_that_does_not_answer_is_told(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = Settings(
        network="regtest",
        account_xpub=XPUB,
        account_secret="wallet/any",
        aws_endpoint_url=f"http://127.0.0.1:{free_port()}",
        aws_region=REGION,
    )
    monkeypatch.setattr("streams.secrets._TRIES", 1)
    with pytest.raises(SecretsAway, match="Could not connect to the endpoint"):
        Secrets(nowhere).read()


def test_without_credentials_or_region_it_says_so(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    with pytest.raises(SecretsAway, match="there are no credentials"):
        Secrets(settings).read()
    bare = Settings(network="regtest", account_xpub=XPUB, account_secret="wallet/any")
    with pytest.raises(SecretsAway, match="set WALLET_AWS_REGION"):
        Secrets(bare).read()


def test_a_secret_must_be_named(settings: Settings) -> None:
    with pytest.raises(SettingsError, match="WALLET_ACCOUNT_SECRET is not set"):
        Secrets(Settings(account_xpub=XPUB))
    with pytest.raises(SettingsError, match="WALLET_ACCOUNT_XPUB is not set"):
        Secrets(Settings(account_secret="any")).read()


def test_no_log_shows_the_key_however_talkative(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    Secrets(settings).store(Hidden(XPRV))
    Secrets(settings).read()
    assert XPRV[4:40] not in caplog.text
