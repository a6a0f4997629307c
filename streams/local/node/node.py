"""One node: chain, mempool, miner and clock under one lock, on disk or in memory.

A test may use it without the wire: every call is one step that others see whole.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from processors.dogecoin.transactions import Output
from streams.local.node.admission import Door, MissingInputs, Refused
from streams.local.node.blocks import Block, Carried
from streams.local.node.chain import BadBlock, Chain, Moved
from streams.local.node.faults import Faults
from streams.local.node.miner import Miner
from streams.local.node.mining import Plan, as_planned, put_together, select
from streams.local.node.pool import Pool, Waiting
from streams.local.node.rules import FEE_ABSURD, Rules
from streams.local.node.store import Coin, Outpoint, Store

CHAIN_FILE: Final = "chain.sqlite"
#: Most blocks that a faucet mines for one payment.
_FAUCET_BLOCKS_MAX: Final = 2_000


class AlreadyInChain(Exception):
    """The transaction is mined, and something of it is unspent."""


class UnknownBlock(Exception):
    """No block of that name was ever seen."""


class NoCoins(Exception):
    """The miner has not enough, and mining more does not help."""


class Node:
    """A node under ``home``, or in memory; it survives a kill at any moment."""

    def __init__(self, home: Path | None, rules: Rules) -> None:
        if home is not None:
            home.mkdir(parents=True, exist_ok=True)
        self.lock = threading.RLock()
        self.rules = rules
        self.store = Store(None if home is None else home / CHAIN_FILE)
        self.chain = Chain(self.store, rules)
        self.pool = Pool(self.store)
        self.miner = Miner.of(home, rules.network)
        self.faults = Faults()
        #: Set by ``setmocktime``; 0 for the real time.
        self.mock_time = 0
        #: What getblockchaininfo says of itself.
        self.downloading = False
        #: Whether the regular miner rests: a node whose tip is stuck.
        self.stuck = False
        #: Not mined until they are let go.
        self.held: set[str] = set()
        self._door = Door(self.chain, self.pool, rules)

    def close(self) -> None:
        """Let go of the file."""
        self.store.close()

    def now(self) -> int:
        """Seconds since 1970, by the node's clock."""
        return self.mock_time or int(time.time())

    # Transactions

    def send(self, carried: Carried, *, allow_high_fees: bool = False) -> str:
        """Take a transaction into the mempool, as sendrawtransaction does; its txid.

        One that waits already is welcome again. Raises ``AlreadyInChain``, ``Refused`` and
        ``MissingInputs``.
        """
        with self.lock:
            with self._step():
                self.expire()
            if carried.txid in self.pool.entries:
                return carried.txid
            if self.store.has_coins(carried.txid):
                raise AlreadyInChain
            admitted = self._door.admit(carried, fee_max=None if allow_high_fees else FEE_ABSURD)
            with self._step():
                for txid in admitted.replaced:
                    self.pool.remove(txid)
                self._wait(carried, admitted.fee, self.now())
            return carried.txid

    def expire(self) -> None:
        """Forget what has waited for too long, with all that hangs on it."""
        self.pool.remove_all(self.pool.expired(self.now() - self.rules.expiry_seconds))

    def drop(self, txid: str) -> list[str]:
        """Forget a waiting transaction and what hangs on it, as a node does that starts anew."""
        with self._step():
            gone = [txid, *self.pool.descendants(txid)]
            self.pool.remove_all([txid])
            return gone

    # Blocks

    def mine(self, script: bytes | None = None, plan: Plan | None = None) -> str:
        """Mine one block whose reward goes to ``script`` (the miner's own); its hash.

        Raises ``BadBlock`` if the plan makes none that the chain would take.
        """
        with self._step():
            self.expire()
            block = self._assemble(script, plan or Plan())
            self.chain.add(block)
            self._follow(self.chain.activate())
            if self.chain.tip != block.hash:
                raise BadBlock("the block is not valid")
            return block.hash

    def submit(self, block: Block) -> None:
        """Take a block from elsewhere, and follow it if it is best; raises ``BadBlock``."""
        with self._step():
            self.chain.add(block)
            self._follow(self.chain.activate())
            place = self.store.place(block.hash)
            assert place is not None
            if place.invalid:
                raise BadBlock("the block is not valid")

    def invalidate(self, block_hash: str) -> None:
        """Hold it against a block, and leave it for the best other one."""
        with self._step():
            self._known(block_hash)
            self.store.condemn(block_hash)
            self._follow(self.chain.activate())

    def reconsider(self, block_hash: str) -> None:
        """Hold nothing against a block any longer."""
        with self._step():
            self._known(block_hash)
            self.store.pardon(block_hash)
            self._follow(self.chain.activate())

    def reorganise(
        self,
        depth: int,
        plans: Sequence[Plan],
        *,
        drop: Collection[str] = (),
        script: bytes | None = None,
    ) -> list[str]:
        """Another branch, from ``depth`` blocks below the tip, of one block a plan; its hashes.

        To everyone outside it comes at once, as a branch does that another miner held back. It is
        followed if it is longer. Transactions that it leaves out wait in the mempool, except for
        those in ``drop``. Raises ``BadBlock``; nothing has changed then.
        """
        with self._step():
            if not 0 <= depth <= self.chain.height:
                raise BadBlock(f"the chain is only {self.chain.height} blocks high")
            moved = Moved(undone=[self.chain.undo() for _ in range(depth)])
            self._follow(moved)
            self.pool.remove_all([txid for txid in drop if txid in self.pool.entries])
            made = []
            for plan in plans:
                block = self._assemble(script, plan)
                self.chain.add(block)
                self.chain.connect(block)
                self._follow(Moved(done=[block]))
                made.append(block.hash)
            self._follow(self.chain.activate())
            return made

    # The faucet

    def pay(self, script: bytes, amount: int) -> str:
        """Pay koinu from the miner's purse, mining until it has enough; the txid."""
        with self.lock:
            for _ in range(_FAUCET_BLOCKS_MAX):
                carried = self.miner.pay(self._purse(), script, amount, self.rules)
                if carried is not None:
                    return self.send(carried)
                self.mine()
        raise NoCoins

    def _purse(self) -> list[tuple[Outpoint, Coin]]:
        """What the miner may spend in the next block, and has not spent yet."""
        ripe = self.chain.height + 1 - self.rules.maturity
        return [
            (outpoint, coin)
            for outpoint, coin in self.store.coins_of(self.miner.script)
            if outpoint not in self.pool.spenders and (not coin.coinbase or coin.height <= ripe)
        ]

    # Inside

    @contextmanager
    def _step(self) -> Iterator[None]:
        """Whole, or not at all."""
        with self.lock:
            try:
                with self.store.together():
                    yield
            except BaseException:
                # The store has forgotten the step; so must what is in memory.
                self.pool.load()
                raise

    def _known(self, block_hash: str) -> None:
        if self.store.place(block_hash) is None:
            raise UnknownBlock

    def _assemble(self, script: bytes | None, plan: Plan) -> Block:
        height = self.chain.height + 1
        extra = self.store.note("extra") + 1
        self.store.keep("extra", extra)
        plan = self._with_held(plan)
        chosen = select(self.pool, self.rules, plan)
        fees = sum(fee for _, fee in chosen)
        reward = Output(
            self.rules.subsidy(height) + fees, self.miner.script if script is None else script
        )
        return put_together(
            previous=self.chain.tip,
            height=height,
            time=max(self.now(), self.chain.median_time(height - 1) + 1),
            extra=extra,
            reward=reward,
            carried=[*plan.strangers, *(as_planned(carried, plan) for carried, _ in chosen)],
            rules=self.rules,
        )

    def _with_held(self, plan: Plan) -> Plan:
        return Plan(
            txids=plan.txids,
            leave_out={*plan.leave_out, *self.held},
            malleate=plan.malleate,
            strangers=plan.strangers,
        )

    def _wait(self, carried: Carried, fee: int, now: int) -> None:
        self.pool.add(carried, fee=fee, time=now, height=self.chain.height)

    def _follow(self, moved: Moved) -> None:
        """Make the mempool fit the chain after it moved."""
        # A branch that proved bad halfway may have been gone up and down.
        gone = [*moved.undone, *moved.done]
        undone = [block for block in gone if not self._in_force(block)]
        for block in moved.done:
            if self._in_force(block):
                for carried in block.transactions:
                    self._confirm(carried)
        if undone:
            self._refill(undone)

    def _in_force(self, block: Block) -> bool:
        place = self.store.place(block.hash)
        return place is not None and self.chain.contains(place)

    def _confirm(self, carried: Carried) -> None:
        """A transaction is mined: neither it nor what it contradicts waits any longer."""
        if carried.is_coinbase:
            return
        if carried.txid in self.pool.entries:
            self.pool.remove(carried.txid)
        self.pool.remove_all(self.pool.conflicts(carried))

    def _refill(self, undone: Iterable[Block]) -> None:
        """Let undone transactions wait again, lowest block first, then all that waited on them."""
        waited = list(self.pool.entries.values())
        for waiting in waited:
            self.pool.remove(waiting.txid)
        for block in {block.hash: block for block in reversed(list(undone))}.values():
            for carried in block.transactions:
                self._again(carried)
        for waiting in waited:
            self._still(waiting)

    def _again(self, carried: Carried) -> None:
        """As Core: by the same door as ever, so that what was mined against policy is lost."""
        if carried.is_coinbase or self._mined(carried.txid):
            return
        try:
            admitted = self._door.admit(carried, fee_max=None)
        except (Refused, MissingInputs):
            return
        self._wait(carried, admitted.fee, self.now())

    def _still(self, waiting: Waiting) -> None:
        """What waited already is asked no more than whether its coins are there."""
        if waiting.txid in self.pool.entries or self._mined(waiting.txid):
            return
        try:
            self._door.check_maturity(self._door.coins(waiting.carried))
        except (Refused, MissingInputs):
            return
        if not self.pool.conflicts(waiting.carried):
            self._wait(waiting.carried, waiting.fee, waiting.time)

    def _mined(self, txid: str) -> bool:
        places = map(self.store.place, self.store.blocks_with(txid))
        return any(place is not None and self.chain.contains(place) for place in places)
