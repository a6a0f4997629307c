"""When an incident starts and ends, and by what name it is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from schemas.events import EventType
from schemas.ledger import WithdrawalStatus
from schemas.settings import Settings, SettingsError
from streams.kafka.lag import Backlog
from streams.views.clock import EVERYBODYS, Clock, Now
from streams.views.facts import MINUTE_MS, Fact, WithdrawalFact
from streams.views.incidents import GRACE_MS
from streams.views.keeper import Keeper
from streams.views.kept import Incident, place_of
from streams.views.picture import Picture
from streams.views.rules import (
    Ageing,
    BridgeLag,
    HotWallet,
    Rejections,
    Rule,
    Shortfall,
    Silence,
    Velocity,
    read_rules,
)
from streams.views.telling import Told, alert_of

START_MS: Final = 1_767_225_600_000
MINUTE: Final = START_MS // MINUTE_MS
DEPOSIT: Final = EventType.DEPOSIT_CONFIRMED


class Desk:
    """Events by the minute, a clock to look at, and the incidents that stand in the table."""

    def __init__(self, *rules: Rule) -> None:
        self.table: dict[bytes, bytes] = {}
        self.rules = rules
        self.told = Told()
        self.offset = 0
        self.sequences: dict[str, int] = {}
        self.restart()

    def restart(self) -> None:
        """Another process, on what was written."""
        self.keeper = Keeper(self.table, self.rules)
        self.picture = Picture()
        for key, value in self.table.items():
            self.picture.put(key, value)
        self.keeper.begin(0)
        self.clock = Clock(self.keeper.store, self.picture, self.rules)
        self.write()

    def happens(self, minute: int, kind: EventType, user: str = "ann", **more: object) -> None:
        """An event, so many minutes after the start."""
        self.offset += 1
        self.sequences[user] = self.sequences.get(user, 0) + 1
        fact = Fact(user, self.sequences[user], START_MS + minute * MINUTE_MS, kind)
        fact = fact._replace(version=fact.sequence)._replace(**more)  # type: ignore[arg-type]
        self.keeper.count(0, self.offset, fact)
        self.write()

    def look(self, minute: float, waiting: int | None = None, hot: int | None = None) -> None:
        """Look at the clock."""
        now = Now(START_MS + int(minute * MINUTE_MS), waiting, hot)
        self.clock.look([0], now, self.told)
        self.write()

    def write(self) -> None:
        for phase in self.keeper.leave():
            for key, value in phase.items():
                self.picture.put(key, value)
                if value is None:
                    self.table.pop(key, None)
                else:
                    self.table[key] = value
        self.keeper.store.left()

    def incidents(self) -> list[tuple[str, float, float | None]]:
        """Subject, start and end of each, in minutes after the start."""
        every = sorted(
            (each for _, each in self.picture.incidents.values()),
            key=lambda each: (each.started_ms, each.id),
        )
        return [(each.subject, _minutes(each.started_ms), _end(each)) for each in every]


def _minutes(time_ms: int) -> float:
    return (time_ms - START_MS) / MINUTE_MS


def _end(incident: Incident) -> float | None:
    return None if incident.ended_ms is None else _minutes(incident.ended_ms)


FAST: Final = Velocity(name="fast", do="", events=(DEPOSIT,), minutes=10, count=3)
OWING: Final = Shortfall(name="owing", do="", amount="0.00000005")
WAITING: Final = (WithdrawalStatus.PENDING, WithdrawalStatus.PROCESSING)
OLD: Final = Ageing(name="old", do="", statuses=WAITING, minutes=30)
REFUSED: Final = Rejections(name="refused", do="", minutes=5, count=3, percent=50)
LOW: Final = HotWallet(name="low", do="", amount="0.00000100")
STILL: Final = Silence(name="still", do="", minutes=10, commands_wait=True)


# ---------------------------------------------------------------------- a user's


def test_a_user_who_is_too_fast_is_an_incident_until_the_window_has_run_out() -> None:
    desk = Desk(FAST)
    for minute in (0, 1):
        desk.happens(minute, DEPOSIT)
    assert desk.incidents() == []
    desk.happens(2, DEPOSIT)
    assert desk.incidents() == [("ann", 2, None)]
    desk.look(9)
    desk.look(10 + GRACE_MS / MINUTE_MS - 0.1)
    assert desk.incidents() == [("ann", 2, None)]
    desk.look(10 + GRACE_MS / MINUTE_MS)
    assert desk.incidents() == [("ann", 2, 10)]


def test_more_of_the_same_prolongs_an_incident_and_makes_no_second_one() -> None:
    desk = Desk(FAST)
    for minute in (0, 1, 2, 3, 8, 9):
        desk.happens(minute, DEPOSIT)
    assert desk.incidents() == [("ann", 2, None)]
    # The minutes 3, 8 and 9 are in one window until 13.
    desk.look(13.9)
    assert desk.incidents() == [("ann", 2, None)]
    desk.look(14)
    assert desk.incidents() == [("ann", 2, 13)]


def test_the_next_burst_is_another_incident_also_where_nobody_looked_in_between() -> None:
    desk = Desk(FAST)
    for minute in (0, 0, 0, 60, 60, 60):
        desk.happens(minute, DEPOSIT)
    assert desk.incidents() == [("ann", 0, 10), ("ann", 60, None)]


def test_an_event_that_comes_after_the_end_was_told_is_another_incident() -> None:
    desk = Desk(FAST)
    for _ in range(3):
        desk.happens(0, DEPOSIT)
    desk.look(20)
    for _ in range(2):
        desk.happens(9, DEPOSIT)
    assert desk.incidents() == [("ann", 0, 10)]
    desk.happens(9, DEPOSIT)
    assert desk.incidents() == [("ann", 0, 10), ("ann", 10, None)]


def test_users_have_incidents_of_their_own_and_other_events_none() -> None:
    desk = Desk(FAST)
    for minute in range(3):
        desk.happens(minute, DEPOSIT, "ann")
        desk.happens(minute, EventType.FUNDS_LOCKED, "bob")
        desk.happens(minute, DEPOSIT, "cat")
    assert desk.incidents() == [("ann", 2, None), ("cat", 2, None)]


def test_reading_the_same_events_again_finds_the_same_incidents() -> None:
    names = []
    for _ in range(2):
        desk = Desk(FAST, OWING)
        for minute in (0, 1, 2, 40, 41, 42):
            desk.happens(minute, DEPOSIT, shortfall=5 * (minute % 2))
        names.append(sorted(desk.picture.incidents))
    assert names[0] == names[1] and len(names[0]) == 4


def test_a_debt_is_an_incident_from_the_limit_on_until_it_is_repaid() -> None:
    desk = Desk(OWING)
    desk.happens(0, EventType.DEPOSIT_REVERSED, shortfall=4)
    assert desk.incidents() == []
    desk.happens(1, EventType.DEPOSIT_REVERSED, shortfall=5)
    desk.happens(2, EventType.DEPOSIT_REVERSED, shortfall=9)
    # An older balance that comes late says nothing, nor does an event without one.
    desk.happens(3, DEPOSIT, shortfall=0, version=1)
    desk.happens(4, EventType.COMMAND_REJECTED, version=None, code="wallet_frozen")
    assert desk.incidents() == [("ann", 1, None)]
    desk.happens(5, DEPOSIT, shortfall=0)
    assert desk.incidents() == [("ann", 1, 5)]


# ---------------------------------------------------------------------- by the clock


def withdrawal(status: str) -> dict[str, Any]:
    return {"withdrawal": WithdrawalFact("w-1", status, START_MS), "amount": 7}


def test_a_withdrawal_that_does_not_go_on_is_an_incident_until_it_does() -> None:
    desk = Desk(OLD)
    desk.happens(0, EventType.WITHDRAWAL_REQUESTED, **withdrawal("PENDING"))
    desk.look(29.9)
    assert desk.incidents() == []
    desk.look(31)
    desk.look(50)
    assert desk.incidents() == [("w-1", 30, None)]
    desk.happens(55, EventType.WITHDRAWAL_PROCESSING, **withdrawal("PROCESSING"))
    desk.look(56)
    assert desk.incidents() == [("w-1", 30, 55)]
    desk.look(90)
    assert desk.incidents() == [("w-1", 30, 55), ("w-1", 85, None)]
    desk.happens(95, EventType.WITHDRAWAL_BROADCAST, **withdrawal("BROADCAST"))
    desk.look(200)
    assert desk.incidents() == [("w-1", 30, 55), ("w-1", 85, 95)]


def test_many_rejections_are_an_incident_if_they_are_many_of_all() -> None:
    desk = Desk(REFUSED)
    for _ in range(4):
        desk.happens(0, DEPOSIT)
    for _ in range(3):
        desk.happens(1, EventType.COMMAND_REJECTED, code="insufficient_funds", version=None)
    desk.look(1)
    assert desk.incidents() == [], "three of seven"
    desk.happens(2, EventType.COMMAND_REJECTED, code="wallet_frozen", version=None)
    desk.look(2)
    assert desk.incidents() == [("all", 2, None)]
    (incident,) = [each for _, each in desk.picture.incidents.values()]
    assert incident.detail.endswith("insufficient_funds 3, wallet_frozen 1")
    desk.look(3)
    desk.look(12)
    assert desk.incidents() == [("all", 2, 11)]


@pytest.mark.parametrize(
    ("waiting", "wanted"),
    [(None, []), (0, []), (4, [("all", 0, None)])],
    ids=["unknown", "nothing waits", "commands wait"],
)
def test_silence_is_an_incident_while_commands_wait(
    waiting: int | None, wanted: list[tuple[str, float, float | None]]
) -> None:
    desk = Desk(STILL)
    desk.look(100, waiting=4)
    assert desk.incidents() == [], "there never was an event"
    desk.happens(0, DEPOSIT)
    desk.look(9, waiting=4)
    desk.look(11, waiting=waiting)
    assert desk.incidents() == wanted


def test_silence_ends_with_the_next_event_and_not_by_what_is_unknown() -> None:
    desk = Desk(STILL)
    desk.happens(0, DEPOSIT)
    desk.look(11, waiting=4)
    desk.look(12, waiting=None)
    assert desk.incidents() == [("all", 0, None)]
    desk.happens(13, DEPOSIT)
    desk.look(14, waiting=4)
    assert desk.incidents() == [("all", 0, 13)]


def test_a_low_hot_wallet_is_an_incident_until_coins_come_and_unknown_is_neither() -> None:
    desk = Desk(LOW)
    desk.happens(0, DEPOSIT)
    desk.look(1, hot=None)
    desk.look(2, hot=100)
    assert desk.incidents() == []
    desk.look(3, hot=-5)
    desk.look(4, hot=None)
    desk.look(5, hot=99)
    assert desk.incidents() == [("all", 3, None)]
    desk.look(6, hot=100)
    assert desk.incidents() == [("all", 3, 6)]


def test_an_event_that_waits_long_for_the_bridge_is_an_incident_and_unknown_is_neither() -> None:
    desk = Desk(BridgeLag(name="bridge-lag", minutes=15, do="look"))

    def look(minute: int, bridge: Backlog | None) -> None:
        desk.clock.look([0], Now(START_MS + minute * MINUTE_MS, bridge=bridge), desk.told)
        desk.write()

    waiting = Backlog(7, START_MS + MINUTE_MS)
    look(15, waiting)
    look(16, None)
    assert desk.incidents() == []
    look(16, waiting)
    look(17, None)
    assert desk.incidents() == [("all", 1, None)]
    look(18, Backlog())
    assert desk.incidents() == [("all", 1, 18)]


def test_what_was_told_and_never_written_down_goes_on_under_its_name() -> None:
    desk = Desk(LOW)
    desk.happens(0, DEPOSIT)
    told = Incident(
        id="low/all/2026-01-01T00:03:00.000Z",
        rule="low",
        subject="all",
        started_ms=START_MS + 3 * MINUTE_MS,
        detail="",
    )
    desk.told.note(alert_of(told, "started", "", START_MS))
    desk.look(30, hot=0)
    assert list(desk.picture.incidents) == [told.id]
    assert desk.told.has(told.id, "started")
    desk.told.note(alert_of(msgspec.structs.replace(told, ended_ms=START_MS), "ended", "", 0))
    assert desk.told.standing("low", "all") is None


def test_whoever_does_not_hold_everybodys_partition_looks_after_its_users_alone() -> None:
    desk = Desk(LOW, OLD)
    desk.happens(0, EventType.WITHDRAWAL_REQUESTED, **withdrawal("PENDING"))
    assert EVERYBODYS == 0
    desk.clock.look([1, 2], Now(START_MS + 90 * MINUTE_MS, 0, 0), desk.told)
    desk.write()
    assert desk.incidents() == []


def test_incidents_are_told_in_order_and_each_once() -> None:
    desk = Desk(FAST)
    for minute in (0, 0, 0, 60, 60, 60):
        desk.happens(minute, DEPOSIT)
    found = [(_minutes(i.started_ms), state) for _, i, state in desk.clock.untold([0])]
    assert found == [(0, "started"), (0, "ended"), (60, "started")]
    assert desk.clock.untold([1]) == []
    for partition, incident, state in desk.clock.untold([0]):
        incident.told_start, incident.told_end = True, state == "ended"
        desk.keeper.store.put(partition, incident, incident.id)
    desk.write()
    assert desk.clock.untold([0]) == []
    desk.restart()
    assert desk.clock.untold([0]) == []


def test_what_is_over_is_forgotten_after_a_day_and_what_stands_is_not() -> None:
    desk = Desk(FAST, OWING)
    for _ in range(3):
        desk.happens(0, DEPOSIT)
    desk.happens(0, EventType.DEPOSIT_REVERSED, "bob", shortfall=9)
    desk.happens(0, EventType.WITHDRAWAL_REQUESTED, "cat", **withdrawal("PENDING"))
    desk.look(30)
    for _, incident, _ in desk.clock.untold([0]):
        incident.told_start = incident.told_end = True
        desk.keeper.store.put(0, incident, incident.id)
    desk.write()
    desk.happens(9 * 24 * 60, DEPOSIT, "dan")
    desk.clock.forget([0])
    desk.write()
    left = sorted((place_of(key)[1], key.rpartition(b"/")[2].decode()) for key in desk.table)
    assert [kind for kind, _ in left] == ["incident", "mark", "minute", "user", "withdrawal"]
    assert ("user", "dan") in left
    assert desk.incidents() == [("bob", 0, None)]


def test_a_user_who_comes_back_is_not_forgotten_by_a_picture_that_is_a_moment_old() -> None:
    desk = Desk()
    desk.happens(0, DEPOSIT, "ann")
    desk.happens(9 * 24 * 60, DEPOSIT, "dan")
    fact = Fact("ann", 2, START_MS + 9 * 24 * 60 * MINUTE_MS, DEPOSIT)
    desk.keeper.count(0, 99, fact)
    desk.clock.forget([0])
    desk.write()
    assert desk.picture.users["ann"][1].seen == [[1, 2]]


# ---------------------------------------------------------------------- the file of rules


def test_our_own_rules_watch_each_kind_of_thing() -> None:
    rules = read_rules(Settings())
    kinds = {type(rule) for rule in rules}
    assert kinds == {Velocity, Rejections, Shortfall, Ageing, HotWallet, Silence, BridgeLag}
    assert all(rule.do for rule in rules)


def test_every_rule_of_ours_has_a_section_in_the_runbook() -> None:
    page = Path(__file__).parents[3] / "docs" / "runbooks" / "alerts.md"
    headings = [line.removeprefix("## ") for line in page.read_text().splitlines()]
    assert [rule.name for rule in read_rules(Settings()) if rule.name not in headings] == []


@pytest.mark.parametrize(
    "text",
    [
        "rule = 1",
        '[[rule]]\nname = "a"\nwatches = "weather"\ndo = ""',
        '[[rule]]\nname = "a"\nwatches = "shortfall"\namount = "-1"\ndo = ""',
        '[[rule]]\nname = "a"\nwatches = "shortfall"\namount = "1"\ndo = ""\nof = 1',
        '[[rule]]\nname = "A b"\nwatches = "shortfall"\namount = "1"\ndo = ""',
        '[[rule]]\nname = "a"\nwatches = "velocity"\nevents = ["x"]\nminutes = 1\ndo = ""',
        '[[rule]]\nname = "a"\nwatches = "velocity"\nevents = []\nminutes = 1\ndo = ""',
        '[[rule]]\nname = "a"\nwatches = "shortfall"\namount = "1"\ndo = ""\n' * 2,
    ],
)
def test_a_file_that_says_no_rules_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=str(path)):
        read_rules(Settings(views_rules=str(path)))


def test_a_file_that_is_not_there_is_told() -> None:
    with pytest.raises(SettingsError, match="No such file"):
        read_rules(Settings(views_rules="/nowhere/rules.toml"))
