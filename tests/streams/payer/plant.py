"""A whole wallet for the payer as a process: real broker, database and node, watcher and worker.

Watcher and worker run in threads of the test; the payer is whatever the test starts.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from db.engine import connect
from db.ledger.rules import seed_rules
from processors.seed import first_rules, keyring_of
from schemas.amounts import KOINU_PER_DOGE, Koinu
from schemas.commands import AssignAddress, CancelWithdrawal, RequestWithdrawal
from schemas.ids import number_of, text_of
from schemas.settings import Settings
from streams.kafka.admin import create_topics
from streams.local import keys
from streams.watcher.follower import Watcher
from tests.conftest import Database
from tests.streams.watcher.lookout import running
from tests.support.books import ANN
from tests.support.commands import wire
from tests.support.eventually import eventually
from tests.support.nodes import OurNode
from tests.support.played import address_in
from tests.support.station import send, worker_for

PATIENCE_SECONDS: Final = 120.0
#: Small, so that tests mine few blocks; the order of them is the default's.
DEPTHS: Final = {
    "rules_confirmations": "2",
    "withdrawal_confirmations": 3,
    "conflict_confirmations": 8,
    "reorganisation_max": 10,
}


class Asked(NamedTuple):
    """A withdrawal that a user asked for."""

    id: str
    address: str
    amount: int


class Plant:
    """The wallet, and what a user and a miner do."""

    def __init__(self, settings: Settings, database: Database, node: OurNode) -> None:
        self.account = keys.account(Path(settings.home), "regtest")
        self.database = database
        self.node = node
        self.settings = msgspec.structs.replace(
            settings,
            watcher_database_url=database.watcher_url,
            payer_database_url=database.payer_url,
            account_xpub=self.account.account_xpub,
            node_url=node.endpoint.url,
            node_user=node.endpoint.user,
            node_password=node.endpoint.password,
            poll_seconds=0.05,
            payout_wait_seconds=0.0,
            **DEPTHS,
        )
        create_topics(self.settings)
        with connect(database.owner_url, application_name="test") as connection:
            seed_rules(connection, first_rules(self.settings, keyring_of(self.settings)))
        self._look = connect(database.superuser_url, application_name="look", autocommit=True)

    def close(self) -> None:
        """Let go of the database."""
        self._look.close()

    def rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Read what any role may."""
        return self._look.execute(query, parameters).fetchall()

    def value(self, query: str, *parameters: object) -> Any:
        """One value."""
        ((value,),) = self.rows(query, *parameters)
        return value

    def fund(self, amounts: list[int]) -> None:
        """Deposits of so many DOGE each, credited."""
        send(self.settings, [wire(AssignAddress(), user=ANN)])
        known = "SELECT 1 FROM deposit_addresses"
        eventually(lambda: self.rows(known), "there is an address", PATIENCE_SECONDS)
        address = address_in(self.database, ANN)
        self.node.mine(self.node.maturity + 10)
        for amount in amounts:
            self.node.fund(address, amount * KOINU_PER_DOGE)
        # Deep enough that no reorganisation of a test takes them back.
        self.node.mine(15)
        whole = sum(amounts) * KOINU_PER_DOGE
        balance = "SELECT available FROM wallets WHERE user_id = %s"
        eventually(
            lambda: self.rows(balance, ANN) == [(whole,)], "all is credited", PATIENCE_SECONDS
        )

    def ask(self, amount: int, address: str, *, cancel: bool = False) -> Asked:
        """Ask for a withdrawal of koinu, and perhaps to cancel it straight away."""
        request = RequestWithdrawal(amount=Koinu(amount), address=address)
        (place,) = send(self.settings, [wire(request, user=ANN)])
        withdrawal = text_of(number_of(place))
        if cancel:
            send(self.settings, [wire(CancelWithdrawal(withdrawal_id=withdrawal), user=ANN)])
        return Asked(withdrawal, address, amount)

    def status(self, asked: Asked) -> str | None:
        """Where a withdrawal stands; None before it was decided on."""
        rows = self.rows("SELECT status::text FROM withdrawals WHERE id = %s", asked.id)
        return rows[0][0] if rows else None

    def is_followed(self) -> bool:
        """Whether the watcher is at the node's tip."""
        hashes = self.rows("SELECT hash FROM blocks WHERE active ORDER BY height DESC LIMIT 1")
        return hashes == [(self.node.call("getbestblockhash"),)]

    def mine(self) -> None:
        """One block, if the last one was followed: a payer waits for a watcher that is behind."""
        if self.is_followed():
            self.node.mine()

    def left(self) -> list[tuple[Any, ...]]:
        """What is under way still."""
        return self.rows(
            "SELECT 'coin', txid FROM reservations"
            " UNION ALL SELECT 'payout', id::text FROM payouts"
            "   WHERE status NOT IN ('confirmed', 'failed')"
            " UNION ALL SELECT 'claim', withdrawal_id::text FROM claims"
            "   WHERE outcome IS DISTINCT FROM 'rejected' AND payout_id IS NULL"
            " UNION ALL SELECT 'withdrawal', id::text FROM withdrawals"
            "   WHERE status NOT IN ('CONFIRMED', 'FAILED')"
            " UNION ALL SELECT 'order', id::text FROM payer_outbox WHERE sent_at IS NULL"
            " UNION ALL SELECT 'undecided', o.idempotency_key FROM payer_outbox o"
            "   WHERE NOT EXISTS (SELECT FROM commands c WHERE c.user_id = o.user_id"
            "     AND c.idempotency_key = o.idempotency_key)"
        )

    def paid_on_chain(self) -> dict[str, list[int]]:
        """What the node's active chain pays to each address, output by output."""
        paid: dict[str, list[int]] = {}
        for height in range(1, self.node.call("getblockcount") + 1):
            block = self.node.call("getblock", self.node.call("getblockhash", height), 2)
            for output in (output for tx in block["tx"] for output in tx["vout"]):
                for address in output["scriptPubKey"].get("addresses", ()):
                    koinu = round(output["value"] * KOINU_PER_DOGE)
                    paid.setdefault(address, []).append(koinu)
        return paid


@contextmanager
def plant_on(settings: Settings, database: Database, node: OurNode) -> Iterator[Plant]:
    """A plant whose watcher and worker run."""
    with ExitStack() as stack:
        plant = Plant(settings, database, node)
        stack.callback(plant.close)
        worker = worker_for(plant.settings)
        thread = threading.Thread(target=worker.run, name="worker")
        thread.start()
        stack.callback(thread.join, 30.0)
        stack.callback(worker.stop)
        stack.enter_context(running(Watcher(plant.settings, genesis_hash=node.genesis)))
        yield plant
