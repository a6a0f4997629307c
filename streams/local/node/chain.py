"""The chain in force: which blocks, which coins; blocks are checked when they join it."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Final

from processors.dogecoin.transactions import MONEY_MAX
from streams.local.node.blocks import Block, Carried, genesis, push_number
from streams.local.node.interpreter import ScriptFailed, verify_input
from streams.local.node.rules import BLOCK_SIZE_LIMIT, Rules
from streams.local.node.store import Coin, Outpoint, Place, Spent, Store

#: Blocks whose times make the median that a new block must be later than.
_MEDIAN_BLOCKS: Final = 11
_LOCKTIME_IS_TIME: Final = 500_000_000
_FINAL: Final = 0xFFFFFFFF
#: Transactions whose scripts are known to hold, so that a block need not check them again.
_CHECKED_MAX: Final = 100_000


class BadBlock(Exception):
    """A block that cannot be part of the chain; the text is Core's reason."""


@dataclass
class Moved:
    """What a change of the tip undid and added, each in the order in which it happened."""

    undone: list[Block] = field(default_factory=list)
    done: list[Block] = field(default_factory=list)


class Chain:
    """Follows the highest block that nothing is held against. For one thread at a time."""

    def __init__(self, store: Store, rules: Rules) -> None:
        self.store = store
        self.rules = rules
        self._checked: set[str] = set()
        if store.height() < 0:
            first = genesis(rules)
            with store.together():
                store.add_block(first, 0)
                # Its coins cannot be spent, as in Core: they never get into the set.
                store.extend(first.hash, 0, [])

    @property
    def height(self) -> int:
        """Of the tip."""
        return self.store.height()

    @property
    def tip(self) -> str:
        """The tip's hash."""
        tip = self.store.hash_at(self.height)
        assert tip is not None
        return tip

    def contains(self, place: Place) -> bool:
        """Whether a block is part of the chain in force."""
        return self.store.hash_at(place.height) == place.hash

    def confirmations(self, place: Place) -> int:
        """As Core counts: -1 for a block that is not in force."""
        return self.height - place.height + 1 if self.contains(place) else -1

    def median_time(self, height: int) -> int:
        """The median of the times of the blocks up to ``height``."""
        headers = self.store.times_before(height, _MEDIAN_BLOCKS)
        return int(statistics.median_high([header.time for header in headers]))

    def median_time_of(self, place: Place) -> int:
        """The same for any block, on the chain or not."""
        times = [place.header.time]
        while len(times) < _MEDIAN_BLOCKS and place.height:
            before = self.store.place(place.previous)
            assert before is not None
            place = before
            times.append(place.header.time)
        return int(statistics.median_high(times))

    def checked(self, txid: str) -> None:
        """Remember that a transaction's scripts hold: the same bytes will hold again."""
        if len(self._checked) >= _CHECKED_MAX:
            self._checked.clear()
        self._checked.add(txid)

    def is_final(self, carried: Carried, height: int, time: int) -> bool:
        """Whether the lock time lets it into a block of this height and time (IsFinalTx)."""
        body = carried.body
        limit = height if body.locktime < _LOCKTIME_IS_TIME else time
        return body.locktime < limit or all(each.sequence == _FINAL for each in body.inputs)

    def add(self, block: Block) -> None:
        """Keep a block whose form is right, without following it yet; raises ``BadBlock``."""
        previous = self.store.place(block.header.previous)
        if self.store.place(block.hash) is not None:
            raise BadBlock("duplicate")
        if previous is None:
            raise BadBlock("prev-blk-not-found")
        if previous.invalid:
            raise BadBlock("bad-prevblk")
        if block.root() != block.header.merkle_root:
            raise BadBlock("bad-txnmrklroot")
        if len({each.txid for each in block.transactions}) != len(block.transactions):
            raise BadBlock("bad-txns-duplicate")
        if [each.is_coinbase for each in block.transactions].count(True) != 1:
            raise BadBlock("bad-cb-multiple")
        if not block.transactions[0].is_coinbase:
            raise BadBlock("bad-cb-missing")
        height = previous.height + 1
        script_sig = block.transactions[0].body.inputs[0].script_sig
        if not script_sig.startswith(push_number(height)):
            raise BadBlock("bad-cb-height")
        if len(block.serialize()) > BLOCK_SIZE_LIMIT:
            raise BadBlock("bad-blk-length")
        self.store.add_block(block, height)

    def activate(self) -> Moved:
        """Go over to the best block there is; a block that proves bad is left aside for good."""
        moved = Moved()
        with self.store.together():
            while (best := self.store.best()) != self.tip:
                path = self._path_to(best)
                while self.tip != path[0]:
                    moved.undone.append(self.undo())
                for next_hash in path[1:]:
                    block = self.store.block(next_hash)
                    try:
                        self.connect(block)
                    except BadBlock:
                        self.store.condemn(next_hash)
                        break
                    moved.done.append(block)
        return moved

    def undo(self) -> Block:
        """Take the tip off, and give back what it spent."""
        block = self.store.block(self.tip)
        spent = self.store.shorten(block.hash, self.height)
        self.store.remove_coins(
            (each.txid, vout)
            for each in block.transactions
            for vout in range(len(each.body.outputs))
        )
        # An output that was made and spent within the block belongs to nobody now.
        made = {each.txid for each in block.transactions}
        self.store.add_coins(each for each in spent if each.txid not in made)
        return block

    def connect(self, block: Block) -> None:
        """Make a kept block, which follows the tip, the tip; raises ``BadBlock``."""
        height = self.height + 1
        spent, made = self._check(block, height)
        self.store.remove_coins((each.txid, each.vout) for each in spent)
        used = {(each.txid, each.vout) for each in spent}
        self.store.add_coins(
            _spent(outpoint, coin) for outpoint, coin in made.items() if outpoint not in used
        )
        self.store.extend(block.hash, height, spent)

    def _path_to(self, hash: str) -> list[str]:
        """From the last block that is in force already up to ``hash``."""
        path = [hash]
        while True:
            place = self.store.place(path[-1])
            assert place is not None
            if self.contains(place):
                return path[::-1]
            path.append(place.previous)

    def _check(self, block: Block, height: int) -> tuple[list[Spent], dict[Outpoint, Coin]]:
        """Every rule that needs the coins; what the block spends and makes."""
        if block.header.time <= self.median_time(height - 1):
            raise BadBlock("time-too-old")
        spent: list[Spent] = []
        used: set[Outpoint] = set()
        made: dict[Outpoint, Coin] = {}
        fees = 0
        for carried in block.transactions:
            if not self.is_final(carried, height, block.header.time):
                raise BadBlock("bad-txns-nonfinal")
            if not carried.is_coinbase:
                coins = [self._take(each, height, made, used, spent) for each in _spends(carried)]
                fees += self._fee(carried, coins)
            for vout, output in enumerate(carried.body.outputs):
                if output.script[:1] != b"\x6a":
                    made[carried.txid, vout] = Coin(*output, height, carried.is_coinbase)
        created = sum(output.amount for output in block.transactions[0].body.outputs)
        if created > self.rules.subsidy(height) + fees:
            raise BadBlock("bad-cb-amount")
        return spent, made

    def _take(
        self,
        outpoint: Outpoint,
        height: int,
        made: dict[Outpoint, Coin],
        used: set[Outpoint],
        spent: list[Spent],
    ) -> Coin:
        coin = made.get(outpoint) or self.store.coin(outpoint)
        if coin is None or outpoint in used:
            raise BadBlock("bad-txns-inputs-missingorspent")
        if coin.coinbase and height - coin.height < self.rules.maturity:
            raise BadBlock("bad-txns-premature-spend-of-coinbase")
        used.add(outpoint)
        spent.append(_spent(outpoint, coin))
        return coin

    def _fee(self, carried: Carried, coins: list[Coin]) -> int:
        taken = sum(coin.amount for coin in coins)
        paid = sum(output.amount for output in carried.body.outputs)
        if paid > taken or taken > MONEY_MAX:
            raise BadBlock("bad-txns-in-belowout")
        if carried.txid not in self._checked:
            try:
                for index, coin in enumerate(coins):
                    verify_input(carried.body, index, coin.script, standard=False)
            except ScriptFailed as error:
                raise BadBlock(f"mandatory-script-verify-flag-failed ({error})") from None
            self.checked(carried.txid)
        return taken - paid


def _spends(carried: Carried) -> list[Outpoint]:
    return [(each.txid, each.vout) for each in carried.body.inputs]


def _spent(outpoint: Outpoint, coin: Coin) -> Spent:
    return Spent(*outpoint, coin.amount, coin.script, coin.height, coin.coinbase)
