"""What the views see outside of the events: the hot wallet, and what they do without a server."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Final

import msgspec
import psycopg
import pytest

from processors.dogecoin.derivation import AccountKeyUnusable
from processors.seed import keyring_of
from schemas.amounts import KOINU_PER_DOGE
from schemas.settings import Settings, SettingsError
from streams.kafka.admin import create_topics
from streams.local.process import free_port
from streams.views.outlook import Outlook, watches_hot_wallet
from streams.views.process import run_views
from tests.conftest import Database, Databases
from tests.support.played import seed, with_account

KEY: Final = bytes(20)
HASH: Final = "ab" * 32


@contextmanager
def outlook(settings: Settings) -> Iterator[Outlook]:
    made = Outlook(settings, dict)
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def wallet(settings: Settings) -> Settings:
    """The account is known and in force, so the hot wallet can be watched."""
    told = with_account(settings)
    seed(told)
    create_topics(told)
    return told


def follow_a_block_with_a_coin(database: Database, account: str, koinu: int) -> None:
    """One block, and in it change of ours."""
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        for statement, values in (
            (
                "INSERT INTO blocks (hash, height, previous_hash, active, time)"
                " VALUES (%s, 7, %s, true, now())",
                (HASH, HASH),
            ),
            (
                "INSERT INTO watched_scripts (public_key_hash, address, account_key, chain,"
                " derivation_index) VALUES (%s, 'an address', %s, 1, 0)",
                (KEY, account),
            ),
            (
                "INSERT INTO coins (txid, vout, public_key_hash, amount, coinbase, block_hash,"
                " height) VALUES (%s, 0, %s, %s, false, %s, 7)",
                (HASH, KEY, koinu, HASH),
            ),
        ):
            connection.execute(statement, values)


def test_the_hot_wallet_is_seen_by_the_apis_role(wallet: Settings, database: Database) -> None:
    assert watches_hot_wallet(wallet)
    with outlook(wallet) as looks:
        assert looks.look().hot_wallet is None, "no block was followed yet"
        account = keyring_of(wallet).first.fingerprint
        follow_a_block_with_a_coin(database, account, 3 * KOINU_PER_DOGE)
        seen = looks.look()
    assert (seen.hot_wallet, seen.fault) == (3 * KOINU_PER_DOGE, None)


def test_a_database_that_is_away_leaves_the_hot_wallet_unknown_and_the_lag_seen(
    wallet: Settings,
) -> None:
    away = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    with outlook(msgspec.structs.replace(wallet, api_database_url=away)) as looks:
        seen = looks.look()
    assert seen.hot_wallet is None
    assert seen.worker is not None and seen.worker.records == 0
    assert seen.fault is not None and seen.fault.startswith("database is away")


def test_whatever_fails_is_unknown_and_its_cause_told(
    wallet: Settings, databases: Databases
) -> None:
    """Tables that are not there are no outage; the look before must not stand for this one."""
    empty = databases.fresh(migrated=False)
    with outlook(msgspec.structs.replace(wallet, api_database_url=empty.owner_url)) as looks:
        seen = looks.look()
    databases.drop(empty.name)
    assert seen.hot_wallet is None
    assert seen.worker is not None and seen.worker.records == 0
    assert seen.fault is not None and "rules" in seen.fault


def test_where_the_account_in_force_is_unknown_there_is_no_number_and_the_cause_is_told(
    wallet: Settings, database: Database
) -> None:
    follow_a_block_with_a_coin(database, keyring_of(wallet).first.fingerprint, KOINU_PER_DOGE)
    _, lacking = wallet.account_xpub.split(",")
    with outlook(msgspec.structs.replace(wallet, account_xpub=lacking)) as looks:
        seen = looks.look()
    assert seen.hot_wallet is None
    assert seen.fault is not None and "WALLET_ACCOUNT_XPUB names" in seen.fault


def test_without_an_account_or_a_database_the_hot_wallet_is_not_watched() -> None:
    assert not watches_hot_wallet(Settings(api_database_url="postgresql://x"))
    assert not watches_hot_wallet(with_account(Settings()))


def test_views_do_not_start_with_a_key_by_which_they_could_not_look() -> None:
    settings = Settings(
        api_database_url="postgresql://x",
        account_xpub="tpub-with-a-letter-wrong",
        kafka={"bootstrap.servers": f"127.0.0.1:{free_port()}"},
    )
    with pytest.raises(AccountKeyUnusable):
        run_views(settings, announce=print)


def test_views_do_not_start_on_a_port_that_is_taken() -> None:
    settings = Settings(kafka={"bootstrap.servers": f"127.0.0.1:{free_port()}"})
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        with pytest.raises(SettingsError, match="WALLET_VIEWS_PORT names another port"):
            run_views(msgspec.structs.replace(settings, views_port=port), announce=print)
