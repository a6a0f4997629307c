"""Seeded trouble for the payer: crashes, lost answers, reorganisations and cancels at any moment.

A run plays until everything is deep, then holds ledger and chain against each other: paid on chain
is debited in the ledger, nothing is paid twice, nothing is cancelled and paid, no coin is reserved
for ever. A seed tells a run whole.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from db.engine import connect
from processors.dogecoin.derivation import CHANGE_CHAIN
from processors.dogecoin.scripts import script_of_address
from schemas.addresses import decode_address
from schemas.commands import FreezeWallet, Fund, UnfreezeWallet
from streams.local.node.admission import MissingInputs, Refused
from streams.local.node.blocks import Carried
from streams.local.node.chain import BadBlock
from streams.local.node.malleation import NotMalleable
from streams.local.node.mining import Plan
from streams.local.node.node import AlreadyInChain
from streams.payer.refusals import look_at_refusals
from tests.conftest import Database, Databases
from tests.streams.payer.wire import Trouble
from tests.streams.payer.world import NETWORK, Sessions, World, prepared
from tests.support.books import USERS, doge

#: Seeds that every run of the tests plays, in files that processes share; the proof plays more.
SAMPLE: Final = 200
ACTIONS: Final = 30
#: Below the depth that makes a conflict final: what is deeper is no longer undone.
DEPTH_MAX: Final = 6


class Crashed(BaseException):
    """The process ends here."""


class Run:
    """One seed's story."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.seed = seed
        self.chance = random.Random(seed)
        self.counts: Counter[str] = Counter()
        #: Withdrawal to its address, amount and user.
        self.asked: dict[str, tuple[str, int, str]] = {}
        self.cancelled: set[str] = set()
        self.deposits: dict[str, Carried] = {}
        self.frozen: set[str] = set()
        self.users: tuple[str, ...] = ()

    # ------------------------------------------------------------------ the play

    def play(self) -> Counter[str]:
        """All of it; fails with the seed if anything does not hold."""
        self.users = USERS[: self.chance.randint(1, 3)]
        for user in self.users:
            for _ in range(self.chance.randint(1, 3)):
                self._deposit(user, credited=True)
        for _ in range(ACTIONS):
            self._act()
            self._check_running()
        self._drain()
        self._check()
        return self.counts

    def _act(self) -> None:
        actions = (
            (self._pay, 12),
            (self._crash, 6),
            (self._request, 9),
            (self._cancel, 3),
            (self._deliver, 4),
            (self._mine, 5),
            (self._reorganise, 3),
            (self._lose_deposit, 1),
            (self._hurry, 3),
            (self._forget, 1),
            (self._freeze, 1),
            (self._deposit_more, 1),
        )
        (action,) = self.chance.choices([a for a, _ in actions], [w for _, w in actions])
        action()

    def _deposit(self, user: str, *, credited: bool) -> None:
        txid = self.world.deposit(self.chance.choice((20, 50, 130, 400)), user, credited=credited)
        block_hash = self.world.node.store.blocks_with(txid)[0]
        block = self.world.node.store.block(block_hash)
        self.deposits[txid] = next(t for t in block.transactions if t.txid == txid)

    def _deposit_more(self) -> None:
        self._deposit(self.chance.choice(self.users), credited=False)

    def _pay(self) -> None:
        """A round of the payer, with trouble on the line."""
        trouble: list[Trouble | None] = [None, None, *Trouble]
        self.world.line.troubles.extend(self.chance.choices(trouble, [6, 3, 1, 1, 1, 1], k=2))
        self.counts["rounds"] += 1
        self.world.payer.run_once()
        if self.chance.random() < 0.6:
            self.world.deliver()

    def _crash(self) -> None:
        """A round that ends in the midst; the next payer remembers nothing."""
        left = self.chance.randint(1, 30)

        def step(name: str) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise Crashed(name)

        self.world.step = step
        try:
            self._pay()
        except Crashed as crash:
            self.counts["crashes"] += 1
            self.counts[f"crash: {crash}"] += 1
            self.world.payer = self.world.start_payer()
        finally:
            self.world.step = lambda name: None

    def _request(self) -> None:
        user = self.chance.choice(self.users)
        available = self.world.till.balance(user)[0]
        amount = self.chance.randint(doge(1), doge(120))
        if user in self.frozen or available < amount + doge(1) or self._shortfall(user):
            return
        address = self.world.elsewhere(p2sh=self.chance.random() < 0.3)
        withdrawal = self.world.request(amount / doge(1), user, address)
        self.asked[withdrawal] = (address, round(amount / doge(1) * doge(1)), user)
        self.counts["requests"] += 1

    def _shortfall(self, user: str) -> bool:
        return bool(self.world.till.value("SELECT shortfall FROM wallets WHERE user_id = %s", user))

    def _cancel(self) -> None:
        if not self.asked:
            return
        withdrawal = self.chance.choice(list(self.asked))
        if self.world.cancel(withdrawal, self.asked[withdrawal][2]) == "accepted":
            self.cancelled.add(withdrawal)
            self.counts["cancels"] += 1

    def _deliver(self) -> None:
        self.world.deliver(self.chance.randint(1, 8), forget=self.chance.random() < 0.2)

    def _mine(self) -> None:
        if self.chance.random() < 0.5:
            self.world.mine(self.chance.randint(1, 4))
            return
        try:
            self.world.node.mine(plan=self._plan())
        except (BadBlock, NotMalleable):
            return
        self.world.follower.follow()

    def _plan(self) -> Plan:
        """A block that leaves some out and writes others differently."""
        waiting = sorted(self.world.node.pool.entries)
        left_out = {txid for txid in waiting if self.chance.random() < 0.4}
        twisted = {txid for txid in waiting if txid not in left_out and self.chance.random() < 0.4}
        self.counts["malleated"] += len(twisted)
        return Plan(leave_out=left_out, malleate=twisted)

    def _reorganise(self) -> None:
        depth = self.chance.randint(1, DEPTH_MAX)
        plans = [self._plan() for _ in range(depth + 1)]
        self._branch(depth, plans, ())

    def _branch(self, depth: int, plans: Iterable[Plan], drop: Iterable[str]) -> bool:
        try:
            self.world.node.reorganise(depth, list(plans), drop=set(drop))
        except (BadBlock, NotMalleable):
            return False
        self.counts["reorganisations"] += 1
        # Now and then the payer looks before the follower did.
        if self.chance.random() < 0.3:
            self.world.payer.run_once()
        self.world.follower.follow()
        return True

    def _lose_deposit(self) -> None:
        """A deposit falls out of the chain, and may be double-spent by whoever made it."""
        txid = self.chance.choice(list(self.deposits))
        depth = self.chance.randint(3, DEPTH_MAX)
        lost = Plan(leave_out={txid})
        if self._branch(depth, [lost] * (depth + 1), {txid}) and self.chance.random() < 0.6:
            self.counts["double spends"] += 1
            self.world.node.pay(script_of_address(self.world.elsewhere(), NETWORK), doge(1))

    def _hurry(self) -> None:
        """Time passes: what was sent is late."""
        self.world.hurry(bump_seconds=0.0, rebroadcast_seconds=0.0)
        self._pay()
        self.world.hurry(bump_seconds=3600.0, rebroadcast_seconds=600.0)

    def _forget(self) -> None:
        """The node starts anew, or drops what is old."""
        waiting = sorted(self.world.node.pool.entries)
        if waiting:
            self.world.node.drop(self.chance.choice(waiting))

    def _freeze(self) -> None:
        user = self.chance.choice(self.users)
        frozen = user in self.frozen
        self.world.till.apply(
            self.world.till.put(UnfreezeWallet() if frozen else FreezeWallet(reason="x"), user)
        )
        self.frozen.symmetric_difference_update({user})

    # ------------------------------------------------------------------ the end

    def _drain(self) -> None:
        """No more trouble: what can come back does, the owners add coins, and all gets deep."""
        for user in sorted(self.frozen):
            self.world.till.do(UnfreezeWallet(), user)
        for carried in self.deposits.values():
            try:
                self.world.node.send(carried)
            except (AlreadyInChain, Refused, MissingInputs):
                continue
        self._refill()
        self.world.settle_all()

    def _refill(self) -> None:
        world, amount = self.world, doge(5000)
        address = world.keyring.first.address(CHANGE_CHAIN, 100_000)
        payload = decode_address(address)
        assert payload is not None
        world.follower.watch_change(payload[1:], address, world.keyring.first.fingerprint, 100_000)
        world.node.pay(script_of_address(address, NETWORK), amount)
        world.till.do(Fund(amount=amount))
        world.mine(2)

    # ------------------------------------------------------------------ the proof

    def _check_running(self) -> None:
        """At any moment: no withdrawal is on the chain twice, and none that was cancelled."""
        paid = self.world.follower.paid()
        for withdrawal, (address, amount, _) in self.asked.items():
            on_chain = paid.get(address, 0)
            assert on_chain in (0, amount), f"seed {self.seed}: {withdrawal} is paid {on_chain}"
            assert not (on_chain and withdrawal in self.cancelled), (
                f"seed {self.seed}: {withdrawal} is cancelled and paid"
            )

    def _check(self) -> None:
        self._check_running()
        paid = self.world.follower.paid()
        debited = 0
        for withdrawal, (address, amount, _) in self.asked.items():
            status, _, reason = self.world.withdrawal(withdrawal)
            self.counts[status if reason is None else f"{status} {reason[:10]}"] += 1
            on_chain = paid.get(address, 0)
            assert on_chain == (amount if status == "CONFIRMED" else 0), (
                f"seed {self.seed}: {withdrawal} is {status}, and {on_chain} of {amount} is paid"
            )
            assert status in ("CONFIRMED", "FAILED") or (
                status == "PENDING" and self._shortfall(self.asked[withdrawal][2])
            ), f"seed {self.seed}: {withdrawal} is {status} at the end"
            debited += amount if status == "CONFIRMED" else 0
        self._check_books(debited)
        self._count()
        self.world.till.audit()

    def _check_books(self, debited: int) -> None:
        till, label = self.world.till, f"seed {self.seed}"
        in_ledger = till.value(
            "SELECT coalesce(sum(credit) - sum(debit), 0)::bigint FROM entries"
            " WHERE account = 'chain' AND reference_type = 'withdrawal'"
        )
        assert in_ledger == debited, f"{label}: ledger says {in_ledger}, chain {debited}"
        left = till.rows("SELECT txid, vout, payout_id FROM reservations")
        assert not left, f"{label}: {left} are still reserved"
        open_payouts = till.rows(
            "SELECT id, status FROM payouts WHERE status NOT IN ('confirmed', 'failed')"
        )
        assert not open_payouts, f"{label}: {open_payouts} are open"
        coins = till.value(
            "SELECT coalesce(sum(amount), 0)::bigint FROM coins c WHERE height IS NOT NULL"
            " AND NOT EXISTS (SELECT FROM spends x WHERE x.txid = c.txid AND x.vout = c.vout)"
        )
        held = till.value(
            "SELECT coalesce(sum(debit) - sum(credit), 0)::bigint FROM entries"
            " WHERE account = 'chain'"
        )
        assert coins == held, f"{label}: {coins} on chain, {held} in the books"
        look_at_refusals(self.world.payer.office)
        refused = [ring for ring in self.world.bells.rung if ring[0] == "command-refused"]
        assert not refused, f"{label}: {refused}"

    def _count(self) -> None:
        till = self.world.till
        self.counts["payouts"] += till.value("SELECT count(*) FROM payouts")
        self.counts["versions"] += till.value("SELECT count(*) FROM payout_versions")
        self.counts["unconfirmed"] += till.value(
            "SELECT count(*) FROM payer_outbox WHERE type = 'unconfirm_withdrawal'"
        )
        self.counts["twins adopted"] += till.value(
            "SELECT count(*) FROM payouts p WHERE confirmed_txid IS NOT NULL AND NOT EXISTS"
            " (SELECT FROM payout_versions v WHERE v.txid = p.confirmed_txid)"
        )
        for (answer,) in till.rows("SELECT last_answer FROM payout_versions"):
            self.counts[f"answer: {str(answer).partition(':')[0]}"] += 1


