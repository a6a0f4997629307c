"""When an incident starts and ends: users' by their events, all others by a look at the clock.

An incident's name is made of rule, subject and start. So whoever reads the same events again finds
the same incidents, and what was told of one is not told again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from schemas.amounts import format_amount, parse_share
from schemas.times import format_time
from streams.views.facts import MINUTE_MS, Fact
from streams.views.kept import Breach, Incident, User
from streams.views.rules import Rule, Shortfall, Velocity
from streams.views.store import Turn
from streams.views.windows import Span, spans_over, window_sum

#: An event may come that much later than its time, before a user's window is said to have ended.
GRACE_MS: Final = MINUTE_MS


def name_of(rule: str, subject: str, started_ms: int) -> str:
    """An incident's name: the same for whoever finds it."""
    return f"{rule}/{subject}/{format_time(started_ms)}"


def incident_of(rule: Rule, subject: str, started_ms: int, detail: str) -> Incident:
    """An incident that starts."""
    return Incident(
        id=name_of(rule.name, subject, started_ms),
        rule=rule.name,
        subject=subject,
        started_ms=started_ms,
        detail=detail,
    )


class UserWatch:
    """Looks at a user after each of their events."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._velocity = [rule for rule in rules if isinstance(rule, Velocity)]
        self._shortfall = [rule for rule in rules if isinstance(rule, Shortfall)]

    def look(self, turn: Turn, user: User, fact: Fact) -> None:
        """Start, prolong and end the user's incidents."""
        for velocity in self._velocity:
            if fact.type in velocity.events:
                _look_at_velocity(turn, user, velocity)
        for shortfall in self._shortfall:
            _look_at_shortfall(turn, user, shortfall, fact.time_ms)


def user_totals(user: User, events: Collection[str]) -> dict[int, tuple[int, int]]:
    """Count and koinu by minute of some of the user's flows."""
    totals: dict[int, tuple[int, int]] = {}
    for minute, flows in user.minutes.items():
        held = [total for kind, total in flows.items() if kind in events]
        if held:
            totals[minute] = (sum(t.count for t in held), sum(int(t.koinu) for t in held))
    return totals


def _look_at_velocity(turn: Turn, user: User, rule: Velocity) -> None:
    totals = user_totals(user, rule.events)
    for span in spans_over(totals, rule.minutes, rule.limit):
        known = user.breaches.get(rule.name)
        if known is None or span.start > known.until:
            count, koinu = window_sum(totals, rule.minutes, span.start)
            detail = (
                f"{count} of {', '.join(rule.events)}, {format_amount(koinu)} DOGE in "
                f"{rule.minutes} minutes"
            )
            _start(turn, user, rule, span, detail)
        elif span.until > known.until:
            _prolong(turn, user, rule, known, span)


def _start(turn: Turn, user: User, rule: Velocity, span: Span, detail: str) -> None:
    """A new one; the one before, whose end nobody has seen yet, ended when its window did."""
    known = user.breaches.get(rule.name)
    if known is not None:
        before = turn.take(lambda: _gone(user, rule, known), Incident, known.incident)
        if before is not None and before.ended_ms is None:
            before.ended_ms = before.until_ms
    fresh = incident_of(rule, user.user, span.start * MINUTE_MS, detail)
    started = turn.take(lambda: fresh, Incident, fresh.id)
    if started is not None and started.ended_ms is None:
        started.until_ms = span.until * MINUTE_MS
    user.breaches[rule.name] = Breach(incident=fresh.id, start=span.start, until=span.until)


def _prolong(turn: Turn, user: User, rule: Velocity, known: Breach, span: Span) -> None:
    incident = turn.take(lambda: _gone(user, rule, known), Incident, known.incident)
    if incident is not None and incident.ended_ms is not None:
        # Its end was told, and an event that came late goes on with it: that is another one.
        rest = Span(known.until, span.until)
        _start(turn, user, rule, rest, f"goes on: {incident.detail}")
        return
    if incident is not None:
        incident.until_ms = span.until * MINUTE_MS
    known.until = span.until


def _gone(user: User, rule: Velocity, known: Breach) -> Incident:
    """What stands for an incident that was so old that it is kept no more."""
    return Incident(
        id=known.incident,
        rule=rule.name,
        subject=user.user,
        started_ms=known.start * MINUTE_MS,
        detail="",
        ended_ms=known.until * MINUTE_MS,
        told_start=True,
        told_end=True,
    )


def _look_at_shortfall(turn: Turn, user: User, rule: Shortfall, time_ms: int) -> None:
    owes = user.shortfall >= parse_share(rule.amount) and user.shortfall > 0
    known = user.breaches.get(rule.name)
    if owes and known is None:
        detail = f"owes {format_amount(user.shortfall)} DOGE"
        fresh = incident_of(rule, user.user, time_ms, detail)
        turn.take(lambda: fresh, Incident, fresh.id)
        minute = time_ms // MINUTE_MS
        user.breaches[rule.name] = Breach(incident=fresh.id, start=minute, until=minute)
    elif not owes and known is not None:
        incident = turn.take(
            lambda: incident_of(rule, user.user, time_ms, ""), Incident, known.incident
        )
        if incident is not None and incident.ended_ms is None:
            incident.ended_ms = time_ms
        del user.breaches[rule.name]


def end_what_is_over(incident: Incident, now_ms: int) -> bool:
    """End an incident whose window has run out; whether it was changed."""
    if incident.ended_ms is not None or incident.until_ms is None:
        return False
    if incident.until_ms + GRACE_MS > now_ms:
        return False
    incident.ended_ms = incident.until_ms
    return True
