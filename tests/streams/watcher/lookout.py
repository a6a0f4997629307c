"""A watcher over a node and a database of a test's own, and what it wrote there."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from db.engine import Connection, connect
from db.ledger.rules import seed_rules
from processors.dogecoin.derivation import EXTERNAL_CHAIN
from processors.seed import first_rules
from schemas.settings import Settings
from streams.node.client import Node
from streams.watcher import ports
from streams.watcher.follower import Watcher
from tests.conftest import Database
from tests.support.nodes import RunningNode
from tests.support.played import with_account
from tests.support.story import KEYRING

#: Small, so that tests mine few blocks; the shape is the default's.
CONFIRMATIONS = "2,4@100,6@1000"


class Receipt(NamedTuple):
    """A receipt as the database has it."""

    txid: str
    vout: int
    user_id: str
    amount: int
    height: int | None
    sufficient: bool
    required: int
    creditings: int
    credited: bool


@contextmanager
def running(watcher: Watcher) -> Iterator[None]:
    """A watcher at work in a thread; it lets go of everything at the end."""
    thread = threading.Thread(target=watcher.run, name="watcher")
    thread.start()
    try:
        yield
    finally:
        watcher.stop()
        thread.join(timeout=30.0)
        assert not thread.is_alive()


def user_of(number: int) -> str:
    """The user whose address has this index."""
    return str(uuid.UUID(int=number + 1, version=4))


class Desk:
    """Stands in for the broker: alarms are kept, and commands stay in the outbox."""

    def __init__(self) -> None:
        self.alarms: list[str] = []
        self.subjects: list[str] = []

    def sound(self, kind: str, subject: str, detail: str) -> None:
        """Keep it."""
        self.alarms.append(kind)
        self.subjects.append(subject)

    def run_once(self, connection: Connection) -> int:
        """Send nothing."""
        return 0

    def close(self) -> None:
        """There is nothing to let go of."""


class Lookout:
    """One wallet's database, the node that it follows, and watchers of both."""

    def __init__(self, settings: Settings, database: Database, node: RunningNode) -> None:
        self.settings = msgspec.structs.replace(
            with_account(settings),
            watcher_database_url=database.watcher_url,
            node_url=node.endpoint.url,
            node_user=node.endpoint.user,
            node_password=node.endpoint.password,
            rules_confirmations=CONFIRMATIONS,
            rules_deposit_minimum="1",
            poll_seconds=0.05,
        )
        self.database = database
        self.node = node
        self.desk = Desk()
        self.watchers: list[Watcher] = []
        if node.name != "ours":
            # Coins that can be spent, so that paying mines no blocks by itself.
            node.mine(node.maturity + 20)
        with connect(self.settings.database_url, application_name="test") as connection:
            seed_rules(connection, first_rules(self.settings, KEYRING))

    def close(self) -> None:
        """Let go of every watcher."""
        for watcher in self.watchers:
            watcher.close()

    def watcher(
        self,
        *,
        node: ports.Node | None = None,
        second: ports.Node | None = None,
        genesis_hash: str | None = None,
        step: Callable[[str], None] = lambda name: None,
        **changes: Any,
    ) -> Watcher:
        """A watcher with other settings, if any are given; closed at the end."""
        watcher = Watcher(
            msgspec.structs.replace(self.settings, **changes),
            node=node or Node(self.node.endpoint, patience_seconds=0.3),
            second=second,
            relay=self.desk,
            bell=self.desk,
            genesis_hash=genesis_hash or self.node.genesis,
            step=step,
        )
        self.watchers.append(watcher)
        return watcher

    def assign(self, number: int, index: int | None = None) -> str:
        """Give a user an address, as the worker does; the address."""
        place = number if index is None else index
        address = KEYRING.first.address(EXTERNAL_CHAIN, place)
        with connect(self.database.worker_url, application_name="test") as connection:
            connection.execute(
                "INSERT INTO address_counters (account_key, next_index) VALUES (%s, 1)"
                " ON CONFLICT DO NOTHING",
                (KEYRING.first.fingerprint,),
            )
            connection.execute(
                "INSERT INTO deposit_addresses (address, user_id, account_key, chain,"
                " derivation_index, active, assigned_at) VALUES (%s, %s, %s, 0, %s, true, %s)",
                (address, user_of(number), KEYRING.first.fingerprint, place, datetime.now(UTC)),
            )
        return address

    def watch_script(self, public_key_hash: bytes, address: str) -> None:
        """Take a script for one of our change addresses, as the payer adds them."""
        with connect(self.database.payer_url, application_name="test") as connection:
            connection.execute(
                "INSERT INTO watched_scripts (public_key_hash, address, account_key, chain,"
                " derivation_index) VALUES (%s, %s, %s, 1, 0)",
                (public_key_hash, address, KEYRING.first.fingerprint),
            )

    def settle(self, watcher: Watcher) -> int:
        """Let a watcher follow to the node's tip; the height."""
        for _ in range(1_000):
            if watcher.run_once() == 0 and watcher.fault() is None:
                return self.tip()[0]
        raise AssertionError(f"the watcher does not come to rest: {watcher.fault()}")

    def rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Read as the watcher."""
        with connect(self.database.watcher_url, application_name="test") as connection:
            return connection.execute(query, parameters).fetchall()

    def tip(self) -> tuple[int, str]:
        """Height and hash of what was followed last."""
        height, block_hash = self.rows(
            "SELECT height, hash FROM blocks WHERE active ORDER BY height DESC LIMIT 1"
        )[0]
        return height, block_hash

    def node_tip(self) -> tuple[int, str]:
        """The node's."""
        return self.node.call("getblockcount"), self.node.call("getbestblockhash")

    def receipts(self) -> dict[tuple[str, int], Receipt]:
        """All of them, by outpoint."""
        rows = self.rows(
            "SELECT txid, vout, user_id::text, amount, height, sufficient, required, creditings,"
            " credited FROM receipts ORDER BY txid, vout"
        )
        return {(row[0], row[1]): Receipt(*row) for row in rows}

    def keys(self, kind: str = "%") -> list[str]:
        """Keys of the commands in the outbox, in order, of a type if it is given."""
        rows = self.rows(
            "SELECT idempotency_key FROM watcher_outbox WHERE type LIKE %s ORDER BY id", kind
        )
        return [row[0] for row in rows]

    def unspent(self) -> int:
        """What our coins on the active chain add up to; each says rightly whether it is spent."""
        wrong = self.rows(
            "SELECT FROM coins c LEFT JOIN spends s USING (txid, vout)"
            " WHERE c.spent_height IS DISTINCT FROM s.height"
        )
        assert wrong == []
        rows = self.rows(
            "SELECT coalesce(sum(c.amount), 0) FROM coins c"
            " LEFT JOIN spends s USING (txid, vout)"
            " WHERE c.height IS NOT NULL AND s.txid IS NULL"
        )
        return int(rows[0][0])
