"""Incidents that no event of a user starts or ends, and the end of what is kept: by the clock.

It finds candidates in the picture of all partitions, and changes the store's documents of those
that this process holds. What concerns all users is looked after by whoever holds partition 0.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from schemas.amounts import format_amount, parse_share
from schemas.times import format_time
from streams.kafka.lag import Backlog
from streams.views.facts import MINUTE_MS
from streams.views.incidents import GRACE_MS, end_what_is_over, incident_of, name_of
from streams.views.kept import Escrow, Incident, Kept, Minute, User, Withdrawal
from streams.views.picture import Picture
from streams.views.reports import WAITING, outcomes
from streams.views.rules import Ageing, BridgeLag, HotWallet, Rejections, Rule, Silence
from streams.views.store import Store
from streams.views.tally import MINUTES_KEPT
from streams.views.telling import State, Told

KEPT_MS: Final = MINUTES_KEPT * MINUTE_MS
#: Longer than the topic keeps events: none of a user can come again afterwards.
USERS_KEPT_MS: Final = 8 * KEPT_MS
#: Whoever holds it looks after what concerns everybody.
EVERYBODYS: Final = 0
_ALL: Final = "all"


class Now(NamedTuple):
    """The clock, and what was seen outside of the events; None is unknown."""

    time_ms: int
    commands_waiting: int | None = None
    hot_wallet: int | None = None
    #: What waits for the bridge.
    bridge: Backlog | None = None


class Clock:
    """Looks at what is kept, whenever it is asked to."""

    def __init__(self, store: Store, picture: Picture, rules: Sequence[Rule]) -> None:
        self._store = store
        self._picture = picture
        self._rules = rules

    def look(self, held: Collection[int], now: Now, told: Told) -> None:
        """Start and end incidents of the partitions that are held."""
        for partition, incident in self._incidents(held):
            if end_what_is_over(incident, now.time_ms):
                self._keep(partition, incident)
        for rule in self._rules:
            if isinstance(rule, Ageing):
                self._look_at_age(rule, held, now.time_ms)
            elif EVERYBODYS in held:
                self._look_at_all(rule, now, told)

    def _incidents(self, held: Collection[int]) -> list[tuple[int, Incident]]:
        """Those that stand, as the store has them."""
        found = []
        for ident, (partition, seen) in self._picture.incidents.items():
            if partition in held and seen.ended_ms is None:
                incident = self._store.get(Incident, partition, ident)
                if incident is not None:
                    found.append((partition, incident))
        return [(partition, each) for partition, each in found if each.ended_ms is None]

    def _keep(self, partition: int, incident: Incident) -> None:
        self._store.put(partition, incident, incident.id)
        self._picture.keep(partition, incident)

    # ------------------------------------------------------------------ withdrawals

    def _look_at_age(self, rule: Ageing, held: Collection[int], now_ms: int) -> None:
        limit_ms = rule.minutes * MINUTE_MS
        for ident, (partition, seen) in self._picture.withdrawals.items():
            if partition not in held or now_ms - seen.since_ms < limit_ms:
                continue
            withdrawal = self._store.get(Withdrawal, partition, ident)
            if withdrawal is None or not _is_old(withdrawal, rule, now_ms):
                continue
            started_ms = withdrawal.since_ms + limit_ms
            if self._store.get(Incident, partition, name_of(rule.name, ident, started_ms)) is None:
                detail = (
                    f"{format_amount(withdrawal.koinu)} DOGE of {withdrawal.user} are "
                    f"{withdrawal.status} since {format_time(withdrawal.since_ms)}"
                )
                self._keep(partition, incident_of(rule, ident, started_ms, detail))
        for partition, incident in self._incidents(held):
            if incident.rule == rule.name:
                stands = self._store.get(Withdrawal, partition, incident.subject)
                if stands is None or stands.since_ms + limit_ms != incident.started_ms:
                    incident.ended_ms = now_ms if stands is None else stands.since_ms
                    self._keep(partition, incident)

    # ------------------------------------------------------------------ everybody's

    def _look_at_all(self, rule: Rule, now: Now, told: Told) -> None:
        match rule:
            case Rejections():
                self._look_at_rejections(rule, now.time_ms, told)
            case Silence():
                self._look_at_silence(rule, now, told)
            case HotWallet() if now.hot_wallet is not None:
                low = now.hot_wallet < parse_share(rule.amount)
                detail = f"{format_amount(now.hot_wallet)} DOGE are free in the hot wallet"
                self._set(rule, low, now.time_ms, now.time_ms, detail, told)
            case BridgeLag() if now.bridge is not None:
                oldest_ms = now.time_ms if now.bridge.oldest_ms is None else now.bridge.oldest_ms
                late = now.time_ms - oldest_ms >= rule.minutes * MINUTE_MS
                detail = f"{now.bridge.records} records wait, since {format_time(oldest_ms)}"
                self._set(rule, late, oldest_ms, now.time_ms, detail, told)
            case _:
                pass

    def _look_at_rejections(self, rule: Rejections, now_ms: int, told: Told) -> None:
        """In the window that ends with the newest event, or now, where no event came for long."""
        at = max(self._picture.newest_ms, now_ms - GRACE_MS) // MINUTE_MS
        found = outcomes(self._picture.between(at - rule.minutes + 1, at))
        rejected = found["rejected"]
        decided = found["accepted"] + found["replayed"] + rejected
        over = rejected >= rule.count and rejected * 100 >= rule.percent * decided
        reasons = ", ".join(f"{code} {count}" for code, count in found["reasons"].items())
        detail = f"{rejected} of {decided} commands rejected in {rule.minutes} minutes: {reasons}"
        self._set(rule, over, at * MINUTE_MS, at * MINUTE_MS, detail, told)

    def _look_at_silence(self, rule: Silence, now: Now, told: Told) -> None:
        newest_ms = self._picture.newest_ms
        waits = True
        if rule.commands_wait:
            if now.commands_waiting is None:
                return  # Unknown: neither a start nor an end.
            waits = now.commands_waiting > 0
        silent = waits and newest_ms > 0 and now.time_ms - newest_ms >= rule.minutes * MINUTE_MS
        waiting = f", and {now.commands_waiting} commands wait" if rule.commands_wait else ""
        detail = f"no event since {format_time(newest_ms)}{waiting}"
        standing = self._standing(rule)
        ended_ms = now.time_ms
        if standing is not None and newest_ms > standing.started_ms:
            ended_ms = newest_ms
        self._set(rule, silent, newest_ms, ended_ms, detail, told)

    def _standing(self, rule: Rule) -> Incident | None:
        for _, incident in self._incidents([EVERYBODYS]):
            if incident.rule == rule.name:
                return incident
        return None

    def _set(
        self, rule: Rule, wrong: bool, start_ms: int, end_ms: int, detail: str, told: Told
    ) -> None:
        """Let an incident of a rule stand, or none."""
        standing = self._standing(rule)
        if wrong and standing is None:
            # What was told and never written down, as its teller died: it goes on.
            before = told.standing(rule.name, _ALL)
            incident = incident_of(rule, _ALL, before or start_ms, detail)
            if self._store.get(Incident, EVERYBODYS, incident.id) is None:
                self._keep(EVERYBODYS, incident)
        elif not wrong and standing is not None:
            standing.ended_ms = end_ms
            self._keep(EVERYBODYS, standing)

    # ------------------------------------------------------------------ what is to be told

    def untold(self, held: Collection[int]) -> list[tuple[int, Incident, State]]:
        """Starts and ends that nobody is known to have told, in the order to tell them."""
        found: list[tuple[int, Incident, State]] = []
        for ident, (partition, seen) in self._picture.incidents.items():
            if partition not in held or seen.told_end:
                continue
            incident = self._store.get(Incident, partition, ident)
            if incident is None:
                continue
            if not incident.told_start:
                found.append((partition, incident, "started"))
            if incident.ended_ms is not None and not incident.told_end:
                found.append((partition, incident, "ended"))
        return sorted(found, key=lambda each: (each[1].started_ms, each[1].id, each[2] == "ended"))

    # ------------------------------------------------------------------ what is kept no more

    def forget(self, held: Collection[int]) -> None:
        """Drop what is over and older than a day before the newest event; users after the topic."""
        newest_ms = self._picture.newest_ms
        for partition, document, name in self._picture.everything():
            if partition in held and _is_over(document, newest_ms):
                present = self._store.get(type(document), partition, name)
                # The picture is a moment old.
                if present is not None and _is_over(present, newest_ms):
                    self._store.drop(partition, type(document), name)


def _is_over(document: Kept, newest_ms: int) -> bool:
    day_ago = newest_ms - KEPT_MS
    match document:
        case Minute():
            return (document.minute + 1) * MINUTE_MS <= day_ago
        case User():
            return document.last_ms <= newest_ms - USERS_KEPT_MS
        case Withdrawal():
            return document.status not in WAITING and document.since_ms <= day_ago
        case Escrow():
            return document.last_ms <= day_ago and _is_settled(document)
        case Incident(ended_ms=int(ended_ms)):
            return document.told_end and ended_ms <= day_ago
        case _:
            return False


def _is_old(withdrawal: Withdrawal, rule: Ageing, now_ms: int) -> bool:
    limit_ms = rule.minutes * MINUTE_MS
    return withdrawal.status in rule.statuses and now_ms - withdrawal.since_ms >= limit_ms


def _is_settled(escrow: Escrow) -> bool:
    return bool(escrow.steps) and escrow.steps[-1].settled >= escrow.koinu
