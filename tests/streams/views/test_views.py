"""The views on a real broker: what is aborted, who dies, what is told, and what the ledger says."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Awaitable
from pathlib import Path
from types import SimpleNamespace
from typing import Final

import msgspec
import psycopg
import pytest
from click.testing import CliRunner

from api.cli import group
from schemas.amounts import format_amount
from schemas.settings import Settings
from schemas.times import format_time
from schemas.topics import VIEWS_STATE, topic_name
from streams import metrics
from streams.kafka.admin import Admin, create_topics
from streams.local.process import free_port
from streams.views import faust_app
from streams.views.facts import MINUTE_MS
from streams.views.kept import Mark
from streams.views.process import Views, ViewsFailed, prepare, rebuild
from tests.conftest import Database
from tests.streams.views import stage
from tests.streams.views.stage import Record, event, process, viewing
from tests.support.eventually import eventually
from tests.support.flows import of_the_ledger, of_the_views
from tests.support.running import prepared, tell_story, worker_on
from tests.support.story import Story

pytestmark = pytest.mark.timeout(300)

RULES: Final = """
[[rule]]
name = "fast"
watches = "velocity"
events = ["deposit.confirmed"]
minutes = 10
count = 3
do = "look"

[[rule]]
name = "owing"
watches = "shortfall"
amount = "1"
do = "look"

[[rule]]
name = "still"
watches = "silence"
minutes = 1
commands_wait = false
do = "look"
"""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture
def wallet(settings: Settings) -> Settings:
    """The test's own topics, and members that may stand still for as long as the machine does."""
    create_topics(settings)
    return msgspec.structs.replace(
        settings, views_look_seconds=0.3, views_session_seconds=30.0, api_database_url=""
    )


@pytest.fixture
def hasty(wallet: Settings) -> Settings:
    """The same, with members that are given up soon."""
    return msgspec.structs.replace(wallet, views_session_seconds=10.0)


def with_rules(settings: Settings, folder: Path) -> Settings:
    path = folder / "rules.toml"
    path.write_text(RULES)
    return msgspec.structs.replace(settings, views_rules=str(path))


def deposits(users: int, each: int, first: int = 1, at: int | None = None) -> list[Record]:
    at = now_ms() if at is None else at
    return [
        event(f"user-{user}", number, "deposit.confirmed", at, amount="12.5")
        for number in range(first, first + each)
        for user in range(users)
    ]


def counted() -> dict[str, float]:
    """Events counted by members in this process, by outcome."""
    return {
        sample.labels["outcome"]: sample.value
        for metric in metrics.VIEWED.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    }


def test_what_was_aborted_never_shows_and_each_event_counts_once(wallet: Settings) -> None:
    aborted = [event("user-1", 2, "deposit.confirmed", now_ms(), amount="99")]
    rejected = [event("user-2", 2, "command.rejected", now_ms(), code="insufficient_funds")]
    stage.publish_in_transactions(
        wallet,
        [
            (deposits(10, 1), True),
            (aborted, False),
            ([event("user-1", 2, "funds.locked", now_ms(), amount="3")], True),
            ([*rejected, *deposits(4, 1)], True),  # four of them again
            (aborted, False),
        ],
    )
    with viewing(wallet) as member:
        member.ready()
        member.await_total({"deposit.confirmed": 10, "funds.locked": 1})
        assert member.get("/flows")["total"]["deposit.confirmed"]["amount"] == "125.00000000"
        found = member.get("/rejections")["total"]
        assert found == {
            "accepted": 11,
            "replayed": 0,
            "rejected": 1,
            "reasons": {"insufficient_funds": 1},
        }
        assert len(member.get("/movers?limit=3")["movers"]) == 3
        windows = member.get("/velocity/user-1")["windows"]
        assert {each["deposits"]["amount"] for each in windows} == {"12.50000000"}
        _look_at_lag(member)
        assert {"/flows", "/alerts", "/velocity/{user}"} <= {*member.get("/")["pages"]}
        assert 'wallet_views_lag_records{group="views"} 0.0' in member.get("/metrics")
        assert member.get("/alerts")["unwatched"] == ["hot-wallet-low"]
        for path, status in (
            ("/velocity/nobody", 404),
            ("/flows?minutes=0", 400),
            ("/movers?events=x", 400),
            ("/movers?limit=1e3", 400),
            ("/table/state", 404),
            ("/healthz", 200),
        ):
            assert member.answer(path)[0] == status, path


