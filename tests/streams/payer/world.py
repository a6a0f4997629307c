"""A whole wallet in one process for the payer's tests: real tables, real rules, a node in memory.

The ledger applies commands on PostgreSQL as the worker does, without Kafka; a small follower keeps
the chain's tables as the watcher does, without the wire.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import msgspec
import psycopg

from db.engine import connect
from db.ledger.rules import seed_rules
from db.treasury.payouts import opened
from processors.apply import Applier
from processors.dogecoin.building import Template, TemplateInput, to_cold
from processors.dogecoin.derivation import Keychain, account_keys
from processors.dogecoin.fees import FeePolicy
from processors.dogecoin.hidden import Hidden
from processors.dogecoin.keyring import Keyring
from processors.dogecoin.scripts import script_of_address
from processors.dogecoin.signing import AccountSigner
from schemas.addresses import NETWORKS, encode_address
from schemas.commands import AssignAddress, CancelWithdrawal, CommandType, RequestWithdrawal
from schemas.envelope import decode_data
from schemas.records import Rules, Tier
from streams.local.node.blocks import Carried
from streams.local.node.node import Node as LocalNode
from streams.local.node.rules import rules_of
from streams.payer.office import Limits, Office
from streams.payer.payer import Payer
from tests.conftest import Database
from tests.streams.payer.follower import Follower
from tests.streams.payer.wire import Line
from tests.support.books import ANN, RULES, doge
from tests.support.commands import MemoryLog, id_of
from tests.support.till import Till, worker_connection

NETWORK: Final = "regtest"
XPRV, XPUB = account_keys(bytes(range(64)), NETWORK)
LIMITS: Final = Limits(
    network=NETWORK,
    withdrawals_max=50,
    wait_seconds=0.0,
    retry_seconds=0.0,
    policy=FeePolicy(),
    confirmations=3,
    conflict_confirmations=8,
    burial_confirmations=11,
    bump_seconds=3600.0,
    rebroadcast_seconds=600.0,
)

Connection = psycopg.Connection[tuple[Any, ...]]


class Bells:
    """What operators were told."""

    def __init__(self) -> None:
        self.rung: list[tuple[str, str, str]] = []

    def sound(self, kind: str, subject: str, detail: str) -> None:
        """Remember it."""
        self.rung.append((kind, subject, detail))

    @property
    def kinds(self) -> set[str]:
        """The kinds that were sounded."""
        return {kind for kind, _, _ in self.rung}


class Sessions:
    """The services' connections to one database, which many worlds can use one after the other.

    Opening them takes longer than most of what a world does with them.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.worker = worker_connection(database)
        self.watcher = connect(database.watcher_url, application_name="test", autocommit=True)
        self.payer = opened(database.payer_url)
        for connection in (self.worker, self.watcher, self.payer):
            # What is tested is what is committed when, not what a disk keeps.
            connection.execute("SET synchronous_commit = off")

    def close(self) -> None:
        """Let go of them."""
        for connection in (self.worker, self.watcher, self.payer):
            connection.close()


class _Till(Till):
    """Leaves the worker's connection to whoever opened it."""

    def close(self) -> None:
        """Let go of its own."""
        self._look.close()


