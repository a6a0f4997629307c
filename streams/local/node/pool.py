"""The mempool: transactions that wait for a block, and how they hang together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from streams.local.node.blocks import Carried
from streams.local.node.store import Coin, Outpoint, Store


@dataclass(frozen=True)
class Waiting:
    """One of them; fee in koinu, size in bytes, time in seconds since 1970."""

    carried: Carried
    fee: int
    time: int
    #: The tip's height when it came.
    height: int
    arrival: int

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.carried.raw)

    @property
    def txid(self) -> str:
        """Its name."""
        return self.carried.txid


class Pool:
    """What waits, by txid, in the order of arrival."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.entries: dict[str, Waiting] = {}
        #: What is spent by what waits.
        self.spenders: dict[Outpoint, str] = {}
        self.load()

    def load(self) -> None:
        """Read again what is kept: at the start, and after a step that was taken back."""
        self.entries.clear()
        self.spenders.clear()
        for arrival, raw, fee, time, height in self._store.pool_rows():
            self._link(Waiting(Carried(raw), fee, time, height, arrival))

    def add(self, carried: Carried, *, fee: int, time: int, height: int) -> Waiting:
        """Let a transaction wait that was found in order."""
        arrival = self._store.pool_add(carried.raw, fee, time, height)
        waiting = Waiting(carried, fee, time, height, arrival)
        self._link(waiting)
        return waiting

    def remove(self, txid: str) -> None:
        """Forget one, and leave those that spend from it."""
        waiting = self.entries.pop(txid)
        for each in waiting.carried.body.inputs:
            if self.spenders.get((each.txid, each.vout)) == txid:
                del self.spenders[each.txid, each.vout]
        self._store.pool_remove(waiting.arrival)

    def remove_all(self, txids: Iterable[str]) -> None:
        """Forget some, and all that spend from them."""
        doomed = {each for txid in txids for each in (txid, *self.descendants(txid))}
        for each in doomed:
            self.remove(each)

    def coin(self, outpoint: Outpoint, height: int) -> Coin | None:
        """An output of something that waits, as if it were mined at ``height``."""
        waiting = self.entries.get(outpoint[0])
        outputs = () if waiting is None else waiting.carried.body.outputs
        if not outpoint[1] < len(outputs):
            return None
        return Coin(*outputs[outpoint[1]], height, False)

    def conflicts(self, carried: Carried) -> set[str]:
        """What waits already and spends an input of this one's."""
        found = {self.spenders.get((each.txid, each.vout)) for each in carried.body.inputs}
        return {txid for txid in found if txid is not None and txid != carried.txid}

    def parents(self, carried: Carried) -> list[str]:
        """What it spends from and waits as well."""
        found = dict.fromkeys(each.txid for each in carried.body.inputs)
        return [txid for txid in found if txid in self.entries]

    def children(self, txid: str) -> list[str]:
        """What spends from it directly."""
        outputs = range(len(self.entries[txid].carried.body.outputs))
        found = dict.fromkeys(self.spenders.get((txid, vout)) for vout in outputs)
        return [txid for txid in found if txid is not None]

    def ancestors(self, carried: Carried) -> list[str]:
        """All that must be in the chain before it can be, the farthest first."""
        found: dict[str, None] = {}

        def visit(txid: str) -> None:
            if txid not in found:
                for parent in self.parents(self.entries[txid].carried):
                    visit(parent)
                found[txid] = None

        for parent in self.parents(carried):
            visit(parent)
        return list(found)

    def descendants(self, txid: str) -> list[str]:
        """All that cannot be in the chain without it."""
        found: dict[str, None] = {}
        left = list(self.children(txid)) if txid in self.entries else []
        while left:
            child = left.pop()
            if child not in found:
                found[child] = None
                left.extend(self.children(child))
        return list(found)

    def expired(self, before: int) -> list[str]:
        """Those that came earlier than ``before``."""
        return [txid for txid, each in self.entries.items() if each.time < before]

    def _link(self, waiting: Waiting) -> None:
        self.entries[waiting.txid] = waiting
        for each in waiting.carried.body.inputs:
            self.spenders[each.txid, each.vout] = waiting.txid