def _look_at_lag(member: stage.Member) -> None:
    """Markers and what was aborted stand after the last event, and nothing waits all the same."""
    eventually(lambda: member.get("/lag")["views"]["records_at_most"] == 0, "nothing waits")
    lag = member.get("/lag")
    assert lag["worker"] == {"records_at_most": 0, "oldest": None, "seconds": 0}
    # No bridge runs, so all events wait for it.
    assert lag["bridge"]["records_at_most"] >= 16
    assert lag["bridge"]["oldest"] is not None
    assert (lag["users_with_gaps"], lag["fault"]) == (0, None)


def test_a_restart_goes_on_from_what_is_kept_and_a_rebuild_counts_the_topic_anew(
    wallet: Settings,
) -> None:
    stage.publish(wallet, deposits(5, 4))
    with viewing(wallet) as member:
        member.await_total({"deposit.confirmed": 20})
        member.ready()
        kept = member.get("/flows")["minutes"]
        with pytest.raises(ViewsFailed, match="1 members of the views run"):
            rebuild(wallet)
    before = counted()
    stage.publish(wallet, [*deposits(5, 1, first=5, at=now_ms()), ("user-1", b"{no event")])
    with viewing(wallet) as member:
        member.await_total({"deposit.confirmed": 25})
        assert member.get("/flows")["minutes"][: len(kept) - 1] == kept[:-1]
        member.ready()
    after = counted()
    assert after["counted"] - before["counted"] == 5, "what was counted is not read again"
    assert after["unreadable"] - before.get("unreadable", 0) == 1
    rebuild(wallet)
    with viewing(wallet) as member:
        member.await_total({"deposit.confirmed": 25})
        member.ready()
    assert counted()["counted"] - after["counted"] == 25