class World:
    """Ledger, chain, watcher and payer; each moves only when it is told to."""

    def __init__(self, sessions: Sessions, limits: Limits = LIMITS) -> None:
        database = sessions.database
        self.database = database
        self.keyring = Keyring(XPUB, NETWORK)
        self.node = LocalNode(None, rules_of(NETWORK, maturity=2))
        self.line = Line(self.node)
        self.bells = Bells()
        self.signer = AccountSigner(Hidden(XPRV), NETWORK, fee_max=limits.policy.fee_max)
        self.till = _Till(database, MemoryLog(1), sessions.worker)
        self.till.applier = self._applier()
        self.till.take_over()
        self.follower = Follower(sessions.watcher, self.node, self.till)
        self.paying = sessions.payer
        self.step: Callable[[str], None] = lambda name: None
        self.limits = limits
        self.payer = self.start_payer()
        self._addresses = 0

    def _applier(self) -> Applier:
        return Applier(
            self.till.connection,
            owner="till",
            derive=self.keyring.deposit_address,
        )

    def start_payer(self) -> Payer:
        """A payer that remembers nothing."""
        office = Office(
            connection=self.paying,
            limits=self.limits,
            keyring=self.keyring,
            signer=self.signer,
            node=self.line,
            bell=self.bells,
            step=lambda name: self.step(name),
        )
        return Payer(office)

    def know(self, *accounts: tuple[str, str], applier: bool = True) -> None:
        """From here on these accounts are known, each by its private and its public key."""
        self.keyring = Keyring(",".join(xpub for _, xpub in accounts), NETWORK)
        first, *others = (Hidden(xprv) for xprv, _ in accounts)
        fee_max = self.limits.policy.fee_max
        self.signer = AccountSigner(first, NETWORK, fee_max=fee_max, others=others)
        if applier:
            self.till.applier = self._applier()
        self.payer = self.start_payer()

    def hurry(self, **changes: Any) -> None:
        """Other limits from here on."""
        self.limits = replace(self.limits, **changes)
        self.payer.office.limits = self.limits

    # Users

    def address_of(self, user: str) -> str:
        """The user's deposit address, which the watcher looks for."""
        row = self.till.rows(
            "SELECT address FROM deposit_addresses WHERE user_id = %s AND active", user
        )
        if not row:
            self.till.do(AssignAddress(), user)
            self.follower.watch()
            return self.address_of(user)
        return str(row[0][0])

    def deposit(self, amount: float, user: str = ANN, *, credited: bool = True) -> str:
        """Pay to a user on chain; mined, and credited unless told; the txid."""
        txid = self.node.pay(script_of_address(self.address_of(user), NETWORK), doge(amount))
        self.mine(1)
        if credited:
            self.mine(1)
        return txid

    def elsewhere(self, *, p2sh: bool = False) -> str:
        """An address of nobody here, another each time."""
        self._addresses += 1
        network = NETWORKS[NETWORK]
        version = network.p2sh if p2sh else network.p2pkh
        return encode_address(version, (2**120 + self._addresses).to_bytes(20, "big"))

    def request(self, amount: float, user: str = ANN, address: str | None = None) -> str:
        """Ask for a withdrawal; its id."""
        record = self.till.do(
            RequestWithdrawal(amount=doge(amount), address=address or self.elsewhere()), user
        )
        return id_of(record)

    def cancel(self, withdrawal_id: str, user: str = ANN) -> str:
        """Ask for a cancel; the outcome."""
        record = self.till.put(CancelWithdrawal(withdrawal_id=withdrawal_id), user)
        self.till.apply(record)
        return self.till.outcome(record)[0]

    def withdrawal(self, withdrawal_id: str) -> tuple[str, str | None, str | None]:
        """Status, txid and reason."""
        ((status, txid, reason),) = self.till.rows(
            "SELECT status::text, txid, reason FROM withdrawals WHERE id = %s", withdrawal_id
        )
        return status, txid, reason

    # Time

    def mine(self, blocks: int = 1) -> None:
        """Blocks with what waits, each followed."""
        for _ in range(blocks):
            self.node.mine()
            self.follower.follow()

    def deliver(self, most: int = 1_000_000, *, forget: bool = False) -> int:
        """Let commands of the payer's outbox reach the ledger; ``forget`` sends again later."""
        rows = self.paying.execute(
            "SELECT id, user_id::text, type, idempotency_key, data::text FROM payer_outbox"
            " WHERE sent_at IS NULL ORDER BY id LIMIT %s",
            (most,),
        ).fetchall()
        records = [
            self.till.put(decode_data(CommandType(kind), str(data).encode()), user, key)
            for _, user, kind, key, data in rows
        ]
        if records:
            self.till.apply(*records)
        if not forget:
            self.paying.execute(
                "UPDATE payer_outbox SET sent_at = now() WHERE id = ANY(%s)",
                ([row[0] for row in rows],),
            )
        return len(rows)

    def work(self, rounds: int = 1) -> None:
        """The payer goes round, and its commands are decided."""
        for _ in range(rounds):
            self.payer.run_once()
            self.deliver()

    def settle_all(self, blocks: int = 40) -> None:
        """Go on without trouble until everything is deep, or as many blocks have passed."""
        self.line.heal()
        self.step = lambda name: None
        for _ in range(blocks // 2):
            for _ in range(8):
                if not self.payer.run_once() + self.deliver():
                    break
            if self.is_settled():
                return
            self.mine(2)

    def is_settled(self) -> bool:
        """Whether nothing is under way: no claim, no payout, no reservation, no command."""
        return not self.till.rows(
            "SELECT 1 FROM reservations UNION ALL SELECT 1 FROM claims"
            " WHERE outcome IS DISTINCT FROM 'rejected' AND payout_id IS NULL"
            " UNION ALL SELECT 1 FROM payouts WHERE status NOT IN ('confirmed', 'failed')"
            " UNION ALL SELECT 1 FROM payer_outbox WHERE sent_at IS NULL"
        )

    @contextmanager
    def watching(self) -> Iterator[Connection]:
        """A session of the watcher's role."""
        with connect(
            self.database.watcher_url, application_name="test", autocommit=True
        ) as connection:
            yield connection

    @contextmanager
    def owning(self) -> Iterator[Connection]:
        """A session that may do what no service may."""
        with connect(
            self.database.owner_url, application_name="test", autocommit=True
        ) as connection:
            yield connection

    def stolen(self, address: str) -> Carried:
        """A transaction by somebody who has the key: all of one reserved coin to an address."""
        ((txid, vout, amount, chain, index, ours),) = self.till.rows(
            "SELECT c.txid, c.vout, c.amount, s.chain, s.derivation_index, s.address"
            " FROM reservations r JOIN coins c USING (txid, vout)"
            " JOIN watched_scripts s USING (public_key_hash) ORDER BY c.txid LIMIT 1"
        )
        fee = 1_000_000
        template = Template(
            network=NETWORK,
            inputs=(
                TemplateInput(
                    txid=txid,
                    vout=vout,
                    amount=amount,
                    chain=chain,
                    derivation_index=index,
                    address=ours,
                ),
            ),
            outputs=(to_cold(address, amount - fee),),
            fee=fee,
        )
        return Carried.of(self.signer.sign(template))

    # Looking

    def paid_on_chain(self) -> dict[str, int]:
        """Koinu that the active chain pays to each address, by the node itself."""
        return self.follower.paid()

    def close(self) -> None:
        """Let go of everything but the sessions."""
        self.till.close()
        self.node.close()


def prepared(database: Database) -> Database:
    """The database with rules for the payer's account: deposits are credited after two blocks."""
    rules = msgspec.convert(msgspec.to_builtins(RULES, enc_hook=int), Rules)
    rules = msgspec.structs.replace(
        rules,
        account_key=Keychain(XPUB, NETWORK).fingerprint,
        network=NETWORK,
        withdrawal_minimum=int(doge(1)),
        confirmations=(Tier(0, 2),),
    )
    with connect(database.owner_url, application_name="test") as connection:
        seed_rules(connection, rules)
    return database


@contextmanager
def world_on(database: Database, limits: Limits = LIMITS) -> Iterator[World]:
    """A world on a fresh database."""
    sessions = Sessions(prepared(database))
    world = World(sessions, limits)
    try:
        yield world
    finally:
        world.close()
        sessions.close()


def drawn(seed: int) -> random.Random:
    """Chance that can be repeated."""
    return random.Random(seed)
