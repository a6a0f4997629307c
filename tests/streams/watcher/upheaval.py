"""Seeded upheavals of a chain under the watcher, held against node and ledger at each tip.

Everything is in one process: a node in memory, the real watcher, the ledger applied on PostgreSQL.
A seed tells a run whole.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from typing import Final, TypeVar

import msgspec

from db.engine import Connection, connect
from db.treasury.outboxes import WATCHER_OUTBOX, mark_sent, waiting
from processors.dogecoin.scripts import script_of_address
from processors.dogecoin.transactions import Input, Output, Transaction
from schemas.amounts import Koinu
from schemas.commands import AssignAddress, CommandType, LockFunds, UnlockFunds
from schemas.envelope import decode_data
from schemas.settings import Settings
from streams.local.node.calls import perform
from streams.local.node.chain import BadBlock
from streams.local.node.errors import RpcError
from streams.local.node.malleation import NotMalleable
from streams.local.node.miner import Miner
from streams.local.node.mining import Plan
from streams.local.node.node import Node as LocalNode
from streams.local.node.rules import rules_of
from streams.node.client import NodeRefusal
from streams.node.shapes import BlockShape, ChainShape, HeaderShape
from streams.watcher.follower import Watcher
from tests.conftest import Database
from tests.support.books import ANN, BOB, CAT, doge
from tests.support.commands import MemoryLog
from tests.support.till import Till, seeded, worker_connection

NETWORK: Final = "regtest"
_T = TypeVar("_T")
USERS: Final = (ANN, BOB, CAT)
#: The tiers of the rules ask for 20 and 40: forks reach what was credited.
DEPTH_MAX: Final = 30
AMOUNTS: Final = (0.5, 1.0, 40.0, 60_000.0, 120_000.0)
STEPS: Final = ("coins-placed", "receipts-placed", "before-commit", "unplaced")


class Crash(BaseException):
    """The process ends here."""


class Wire:
    """A local node, answering as over the wire."""

    def __init__(self, node: LocalNode) -> None:
        self.node = node

    def chain(self) -> ChainShape:
        """What it follows."""
        return self._shape(ChainShape, "getblockchaininfo")

    def block_hash(self, height: int) -> str | None:
        """None above its tip."""
        if height > self.node.chain.height:
            return None
        return self._shape(str, "getblockhash", height)

    def block_hashes(self, heights: Sequence[int]) -> list[str | None]:
        """The same for many."""
        return [self.block_hash(height) for height in heights]

    def header(self, block_hash: str) -> HeaderShape | None:
        """A block's header."""
        return self._shape(HeaderShape, "getblockheader", block_hash, True)

    def block(self, block_hash: str) -> BlockShape:
        """A block, whole."""
        return self._shape(BlockShape, "getblock", block_hash, 2)

    def close(self) -> None:
        """There is nothing to let go of."""

    def _shape(self, kind: type[_T], method: str, *arguments: object) -> _T:
        try:
            answer = perform(self.node, method, list(arguments))
        except RpcError as error:
            raise NodeRefusal(method, int(error.code), error.message) from error
        return msgspec.json.decode(msgspec.json.encode(answer), type=kind)


class ToTheLedger:
    """The relay and the worker in one; some commands arrive twice."""

    def __init__(self, till: Till, chance: random.Random) -> None:
        self._till = till
        self._chance = chance

    def run_once(self, connection: Connection) -> int:
        """Apply what waits, in order."""
        with connection.transaction(), connection.cursor() as cursor:
            orders = waiting(cursor, WATCHER_OUTBOX, 1_000)
        if not orders:
            return 0
        sent = orders if self._chance.random() > 0.1 else [*orders, *orders]
        records = [
            self._till.put(
                decode_data(CommandType(order.type), order.data.encode()),
                order.user_id,
                order.idempotency_key,
            )
            for _, order in sent
        ]
        self._till.apply(*records)
        mark_sent(connection, WATCHER_OUTBOX, [number for number, _ in orders])
        return len(orders)

    def close(self) -> None:
        """There is nothing to let go of."""


class Silence:
    """Alarms are expected here."""

    def sound(self, kind: str, subject: str, detail: str) -> None:
        """Pass it over."""

    def close(self) -> None:
        """There is nothing to let go of."""


