"""What a marketplace asks of the wallet, made from a seed: the same seed asks the same, in order.

A plan needs no answers, only the ids of what it made. It knows each command's outcome beforehand,
however the three topics interleave, since it never counts on money that could come late: bids and
orders spend what their own topic has left, withdrawals a reserve that nothing else touches.
"""

from __future__ import annotations

import random
from bisect import bisect
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

from schemas.amounts import KOINU_MAX
from schemas.commands import TOPIC_OF, CommandType
from schemas.rejections import Rejection
from schemas.samples import BUYER, WRECKS
from streams.loadgen.pieces import (
    ACCEPTED,
    DOGE,
    REPLAYED,
    Bid,
    Order,
    Payout,
    Planned,
    Player,
    Shares,
    Thing,
    Wreckage,
)

#: The mix, in thousandths of the commands. A third of a percent more or less, since what cannot be
#: done at the moment (nothing is locked yet) gives way to a lock.
MIX: Final = {
    CommandType.LOCK_FUNDS: 450,
    CommandType.UNLOCK_FUNDS: 250,
    CommandType.CONVERT_TO_ESCROW: 80,
    CommandType.PAY_ORDER: 40,
    CommandType.RELEASE_ESCROW: 90,
    CommandType.REFUND_ESCROW: 20,
    CommandType.PROCESS_DEPOSIT: 50,
    CommandType.REQUEST_WITHDRAWAL: 20,
}
#: What comes on top where somebody waits for outcomes: each of these follows a command of another
#: topic, so nothing but its committed outcome says that it may be sent.
FOLLOW_UPS: Final = {
    CommandType.DISPUTE_ESCROW: 5,
    CommandType.RESOLVE_DISPUTE: 5,
    CommandType.CANCEL_WITHDRAWAL: 5,
    CommandType.CLAIM_WITHDRAWAL: 14,
    CommandType.RECORD_BROADCAST: 12,
    CommandType.CONFIRM_WITHDRAWAL: 10,
    CommandType.FAIL_WITHDRAWAL: 2,
}

#: What a payer does for real, where there is one.
PAYOUTS: Final = frozenset(
    {
        CommandType.REQUEST_WITHDRAWAL,
        CommandType.CANCEL_WITHDRAWAL,
        CommandType.CLAIM_WITHDRAWAL,
        CommandType.RECORD_BROADCAST,
        CommandType.CONFIRM_WITHDRAWAL,
        CommandType.FAIL_WITHDRAWAL,
    }
)

#: More than all users together own.
_FAR_TOO_MUCH: Final = KOINU_MAX // 2
#: Of the locks, that many thousandths raise a bid that stands.
_RAISES: Final = 260
#: Open escrows and withdrawals, at most; then they are closed rather than opened.
_OPEN_MAX: Final = 20_000
#: A duplicate is of one of the last so many commands.
_RECENT: Final = 512
#: Of the duplicates, that many thousandths ask for something else under the same key.
_REUSED: Final = 200

#: What a wreck is made of; ``MISPLACED`` would need another partition, and what is
#: ``UNPROCESSABLE`` only the database knows.
_WRECKS: Final = tuple(
    (code, wreck)
    for code, wreck in WRECKS.items()
    if code not in (Rejection.MISPLACED, Rejection.UNPROCESSABLE)
)


_Move = Callable[[], Planned]


@dataclass(slots=True)
class _Open:
    """What stands open in the market."""

    bids: list[Bid] = field(default_factory=list)
    #: Oldest first, so that the id of what was made is known when it is needed.
    orders: deque[Order] = field(default_factory=deque)
    disputed: deque[Order] = field(default_factory=deque)
    requested: deque[Payout] = field(default_factory=deque)
    claimed: deque[Payout] = field(default_factory=deque)
    broadcast: deque[Payout] = field(default_factory=deque)


