"""What the local stack makes up: made once, private, and never silently made again."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import msgspec
import pytest

from db.roles import ROLES
from processors.dogecoin.derivation import Keychain
from streams.local import keys
from streams.local.errors import StackError


def test_passwords_are_made_once_and_private(tmp_path: Path) -> None:
    first = keys.passwords(tmp_path)
    assert keys.passwords(tmp_path) == first
    assert stat.S_IMODE((tmp_path / "passwords.json").stat().st_mode) == 0o600
    assert len(set(first.of_roles().values())) == len(ROLES)


def test_lost_passwords_are_not_made_again_beside_a_database(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    with pytest.raises(StackError, match="restore it from a copy"):
        keys.passwords(tmp_path)


def test_an_unreadable_file_is_told_by_name(tmp_path: Path) -> None:
    (tmp_path / "passwords.json").write_text("{")
    with pytest.raises(StackError, match=r"passwords\.json cannot be read"):
        keys.passwords(tmp_path)


def test_the_account_key_derives_addresses_and_is_private(tmp_path: Path) -> None:
    account = keys.account(tmp_path, "regtest")
    assert keys.account(tmp_path, "regtest") == account
    assert Keychain(account.account_xpub, "regtest").address(0, 0)
    assert stat.S_IMODE((tmp_path / "keys" / "regtest.json").stat().st_mode) == 0o600


def test_no_key_for_real_coins_is_made_up(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="WALLET_ACCOUNT_XPUB"):
        keys.account(tmp_path, "mainnet")


def test_ports_stay_unless_others_are_asked_for(tmp_path: Path) -> None:
    first = keys.ports(tmp_path)
    assert keys.ports(tmp_path) == first
    assert keys.ports(tmp_path, keys.Ports(database=0, broker=4242)).broker == 4242
    assert keys.ports(tmp_path) == msgspec.structs.replace(first, broker=4242)


def test_a_home_of_an_older_release_is_given_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "ports.json").write_text('{"database": 4000, "broker": 4001}')
    older = dict.fromkeys(("superuser", "wallet_owner", "wallet_worker", "wallet_api"), "old")
    (tmp_path / "passwords.json").write_text(json.dumps({**older, "jwt_secret": "old"}))
    ports, passwords = keys.ports(tmp_path), keys.passwords(tmp_path)
    assert (ports.database, ports.broker) == (4000, 4001)
    assert ports.node > 0
    assert passwords.wallet_worker == "old"
    assert len({passwords.wallet_watcher, passwords.wallet_payer, "old", ""}) == 4
    assert (keys.ports(tmp_path), keys.passwords(tmp_path)) == (ports, passwords)