class Upheaval:
    """One wallet on one chain."""

    def __init__(self, database: Database, seed: int) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.node = LocalNode(None, rules_of(NETWORK, maturity=2))
        self.hot = Miner(sha256(b"a key of ours for change").digest(), NETWORK)
        self.till = Till(seeded(database), MemoryLog(1), worker_connection(database))
        self.till.connection.execute("SET synchronous_commit = off")
        self.till.take_over()
        self.settings = Settings(watcher_database_url=database.watcher_url)
        self.fuse: tuple[str, int] | None = None
        self.bids: Counter[str] = Counter()
        self.watcher = self._start()
        self.scripts: dict[str, bytes] = {}
        for user in USERS:
            self._assign(user)
        with connect(database.payer_url, application_name="test") as connection:
            connection.execute(
                "INSERT INTO watched_scripts (public_key_hash, address, account_key, chain,"
                " derivation_index) VALUES (%s, %s, 'hot', 1, 0)",
                (self.hot.script[3:-2], self.hot.address),
            )

    def _start(self) -> Watcher:
        return Watcher(
            self.settings,
            node=Wire(self.node),
            relay=ToTheLedger(self.till, self.chance),
            bell=Silence(),
            step=self._burn,
        )

    def _burn(self, name: str) -> None:
        if self.fuse is not None and self.fuse[0] == name:
            self.fuse = None if self.fuse[1] == 0 else (name, self.fuse[1] - 1)
            if self.fuse is None:
                raise Crash

    def close(self) -> None:
        """Let go of everything."""
        self.watcher.close()
        self.till.close()
        self.node.close()

    # ------------------------------------------------------------------ what happens

    def play(self, actions: int) -> None:
        """Let things happen, and hold everything against everything after each."""
        self.node.mine()
        for _ in range(6):
            self._mine()
        happenings = (
            (self._pay, 6),
            (self._mine, 5),
            (self._reorganise, 3),
            (self._take_back, 3),
            (self._spend, 2),
            (self._bid, 3),
            (self._unbid, 1),
            (self._rotate, 1),
        )
        kinds, weights = zip(*happenings, strict=True)
        for happen in self.chance.choices(kinds, weights, k=actions):
            happen()
            if self.chance.random() < 0.3:
                self.fuse = (self.chance.choice(STEPS), self.chance.randrange(4))
            self.settle()
            self.hold()
        self.node.mine()
        for _ in range(45):
            self.node.mine()
        self.settle()
        self.hold()
        self.till.audit()

    def settle(self) -> None:
        """Follow to the tip; a watcher that crashed is followed by another."""
        for _ in range(2_000):
            try:
                if self.watcher.run_once() == 0 and self.watcher.fault() is None:
                    self.fuse = None
                    return
            except Crash:
                self.counts["crashes"] += 1
                self.watcher.close()
                self.watcher = self._start()
        raise AssertionError(f"seed {self.seed}: {self.watcher.fault()}")

    def _assign(self, user: str) -> None:
        self.till.do(AssignAddress(rotate=user in self.scripts), user)
        address = self.till.value(
            "SELECT address FROM deposit_addresses WHERE user_id = %s AND active", user
        )
        self.scripts[user] = script_of_address(str(address), NETWORK)

    def _rotate(self) -> None:
        self._assign(self.chance.choice(USERS))

    def _pay(self) -> None:
        for _ in range(self.chance.randint(1, 3)):
            if self.chance.random() < 0.2:
                self.node.pay(self.hot.script, int(doge(50)))
                continue
            script = self.scripts[self.chance.choice(USERS)]
            self.node.pay(script, int(doge(self.chance.choice(AMOUNTS))))
            self.counts["payments"] += 1

    def _mine(self) -> None:
        for _ in range(self.chance.choice((1, 2, 5, 21, 21))):
            self.node.mine()

    def _spend(self) -> None:
        """A coin of ours goes elsewhere, as the payer sends it."""
        coins = [
            each
            for each in self.node.store.coins_of(self.hot.script)
            if each[0] not in self.node.pool.spenders
        ]
        if not coins:
            return
        (txid, vout), coin = self.chance.choice(coins)
        outputs = (
            Output(coin.amount // 2, self.node.miner.script),
            Output(coin.amount // 2 - int(doge(1)), self.hot.script),
        )
        if outputs[1].amount > int(doge(1)):
            self.node.send(self.hot.sign(Transaction((Input(txid, vout),), outputs)))
            self.counts["spends"] += 1

    def _bid(self) -> None:
        user = self.chance.choice(USERS)
        rows = self.till.rows("SELECT available, shortfall FROM wallets WHERE user_id = %s", user)
        if not rows or rows[0][1] or not rows[0][0]:
            return
        amount = self.chance.randint(1, rows[0][0])
        self.till.do(
            LockFunds(amount=Koinu(amount), reference_type="auction", reference_id="1"), user
        )
        self.bids[user] += amount

    def _unbid(self) -> None:
        user = self.chance.choice(USERS)
        if self.bids[user]:
            amount = Koinu(self.bids.pop(user))
            self.till.do(
                UnlockFunds(amount=amount, reference_type="auction", reference_id="1"), user
            )

    def _take_back(self) -> None:
        """A reorganisation that reaches what was credited."""
        self._pay()
        for _ in range(21):
            self.node.mine()
        self.settle()
        self._reorganise(self.chance.randint(22, DEPTH_MAX))

    def _reorganise(self, wanted: int = 0) -> None:
        depth = wanted or self.chance.choice((1, 2, 5, 21, 22, 25, DEPTH_MAX, DEPTH_MAX))
        depth = min(depth, self.node.chain.height - 1)
        inside = self._transactions(depth)
        malleated = [each for each in inside if self.chance.random() < 0.2]
        dropped = [each for each in inside if each not in malleated and self.chance.random() < 0.2]
        empty = self.chance.randrange(depth + 1)
        plans = [Plan(txids=()) for _ in range(empty)]
        plans += [Plan(malleate=malleated if n == 0 else ()) for n in range(depth + 1 - empty)]
        try:
            self.node.reorganise(depth, plans, drop=dropped)
        except (BadBlock, NotMalleable):
            self.node.reorganise(depth, [Plan() for _ in range(depth + 1)], drop=dropped)
            malleated = []
        self.counts["reorganisations"] += 1
        self.counts["malleated"] += len(malleated)
        self.counts["dropped"] += len(dropped)

    def _transactions(self, depth: int) -> list[str]:
        top = self.node.chain.height
        wire = Wire(self.node)
        found = []
        for height in range(top - depth + 1, top + 1):
            block_hash = wire.block_hash(height)
            assert block_hash is not None
            found += [each.txid for each in wire.block(block_hash).tx[1:]]
        return found

    # ------------------------------------------------------------------ the proof

    def hold(self) -> None:
        """At this tip: our coins are the node's, and the books close against them."""
        said = f"seed {self.seed}, block {self.node.chain.height}"
        rows = self.till.rows(
            "SELECT c.txid, c.vout, c.amount, s.chain FROM coins c"
            " JOIN watched_scripts s USING (public_key_hash)"
            " LEFT JOIN spends x ON x.txid = c.txid AND x.vout = c.vout"
            " WHERE c.height IS NOT NULL AND x.txid IS NULL"
        )
        assert {(t, v, a) for t, v, a, _ in rows} == self._coins_of_node(), said
        wrong = self.till.rows(
            "SELECT FROM coins c LEFT JOIN spends x USING (txid, vout)"
            " WHERE c.spent_height IS DISTINCT FROM x.height"
        )
        assert wrong == [], said
        received = sum(amount for _, _, amount, chain in rows if chain == 0)
        booked = int(
            self.till.value(
                "SELECT coalesce(sum(debit - credit), 0) FROM entries WHERE account = 'chain'"
            )
        )
        uncredited = int(
            self.till.value(
                "SELECT coalesce(sum(amount), 0) FROM receipts"
                " WHERE height IS NOT NULL AND NOT credited"
            )
        )
        assert received == booked + uncredited, said
        for user, held, owed in self.till.rows(
            "SELECT w.user_id::text, available + bids - shortfall,"
            " coalesce((SELECT sum(r.amount) FROM receipts r"
            "            WHERE r.user_id = w.user_id AND r.credited), 0) FROM wallets w"
            " WHERE w.user_id = ANY(%s::uuid[])",
            list(USERS),
        ):
            assert held == owed, f"{said}, user {user}"
        refused = self.till.rows(
            "SELECT o.idempotency_key, k.code FROM watcher_outbox o JOIN commands k"
            " ON k.user_id = o.user_id AND k.idempotency_key = o.idempotency_key"
            " WHERE k.outcome = 'rejected' OR k.outcome = 'key_reused'"
        )
        assert refused == [], said
        self.counts["checks"] += 1
        self.counts["reversals"] = self._count("reverse_deposit")
        self.counts["creditings"] = self._count("process_deposit")
        owing = self.till.value("SELECT count(*) FROM wallets WHERE shortfall > 0")
        self.counts["shortfalls"] += int(owing)

    def _count(self, kind: str) -> int:
        return int(self.till.value("SELECT count(*) FROM watcher_outbox WHERE type = %s", kind))

    def _coins_of_node(self) -> set[tuple[str, int, int]]:
        scripts = self.till.rows("SELECT public_key_hash FROM watched_scripts")
        return {
            (txid, vout, coin.amount)
            for (key,) in scripts
            for (txid, vout), coin in self.node.store.coins_of(
                b"\x76\xa9\x14" + bytes(key) + b"\x88\xac"
            )
        }


def table(counts: Counter[str], runs: int) -> str:
    """What happened, for the reader of a proof."""
    lines = [f"  {name:<16}{counts[name]:>8}" for name in sorted(counts)]
    return "\n".join([f"{runs} runs", *lines])
