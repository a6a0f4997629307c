"""Counts facts into documents: each once, in whatever order a user's events come."""

from __future__ import annotations

from bisect import insort
from typing import Final

from schemas.events import EventType
from streams.views import sequences
from streams.views.facts import MINUTE_MS, EscrowFact, Fact
from streams.views.incidents import UserWatch
from streams.views.kept import Escrow, Minute, Step, Sum, Total, User, Withdrawal
from streams.views.store import Store, Turn

#: Flows are kept by the minute for a day.
MINUTES_KEPT: Final = 24 * 60

_OUTCOMES: Final = (EventType.COMMAND_REJECTED, EventType.COMMAND_REPLAYED)
_FAILED: Final = "FAILED"


def apply(store: Store, watch: UserWatch, partition: int, offset: int, fact: Fact) -> bool:
    """Count a fact that stands at an offset; False if it is a double, or counted already."""
    turn = Turn(store, partition, offset)
    user = turn.take(lambda: User(user=fact.user), User, fact.user)
    if user is None or not sequences.add(user.seen, fact.sequence):
        return False
    user.last_ms = max(user.last_ms, fact.time_ms)
    _count_outcome(turn, fact)
    if fact.type not in _OUTCOMES:
        _move(turn, user, fact.minute, fact.type, 1, fact.amount)
    if fact.escrow is not None:
        _settle(turn, user, fact, fact.escrow)
    if fact.withdrawal is not None:
        _age(turn, fact, fact.withdrawal.id, fact.withdrawal.status)
    for withdrawal in fact.given_up:
        _age(turn, fact, withdrawal, _FAILED)
    if fact.version is not None and fact.version > user.version:
        user.version, user.shortfall = fact.version, Sum(fact.shortfall)
    _forget_old(user)
    watch.look(turn, user, fact)
    return True


def _minute(turn: Turn, minute: int) -> Minute | None:
    return turn.take(lambda: Minute(minute=minute), Minute, minute)


def _count_outcome(turn: Turn, fact: Fact) -> None:
    """Of the events that one command gives, the seller's is no second acceptance."""
    minute = _minute(turn, fact.minute)
    if minute is None:
        return
    if fact.type == EventType.COMMAND_REJECTED:
        code = fact.code or ""
        minute.rejected[code] = minute.rejected.get(code, 0) + 1
    elif fact.type == EventType.COMMAND_REPLAYED:
        minute.replayed += 1
    elif fact.type != EventType.SALE_CREDITED:
        minute.accepted += 1


def _move(turn: Turn, user: User, at: int, kind: str, count: int, koinu: int) -> None:
    """Add to a flow of a minute, everybody's and the user's."""
    minute = _minute(turn, at)
    if minute is not None:
        minute.flows.setdefault(kind, Total()).add(count, koinu)
    user.minutes.setdefault(at, {}).setdefault(kind, Total()).add(count, koinu)


def _settle(turn: Turn, user: User, fact: Fact, seen: EscrowFact) -> None:
    """What the event settled is what the escrow has settled now, less what it had before.

    An event that comes late takes its part away from the one after it. Steps of later offsets are
    not looked at: after a crash the escrow may know them while its user does not.
    """
    escrow = turn.look(Escrow, seen.id) or Escrow(id=seen.id, user=fact.user)
    known = [step for step in escrow.steps if step.offset < turn.offset]
    before = max(
        (step for step in known if step.sequence < fact.sequence),
        key=lambda step: step.sequence,
        default=None,
    )
    after = min(
        (step for step in known if step.sequence > fact.sequence),
        key=lambda step: step.sequence,
        default=None,
    )
    own = seen.settled - (0 if before is None else before.settled)
    if own:
        _move(turn, user, fact.minute, fact.type, 0, own)
        if after is not None:
            _move(turn, user, after.minute, after.type, 0, -own)
    changing = turn.take(lambda: escrow, Escrow, seen.id)
    if changing is not None:
        step = Step(fact.sequence, turn.offset, fact.minute, fact.type, Sum(seen.settled))
        insort(changing.steps, step, key=lambda each: each.sequence)
        changing.last_ms = max(changing.last_ms, fact.time_ms)
        changing.koinu = Sum(max(changing.koinu, fact.amount))


def _age(turn: Turn, fact: Fact, ident: str, status: str) -> None:
    """The status that the highest sequence says; no event between may be known yet."""
    withdrawal = turn.take(lambda: Withdrawal(id=ident, user=fact.user), Withdrawal, ident)
    if withdrawal is None or withdrawal.sequence > fact.sequence:
        return
    withdrawal.sequence, withdrawal.status = fact.sequence, status
    withdrawal.since_ms = fact.time_ms
    if fact.withdrawal is not None:
        withdrawal.requested_ms = fact.withdrawal.requested_ms
        withdrawal.koinu = Sum(fact.amount)


def _forget_old(user: User) -> None:
    """Keep a day of minutes, by the user's own events."""
    newest = user.last_ms // MINUTE_MS
    for minute in [minute for minute in user.minutes if minute <= newest - MINUTES_KEPT]:
        del user.minutes[minute]
