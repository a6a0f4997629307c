"""What the chain says of a payout: paid, on its way, in a conflict, or beyond hope. Pure.

Whether a payout is paid is read from who spent its coins, never from a txid: without SegWit a
third party can change the txid of a transaction of ours, and not its outputs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import NamedTuple

Outpoint = tuple[str, int]


class Try(NamedTuple):
    """One version of the transaction: what it spends, and how it is known once it is signed."""

    version: int
    inputs: frozenset[Outpoint]
    txid: str | None
    outputs_hash: bytes | None

    @property
    def signed(self) -> bool:
        """Whether it may have been sent."""
        return self.txid is not None


class Spend(NamedTuple):
    """An outpoint that is spent on the active chain."""

    outpoint: Outpoint
    spender_txid: str
    outputs_hash: bytes
    height: int


class Waiting(NamedTuple):
    """No version is in a block."""


class Mined(NamedTuple):
    """A version is in a block, not deeply enough yet."""

    txid: str
    confirmations: int


class Paid(NamedTuple):
    """A version, or a malleated twin of it, is as deep as is asked."""

    version: int
    txid: str


class Threatened(NamedTuple):
    """Coins of the newest signed version were spent by a transaction that is none of ours."""

    txids: tuple[str, ...]
    confirmations: int


class Dead(NamedTuple):
    """No signed version can confirm any more; ``cause`` names what won."""

    cause: str


class Void(NamedTuple):
    """Nothing was signed yet, and a coin is gone: begin again with others."""

    outpoint: Outpoint


Judgement = Waiting | Mined | Paid | Threatened | Dead | Void


class Depths(NamedTuple):
    """The tip's height, and the confirmations that settle a payment and a conflict."""

    tip: int
    paid: int
    conflict: int

    def confirmations(self, height: int) -> int:
        """The tip's own block counts as one."""
        return self.tip - height + 1


def judge(
    tries: Sequence[Try],
    spends: Sequence[Spend],
    adrift: Collection[Outpoint],
    buried: Collection[Outpoint],
    depths: Depths,
) -> Judgement:
    """Judge a payout by its versions and by who spent its coins.

    ``adrift`` are inputs whose own transaction is in no block; ``buried`` those of them that can
    never be in one again, because an ancestor of theirs lost to a conflict that is deep enough.
    """
    ours = _won(tries, spends)
    if ours is not None:
        winner, spend = ours
        confirmations = depths.confirmations(spend.height)
        if confirmations >= depths.paid:
            return Paid(winner.version, spend.spender_txid)
        return Mined(spend.spender_txid, confirmations)
    signed = [each for each in tries if each.signed]
    if not signed:
        return _unsigned(tries, spends, adrift)
    final = {s.outpoint for s in spends if depths.confirmations(s.height) >= depths.conflict}
    dead = final | set(buried)
    if all(each.inputs & dead for each in signed):
        winners = sorted({s.spender_txid for s in spends if s.outpoint in final})
        return Dead(f"conflict with {', '.join(winners)}" if winners else "an ancestor is dead")
    taken = {spend.outpoint for spend in spends}
    if spends and signed[-1].inputs & taken:
        deepest = max(depths.confirmations(s.height) for s in spends)
        return Threatened(tuple(sorted({s.spender_txid for s in spends})), deepest)
    return Waiting()


class Standing(NamedTuple):
    """The signed versions that could still confirm, and the outpoints that no new one may spend."""

    versions: tuple[int, ...]
    gone: frozenset[Outpoint]


def standing(
    tries: Sequence[Try],
    spends: Sequence[Spend],
    adrift: Collection[Outpoint],
    buried: Collection[Outpoint],
    depths: Depths,
) -> Standing:
    """What a new version must keep an input in common with, and what it cannot spend.

    Whichever of two versions with a common input wins, the other never can.
    """
    final = {s.outpoint for s in spends if depths.confirmations(s.height) >= depths.conflict}
    dead = final | set(buried)
    could_confirm = tuple(t.version for t in tries if t.signed and not t.inputs & dead)
    return Standing(could_confirm, frozenset(adrift) | {s.outpoint for s in spends})


def _won(tries: Sequence[Try], spends: Sequence[Spend]) -> tuple[Try, Spend] | None:
    """The version that is in a block, and where."""
    for spend in spends:
        for each in tries:
            if each.signed and spend.outpoint in each.inputs and spend.spender_txid == each.txid:
                return each, spend
    spent_by: dict[str, set[Outpoint]] = defaultdict(set)
    for spend in spends:
        spent_by[spend.spender_txid].add(spend.outpoint)
    for spend in spends:
        twins = [
            each
            for each in tries
            if spend.outpoint in each.inputs and spend.outputs_hash == each.outputs_hash
        ]
        if twins:
            # Versions without change pay the same and differ in what they spend, and so in the fee.
            spent = spent_by[spend.spender_txid]
            return min(twins, key=lambda each: len(each.inputs ^ spent)), spend
    return None


def _unsigned(
    tries: Sequence[Try], spends: Sequence[Spend], adrift: Collection[Outpoint]
) -> Judgement:
    wanted = {outpoint for each in tries for outpoint in each.inputs}
    lost = sorted(wanted & ({s.outpoint for s in spends} | set(adrift)))
    return Void(lost[0]) if lost else Waiting()