class Market:
    """Draws one command after another; endless.

    ``follow_ups`` adds the commands that need the outcome of one of another topic; without
    ``payouts`` nobody withdraws, which is for a wallet whose payer would play along. ``lag`` is how
    many orders and withdrawals are left open, so that ids are known before they are needed.
    """

    def __init__(
        self,
        seed: int,
        players: list[Player],
        shares: Shares = Shares(),  # noqa: B008 - a value, never changed
        *,
        follow_ups: bool = False,
        payouts: bool = True,
        lag: int = 0,
        withdrawal_minimum: int = 10 * DOGE,
        withdrawal_fee: int = DOGE,
    ) -> None:
        if len(players) < 2:
            raise ValueError("a market needs two users at least, a buyer and a seller")
        self._random = random.Random(seed)  # noqa: S311 - a plan, no secret
        self._players = players
        self._shares = shares
        self._lag = lag
        # Six times fewer are requested than ordered.
        self._payout_lag = lag // 6
        self._withdrawal_minimum = withdrawal_minimum
        self._withdrawal_fee = withdrawal_fee
        self._follow_ups = follow_ups
        self._open = _Open()
        self._recent: deque[Planned] = deque(maxlen=_RECENT)
        # Numbers under it are the opening's and the funding's.
        self._origin = len(players)
        mix = MIX | FOLLOW_UPS if follow_ups else MIX
        if not payouts:
            mix = {kind: weight for kind, weight in mix.items() if kind not in PAYOUTS}
        self._kinds = [self._moves()[kind] for kind in mix]
        self._steps = list(accumulate(mix.values()))

    def __iter__(self) -> Iterator[Planned | Wreckage]:
        shares = self._shares
        wrecked = shares.malformed
        repeated = wrecked + shares.duplicates
        overdrawn = repeated + shares.overdrafts
        draw, choose = self._random.random, self._random.choice
        kinds, steps, total = self._kinds, self._steps, self._steps[-1]
        while True:
            lot = draw()
            if lot < overdrawn:
                if lot < wrecked:
                    yield self._wreck(choose(self._players))
                    continue
                if lot < repeated and self._recent:
                    yield self._repeat()
                    continue
                planned = self._overdraw(choose(self._players))
            else:
                planned = kinds[bisect(steps, draw() * total)]()
            self._recent.append(planned)
            yield planned

    def _moves(self) -> dict[CommandType, _Move]:
        return {
            CommandType.LOCK_FUNDS: self._lock,
            CommandType.UNLOCK_FUNDS: self._unlock,
            CommandType.CONVERT_TO_ESCROW: self._convert,
            CommandType.PAY_ORDER: self._pay,
            CommandType.RELEASE_ESCROW: self._release,
            CommandType.REFUND_ESCROW: self._refund,
            CommandType.DISPUTE_ESCROW: self._dispute,
            CommandType.RESOLVE_DISPUTE: self._resolve,
            CommandType.PROCESS_DEPOSIT: self._deposit,
            CommandType.REQUEST_WITHDRAWAL: self._request,
            CommandType.CANCEL_WITHDRAWAL: self._cancel,
            CommandType.CLAIM_WITHDRAWAL: self._claim,
            CommandType.RECORD_BROADCAST: self._broadcast,
            CommandType.CONFIRM_WITHDRAWAL: self._confirm,
            CommandType.FAIL_WITHDRAWAL: self._fail,
        }

    def _plan(
        self,
        kind: CommandType,
        player: Player,
        amount: int = 0,
        *,
        reference_id: str = "",
        thing: Thing | None = None,
        makes: bool = False,
        rest: int = 0,
        whole: bool = False,
        expected: str = ACCEPTED,
    ) -> Planned:
        self._origin += 1
        return Planned(
            kind,
            TOPIC_OF[kind],
            player,
            self._origin,
            amount,
            expected,
            reference_id,
            thing,
            makes,
            rest,
            whole,
        )

    def _some(self, most_doge: int) -> int:
        """An amount from one DOGE up."""
        return DOGE + int(self._random.random() * (most_doge - 1) * DOGE)

    def _wreck(self, player: Player) -> Wreckage:
        code, wreck = self._random.choice(_WRECKS)
        key = (wreck.key or b"").replace(BUYER.encode(), player.key)
        value = (wreck.value or b"").replace(BUYER.encode(), player.key)
        return Wreckage(wreck.topic, player, key, value, code.value)

    def _repeat(self) -> Planned:
        first = self._random.choice(self._recent)
        if first.kind is CommandType.LOCK_FUNDS and self._random.random() * 1000 < _REUSED:
            return first._replace(amount=first.amount + 1, expected=Rejection.KEY_REUSED.value)
        return first._replace(expected=REPLAYED)

    def _overdraw(self, player: Player) -> Planned:
        return self._plan(
            CommandType.LOCK_FUNDS,
            player,
            _FAR_TOO_MUCH,
            reference_id="overdraft",
            expected=Rejection.INSUFFICIENT_FUNDS.value,
        )

    def _lock(self) -> Planned:
        bids, chance = self._open.bids, self._random
        amount = self._some(50)
        if bids and chance.random() * 1000 < _RAISES:
            bid = bids[int(chance.random() * len(bids))]
        else:
            player = self._players[int(chance.random() * len(self._players))]
            bid = Bid(player, f"auction-{self._origin + 1}", 0)
            bids.append(bid)
        player = bid.player
        if player.free < amount:
            if not bid.amount:
                bids.pop()
            return self._deposit()
        player.free -= amount
        bid.amount += amount
        return self._plan(CommandType.LOCK_FUNDS, player, amount, reference_id=bid.reference_id)

    def _take_bid(self) -> Bid:
        bids = self._open.bids
        place = int(self._random.random() * len(bids))
        bids[place], bids[-1] = bids[-1], bids[place]
        return bids.pop()

    def _unlock(self) -> Planned:
        if not self._open.bids:
            return self._lock()
        bid = self._take_bid()
        bid.player.free += bid.amount
        return self._plan(
            CommandType.UNLOCK_FUNDS, bid.player, bid.amount, reference_id=bid.reference_id
        )

    def _seller_for(self, buyer: Player) -> Player:
        others = len(self._players) - 1
        number = int(self._random.random() * others)
        return self._players[number if number < buyer.number else number + 1]

    def _convert(self) -> Planned:
        if not self._open.bids:
            return self._lock()
        if len(self._open.orders) >= _OPEN_MAX:
            return self._release()
        bid = self._take_bid()
        rest = bid.amount // 10
        bid.player.free += rest
        amount = bid.amount - rest
        order = Order(bid.player, self._seller_for(bid.player), amount)
        self._open.orders.append(order)
        return self._plan(
            CommandType.CONVERT_TO_ESCROW,
            bid.player,
            amount,
            reference_id=bid.reference_id,
            thing=order,
            makes=True,
            rest=rest,
        )

    def _pay(self) -> Planned:
        if len(self._open.orders) >= _OPEN_MAX:
            return self._release()
        player = self._random.choice(self._players)
        amount = self._some(200)
        if player.free < amount:
            return self._deposit()
        player.free -= amount
        order = Order(player, self._seller_for(player), amount)
        self._open.orders.append(order)
        return self._plan(CommandType.PAY_ORDER, player, amount, thing=order, makes=True)

    def _share(self, kind: CommandType) -> Planned:
        """Release or refund the oldest order, one in five only by half."""
        if len(self._open.orders) <= self._lag:
            return self._pay()
        order = self._open.orders.popleft()
        amount, whole = order.remaining, True
        if order.remaining > 1 and self._random.random() < 0.2:
            amount, whole = order.remaining // 2, False
            self._open.orders.append(order)
        order.remaining -= amount
        if kind is CommandType.REFUND_ESCROW:
            order.player.free += amount
        return self._plan(kind, order.player, amount, thing=order, whole=whole)

    def _release(self) -> Planned:
        return self._share(CommandType.RELEASE_ESCROW)

    def _refund(self) -> Planned:
        return self._share(CommandType.REFUND_ESCROW)

    def _dispute(self) -> Planned:
        if len(self._open.orders) <= self._lag:
            return self._pay()
        order = self._open.orders.popleft()
        self._open.disputed.append(order)
        return self._plan(CommandType.DISPUTE_ESCROW, order.player, thing=order)

    def _resolve(self) -> Planned:
        if not self._open.disputed:
            return self._dispute()
        order = self._open.disputed.popleft()
        rest = int(self._random.random() * (order.remaining + 1))
        amount = order.remaining - rest
        order.remaining = 0
        order.player.free += rest
        return self._plan(CommandType.RESOLVE_DISPUTE, order.player, amount, thing=order, rest=rest)

    def _deposit(self) -> Planned:
        # Not counted as free: it comes by another topic, so it may come late.
        player = self._random.choice(self._players)
        return self._plan(CommandType.PROCESS_DEPOSIT, player, self._some(100) * 10)

    def _request(self) -> Planned:
        if len(self._open.requested) >= _OPEN_MAX:
            return self._claim()
        player = self._random.choice(self._players)
        amount = self._withdrawal_minimum + self._some(50)
        if player.reserve < amount + self._withdrawal_fee:
            return self._deposit()
        player.reserve -= amount + self._withdrawal_fee
        payout = None
        if self._follow_ups:
            payout = Payout(player)
            self._open.requested.append(payout)
        return self._plan(CommandType.REQUEST_WITHDRAWAL, player, amount, thing=payout, makes=True)

    def _follow(
        self,
        kind: CommandType,
        source: deque[Payout],
        target: deque[Payout] | None,
        least: int,
    ) -> Planned:
        """Move the oldest withdrawal one status on."""
        if len(source) <= least:
            return self._request()
        payout = source.popleft()
        if target is not None:
            target.append(payout)
        return self._plan(kind, payout.player, thing=payout)

    def _cancel(self) -> Planned:
        return self._follow(
            CommandType.CANCEL_WITHDRAWAL, self._open.requested, None, self._payout_lag
        )

    def _claim(self) -> Planned:
        return self._follow(
            CommandType.CLAIM_WITHDRAWAL, self._open.requested, self._open.claimed, self._payout_lag
        )

    def _broadcast(self) -> Planned:
        return self._follow(
            CommandType.RECORD_BROADCAST, self._open.claimed, self._open.broadcast, 0
        )

    def _confirm(self) -> Planned:
        return self._follow(CommandType.CONFIRM_WITHDRAWAL, self._open.broadcast, None, 0)

    def _fail(self) -> Planned:
        return self._follow(CommandType.FAIL_WITHDRAWAL, self._open.claimed, None, 0)
