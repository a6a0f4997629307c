"""What the web part answers, made of the documents; amounts are DOGE as text.

A report's window ends with the newest event's minute (``as_of``), not with the clock: the same
documents give the same report. How long a withdrawal waits is by the clock, which is given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from schemas.amounts import format_amount
from schemas.events import EventType
from schemas.ledger import WithdrawalStatus
from schemas.times import format_time
from streams.views import sequences
from streams.views.facts import MINUTE_MS
from streams.views.incidents import user_totals
from streams.views.kept import Incident, Minute, Total, Withdrawal
from streams.views.picture import Picture
from streams.views.windows import window_sum

Report = dict[str, Any]

#: Windows of a user's velocity, in minutes.
WINDOWS: Final = (10, 60, 1440)
MOVERS_MAX: Final = 100
OLDEST_MAX: Final = 20
#: A withdrawal in one of these waits for something.
WAITING: Final = (WithdrawalStatus.PENDING, WithdrawalStatus.PROCESSING, WithdrawalStatus.BROADCAST)
_MEASURED: Final = {
    "deposits": (EventType.DEPOSIT_CONFIRMED,),
    "withdrawals": (EventType.WITHDRAWAL_REQUESTED,),
}


def _minute_text(minute: int) -> str:
    return format_time(minute * MINUTE_MS)


def _total(count: int, koinu: int) -> Report:
    return {"count": count, "amount": format_amount(koinu)}


def flows_of(documents: Iterable[Minute]) -> dict[str, Total]:
    """Totals by type of any minutes' documents."""
    totals: dict[str, Total] = {}
    for document in documents:
        for kind, total in document.flows.items():
            totals.setdefault(kind, Total()).add(total.count, total.koinu)
    return totals


def _shown(flows: Mapping[str, Total]) -> Report:
    return {kind: _total(total.count, total.koinu) for kind, total in sorted(flows.items())}


def _window(picture: Picture, minutes: int) -> range:
    newest = picture.newest_ms // MINUTE_MS
    return range(newest - minutes + 1, newest + 1)


def flows(picture: Picture, minutes: int) -> Report:
    """Events and amounts by type, for each minute in which there were some, and together."""
    window = _window(picture, minutes)
    rows = []
    for minute in window:
        if documents := picture.minutes.get(minute):
            rows.append(
                {"minute": _minute_text(minute), "flows": _shown(flows_of(documents.values()))}
            )
    return {
        "as_of": format_time(picture.newest_ms),
        "minutes": rows,
        "total": _shown(flows_of(picture.between(window[0], window[-1]))),
    }


def outcomes(documents: Iterable[Minute]) -> Report:
    """What was decided: accepted, replayed, and rejected by reason."""
    accepted = replayed = 0
    rejected: Counter[str] = Counter()
    for document in documents:
        accepted += document.accepted
        replayed += document.replayed
        rejected.update(document.rejected)
    return {
        "accepted": accepted,
        "replayed": replayed,
        "rejected": sum(rejected.values()),
        "reasons": dict(rejected.most_common()),
    }


def rejections(picture: Picture, minutes: int) -> Report:
    """Commands by outcome, for each minute in which there were some, and together."""
    window = _window(picture, minutes)
    rows = [
        {"minute": _minute_text(minute), **outcomes(documents.values())}
        for minute in window
        if (documents := picture.minutes.get(minute))
    ]
    return {
        "as_of": format_time(picture.newest_ms),
        "minutes": rows,
        "total": outcomes(picture.between(window[0], window[-1])),
    }


def movers(picture: Picture, minutes: int, events: Collection[str], limit: int) -> Report:
    """The users that moved most by events of some types, the largest first."""
    newest = picture.newest_ms // MINUTE_MS
    found = []
    for _, user in picture.users.values():
        if user.last_ms // MINUTE_MS <= newest - minutes:
            continue
        count, koinu = window_sum(user_totals(user, events), minutes, newest)
        if count or koinu:
            found.append((koinu, count, user.user))
    found.sort(key=lambda each: (-each[0], -each[1], each[2]))
    return {
        "as_of": format_time(picture.newest_ms),
        "events": sorted(events),
        "movers": [
            {"user_id": user, **_total(count, koinu)} for koinu, count, user in found[:limit]
        ],
    }


def velocity(picture: Picture, user_id: str) -> Report | None:
    """A user's deposits and withdrawals within sliding windows; None if nothing is known."""
    held = picture.users.get(user_id)
    if held is None:
        return None
    user = held[1]
    newest = picture.newest_ms // MINUTE_MS
    return {
        "as_of": format_time(picture.newest_ms),
        "user_id": user_id,
        "last_event": format_time(user.last_ms),
        "shortfall": format_amount(user.shortfall),
        "events_missing": sequences.missing(user.seen),
        "windows": [
            {
                "minutes": minutes,
                **{
                    name: _total(*window_sum(user_totals(user, events), minutes, newest))
                    for name, events in _MEASURED.items()
                },
            }
            for minutes in WINDOWS
        ],
    }


def waiting(picture: Picture) -> dict[str, list[Withdrawal]]:
    """Withdrawals that are not done, by status."""
    found: dict[str, list[Withdrawal]] = {status.value: [] for status in WAITING}
    for _, withdrawal in picture.withdrawals.values():
        if withdrawal.status in found:
            found[withdrawal.status].append(withdrawal)
    return found


def ageing(picture: Picture, now_ms: int) -> Report:
    """Withdrawals that are not done: how many, how much, and the oldest ones."""
    by_status = waiting(picture)
    every = sorted(
        (each for held in by_status.values() for each in held), key=lambda each: each.since_ms
    )
    return {
        "as_of": format_time(picture.newest_ms),
        "statuses": {
            status: {
                **_total(len(held), sum(each.koinu for each in held)),
                "oldest_seconds": max(
                    (_seconds(each.since_ms, now_ms) for each in held), default=0
                ),
            }
            for status, held in by_status.items()
        },
        "oldest": [
            {
                "id": each.id,
                "user_id": each.user,
                "status": each.status,
                "amount": format_amount(each.koinu),
                "requested_at": format_time(each.requested_ms),
                "since": format_time(each.since_ms),
                "seconds": _seconds(each.since_ms, now_ms),
            }
            for each in every[:OLDEST_MAX]
        ],
    }


def _seconds(since_ms: int, now_ms: int) -> int:
    return max(now_ms - since_ms, 0) // 1000


def alerts(picture: Picture) -> Report:
    """Incidents that stand, and those that ended within the last day, the newest first."""
    every = sorted(
        (incident for _, incident in picture.incidents.values()),
        key=lambda incident: incident.started_ms,
        reverse=True,
    )
    return {
        "as_of": format_time(picture.newest_ms),
        "open": [_incident(each) for each in every if each.ended_ms is None],
        "ended": [_incident(each) for each in every if each.ended_ms is not None],
    }


def _incident(incident: Incident) -> Report:
    return {
        "incident": incident.id,
        "kind": incident.rule,
        "subject": incident.subject,
        "detail": incident.detail,
        "started_at": format_time(incident.started_ms),
        "ended_at": None if incident.ended_ms is None else format_time(incident.ended_ms),
        "told": incident.told_start,
    }