def test_an_incident_is_told_once_with_its_end_whatever_restarts(
    wallet: Settings, tmp_path: Path
) -> None:
    ruled = with_rules(wallet, tmp_path)
    past = now_ms() - 30 * MINUTE_MS
    owing = event("debtor", 1, "deposit.reversed", past, amount="5", shortfall="5.00000000")
    stage.publish(ruled, [*deposits(1, 3, at=past), owing])
    start = [("user-0", "started"), ("user-0", "ended")]
    with viewing(ruled) as member:
        eventually(lambda: stage.told(ruled, "still") == [("all", "started")], "silence is told")
        eventually(lambda: stage.told(ruled, "fast") == start, "velocity is told, and its end")
        eventually(lambda: stage.told(ruled, "owing") == [("debtor", "started")], "debt is told")
        standing = {each["kind"] for each in member.get("/alerts")["open"]}
        assert standing == {"still", "owing"}
    rebuild(ruled)
    with viewing(ruled) as member:
        member.ready()
        eventually(
            lambda: {each["kind"] for each in member.get("/alerts")["open"]} == standing,
            "the same incidents are found again",
        )
        stage.publish(ruled, [event("debtor", 2, "deposit.confirmed", now_ms(), amount="9")])
        eventually(
            lambda: (
                ("all", "ended") in stage.told(ruled, "still")
                and ("debtor", "ended") in stage.told(ruled, "owing")
            ),
            "both ends are told",
        )
    assert stage.told(ruled, "still") == [("all", "started"), ("all", "ended")]
    assert stage.told(ruled, "owing") == [("debtor", "started"), ("debtor", "ended")]
    assert stage.told(ruled, "fast") == start
    told = [each for each in stage.alerts(ruled) if each.kind == "fast"]
    minute = format_time(past // MINUTE_MS * MINUTE_MS)
    assert {each.incident for each in told} == {f"fast/user-0/{minute}"}
    assert told[1].ended_at == format_time((past // MINUTE_MS + 10) * MINUTE_MS)
    assert told[0].do == "look"


@pytest.mark.slow
def test_a_killed_member_leaves_its_part_to_the_other_and_nothing_is_told_twice(
    hasty: Settings, tmp_path: Path
) -> None:
    ruled = with_rules(hasty, tmp_path)
    prepare(ruled)
    log = tmp_path / "views.log"
    with process(ruled, log) as (first, doomed), process(ruled, log) as (second, heir):
        first.ready()
        second.ready()
        stage.publish_in_transactions(
            ruled, [(deposits(24, 3), True), (deposits(24, 1, first=4), False)]
        )
        for member in (first, second):
            member.await_total({"deposit.confirmed": 72})
        parts = [_partitions(member) for member in (first, second)]
        assert sum(parts) == ruled.partitions and all(parts), parts
        doomed.kill()
        stage.publish_in_transactions(ruled, [(deposits(24, 2, first=4), True)])
        second.await_total({"deposit.confirmed": 120})
        second.ready()
        assert _partitions(second) == ruled.partitions
        assert second.get("/flows")["total"]["deposit.confirmed"]["amount"] == "1500.00000000"
        assert second.get("/lag")["users_with_gaps"] == 0
        wanted = sorted((f"user-{user}", "started") for user in range(24))
        eventually(lambda: sorted(stage.told(ruled, "fast")) == wanted, "each user is told of once")
        heir.send_signal(signal.SIGTERM)
        assert heir.wait(30) == 0
    lines = [line for line in log.read_text().splitlines() if not line.startswith("wallet views:")]
    assert all(json.loads(line)["service"] == "views" for line in lines)


@pytest.mark.slow
def test_a_member_that_thaws_when_others_have_its_part_ends_itself_and_each_event_still_counts_once(
    hasty: Settings, tmp_path: Path
) -> None:
    prepare(hasty)
    log = tmp_path / "frozen.log"
    with process(hasty, log) as (first, frozen), viewing(hasty) as heir:
        first.ready()
        heir.ready()
        stage.publish(hasty, deposits(24, 2))
        for member in (first, heir):
            member.await_total({"deposit.confirmed": 48})
        assert 0 < _partitions(first) < hasty.partitions
        frozen.send_signal(signal.SIGSTOP)
        stage.publish(hasty, deposits(24, 1, first=3))
        heir.await_total({"deposit.confirmed": 72})
        assert _partitions(heir) == hasty.partitions
        frozen.send_signal(signal.SIGCONT)
        stage.publish(hasty, deposits(24, 1, first=4))
        eventually(
            lambda: frozen.poll() is not None or stage.print_once(log.read_text()),
            "the thawed member ends",
            stage.PATIENCE_SECONDS,
        )
        told = log.read_text()
        assert frozen.returncode == 1, told
        # It stood still between two looks, or in the midst of a writing.
        assert "stood still for" in told or "a writing took too long" in told
        # Its pages know what is kept, by whomever it was written.
        heir.await_total({"deposit.confirmed": 96})
        assert heir.get("/flows")["total"]["deposit.confirmed"]["amount"] == "1200.00000000"
        assert heir.get("/lag")["users_with_gaps"] == 0


async def test_a_member_that_stood_still_writes_nothing_when_its_partitions_are_taken(
    wallet: Settings,
) -> None:
    views = Views(wallet, free_port())
    views._keeper.store.put(0, Mark(through=1))
    # The broker counts the session from the last heartbeat, a third of a session ago.
    views._beat = time.monotonic() - 0.7 * wallet.views_session_seconds
    leave = views._app.before_leaving
    assert leave is not None
    with pytest.raises(ViewsFailed, match=r"stood still for \d+\.\d s"):
        await leave()
    await asyncio.to_thread(views._close)


async def test_a_writing_whose_last_part_is_delivered_late_ends_the_member(
    wallet: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Views(wallet, free_port())._app
    now, until = [0.0], 1.0
    monkeypatch.setattr(faust_app, "time", SimpleNamespace(monotonic=lambda: now[0]))

    class Slow(dict[bytes, bytes]):
        """A table whose writes are delivered after the time."""

        sent: list[Awaitable[None]]

        def __setitem__(self, key: bytes, value: bytes) -> None:
            super().__setitem__(key, value)
            self.sent.append(self._deliver())

        async def _deliver(self) -> None:
            now[0] = until + 0.1

    table = Slow()
    monkeypatch.setattr(app, "documents", table)
    with pytest.raises(TimeoutError, match="others may have its partitions"):
        await app.write([{b"0/mark/": b"{}"}], until)
    assert table == {b"0/mark/": b"{}"}, "it was written, and nobody knows by whom in what order"


def _partitions(member: stage.Member) -> int:
    (line,) = [
        line
        for line in member.get("/metrics").splitlines()
        if line.startswith("wallet_views_partitions ")
    ]
    return int(float(line.rpartition(" ")[2]))


# ---------------------------------------------------------------------- the ledger

OUTCOMES: Final = "SELECT outcome::text, coalesce(code, ''), count(*) FROM commands GROUP BY 1, 2"


def test_views_equal_a_recomputation_from_the_ledger(
    settings: Settings, database: Database
) -> None:
    told = prepared(
        msgspec.structs.replace(settings, views_look_seconds=0.3, views_session_seconds=30.0)
    )
    with worker_on(told):
        tell_story(told, database, Story())
    with viewing(told) as member, psycopg.connect(database.superuser_url) as connection:
        member.ready()
        assert of_the_views(member.get("/flows?minutes=1440")) == of_the_ledger(connection)
        found = member.get("/rejections?minutes=1440")["total"]
        outcomes = connection.execute(OUTCOMES).fetchall()
        by_name: dict[str, int] = {}
        for outcome, code, count in outcomes:
            name = code if outcome in ("rejected", "key_reused") else outcome
            by_name[name] = by_name.get(name, 0) + count
        assert {
            "accepted": found["accepted"],
            "replayed": found["replayed"],
            **found["reasons"],
        } == by_name
        waiting = connection.execute(
            "SELECT status::text, count(*), sum(amount + fee)::numeric FROM withdrawals"
            " WHERE status IN ('PENDING', 'PROCESSING', 'BROADCAST') GROUP BY 1"
        ).fetchall()
        assert {
            status: (each["count"], each["amount"])
            for status, each in member.get("/ageing")["statuses"].items()
            if each["count"]
        } == {status: (count, format_amount(int(koinu))) for status, count, koinu in waiting}
        for user, owed in connection.execute("SELECT user_id::text, shortfall FROM wallets"):
            assert member.get(f"/velocity/{user}")["shortfall"] == format_amount(owed)
        assert member.get("/lag")["worker"]["records_at_most"] == 0
        assert member.get("/lag")["users_with_gaps"] == 0


# ---------------------------------------------------------------------- the rest


def test_what_is_kept_lies_on_a_compacted_topic_as_wide_as_the_events(wallet: Settings) -> None:
    prepare(wallet)
    name = topic_name(wallet, VIEWS_STATE.name)
    assert name.endswith("wallet-views-state-changelog")
    assert Admin(wallet).topics([name])[name].partitions == wallet.partitions


def test_the_command_explains_itself() -> None:
    result = CliRunner().invoke(group, ["views", "--help"])
    assert result.exit_code == 0
    assert "/readyz" in result.output and "--rebuild" in result.output
