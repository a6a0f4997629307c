"""The embedded AWS emulator: empty after each start but for the local account's key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.settings import Settings
from streams.local import keys
from streams.local.aws import CREDENTIALS, EmbeddedAws
from streams.local.embedded import stop_leftover
from streams.local.errors import PortTaken
from streams.local.process import free_port, port_is_free, recorded
from streams.secrets import SecretMissing, Secrets
from tests.support.eventually import eventually


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[EmbeddedAws]:
    made = EmbeddedAws(tmp_path, port=free_port(), network="regtest")
    yield made
    made.stop()


def secrets_of(emulator: EmbeddedAws, *, xpub: str = "", name: str = "") -> Secrets:
    """The secret as a process would see it that was started with the emulator's environment."""
    given = emulator.environment() | {"WALLET_ACCOUNT_XPUB": xpub}
    if name:
        given["WALLET_ACCOUNT_SECRET"] = name
    wallet = {key: value for key, value in given.items() if key.startswith("WALLET_")}
    return Secrets(Settings.from_environ(wallet), credentials=CREDENTIALS)


def test_it_holds_the_local_accounts_key_again_after_each_start(
    emulator: EmbeddedAws, tmp_path: Path
) -> None:
    account = keys.account(tmp_path, "regtest")
    for _ in range(2):
        emulator.start()
        assert emulator.alive()
        (key,) = secrets_of(emulator, xpub=account.account_xpub).read()
        assert key.xprv.reveal() == account.account_xprv
    emulator.stop()
    assert not emulator.alive()
    eventually(lambda: port_is_free(emulator.port), "its port is free")
    log = (tmp_path / "logs" / "aws.log").read_text()
    assert account.account_xprv[4:40] not in log


def test_it_holds_a_secret_for_each_account_of_the_home(
    emulator: EmbeddedAws, tmp_path: Path
) -> None:
    first, second = keys.have_accounts(tmp_path, "regtest", 2)
    assert keys.accounts(tmp_path, "regtest") == [first, second]
    assert keys.have_accounts(tmp_path, "regtest", 2) == [first, second]
    emulator.start()
    xpubs = [account.account_xpub for account in (first, second)]
    found = secrets_of(emulator, xpub=",".join(xpubs)).read()
    assert [key.xpub for key in found] == xpubs
    assert emulator.secrets == "wallet/regtest/account,wallet/regtest/account-2"


def test_without_a_local_key_it_is_empty(emulator: EmbeddedAws, tmp_path: Path) -> None:
    emulator.start()
    assert not (tmp_path / "keys").exists()
    with pytest.raises(SecretMissing):
        secrets_of(emulator, xpub=keys.Account.make("regtest").account_xpub).read()


def test_one_that_a_killed_supervisor_left_is_stopped(
    emulator: EmbeddedAws, tmp_path: Path
) -> None:
    emulator.start()
    pid_file = tmp_path / "run" / "aws.pid"
    assert recorded(pid_file) is not None
    next_one = EmbeddedAws(tmp_path, port=emulator.port, network="regtest")
    next_one.start()
    assert next_one.alive()
    assert not emulator.alive()
    next_one.stop()
    assert not stop_leftover(pid_file)


def test_a_taken_port_is_told(emulator: EmbeddedAws, tmp_path: Path) -> None:
    emulator.start()
    with pytest.raises(PortTaken, match="the AWS emulator needs"):
        EmbeddedAws(tmp_path / "other", port=emulator.port, network="regtest").start()