#: Everything but the rules and the house's wallet.
_EMPTIED: Final = """
    entries commands dead_letters deposit_addresses address_counters deposits withdrawals escrows
    locks network_fees partitions batch_slices batches outbox chain_state blocks watched_scripts
    coins spenders spends receipts watcher_outbox change_counters payout_versions reservations
    claims payouts payer_outbox
""".split()  # noqa: SIM905 - as readable


class Field:
    """One database that plays are given on, each of which finds it empty."""

    def __init__(self, database: Database) -> None:
        self.sessions = Sessions(prepared(database))
        self._cleaning = connect(database.superuser_url, application_name="test", autocommit=True)
        self._cleaning.execute("SET session_replication_role = replica")
        self._cleaning.execute("SET synchronous_commit = off")

    def world(self) -> World:
        """A world on empty tables, which no service may empty: a new database takes longer."""
        statements = (
            *(f"DELETE FROM {table}" for table in _EMPTIED),
            "DELETE FROM wallets WHERE user_id::text NOT LIKE '00000000-0000-%'",
            "UPDATE wallets SET version = 0, sequence = 0, time = to_timestamp(0)",
        )
        self._cleaning.execute("; ".join(statements))
        return World(self.sessions)

    def play(self, seed: int) -> Counter[str]:
        """Play one seed."""
        world = self.world()
        try:
            return Run(world, seed).play()
        finally:
            world.close()

    def close(self) -> None:
        """Let go of the database."""
        self.sessions.close()
        self._cleaning.close()


@contextmanager
def field_on(databases: Databases) -> Iterator[Field]:
    """A field on a database of its own."""
    database = databases.fresh()
    field = Field(database)
    try:
        yield field
    finally:
        field.close()
        databases.drop(database.name)
        databases.made.remove(database.name)


def hold(field: Field, seeds: range) -> None:
    """Play seeds; fails where one does not hold, or where trouble never came."""
    counts: Counter[str] = Counter()
    for seed in seeds:
        counts += field.play(seed)
    print(f"\nseeds {seeds.start} to {seeds.stop - 1}\n{table(counts, len(seeds))}")
    # Trouble that never comes proves nothing.
    for name in ("CONFIRMED", "FAILED cancelled", "crashes", "reorganisations", "malleated"):
        assert counts[name], f"no {name} in {seeds}"
    assert counts["versions"] > counts["payouts"], "nothing was replaced"


def table(counts: Counter[str], runs: int) -> str:
    """What all runs met, as a table."""
    lines = [f"{'runs':32}{runs:>10}"]
    lines += [f"{name:32}{count:>10}" for name, count in sorted(counts.items())]
    return "\n".join(lines)
