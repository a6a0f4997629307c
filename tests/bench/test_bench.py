"""The bench runs, with counts so small that its numbers say nothing: none of them is asserted."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from rich.console import Console

from bench import latency, plans
from bench.__main__ import RESULTS, arguments_of, kept_in, options_of
from bench.history import write_history
from bench.lines import LETTERS, Bench, Options
from bench.report import LOOK, Line, Machine, Results, describe, results_of, save, show
from bench.stage import Servers, Stage, new_account
from bench.throughput import apply_by_baseline, apply_by_workers
from db.engine import connect
from schemas.ids import place_of
from streams.local.progress import Silent
from tests.conftest import PASSWORD

SEED: Final = 7
TINY: Final = Options(
    only=frozenset("acefhj"),
    workers=(1,),
    seed=SEED,
    users=20,
    commands=300,
    baseline_commands=200,
    latency_seconds=0.5,
    endurance_seconds=1.0,
    burst=100,
    events=200,
)

Stages = Callable[[str], Any]


@pytest.fixture
def servers(postgres_server: str, kafka_server: str, servers_home: Path) -> Servers:
    """The servers of the tests, as the bench knows its own."""
    return Servers(
        database=postgres_server, broker=kafka_server, home=servers_home, password=PASSWORD
    )


@pytest.fixture
def stages(servers: Servers, topics: str) -> Stages:
    """Makes stages of a test's own, dropped when their context ends."""
    account = new_account()

    @contextmanager
    def make(name: str) -> Iterator[Stage]:
        stage = Stage(servers, f"{name}_{topics.removesuffix('.')}", account)
        yield stage
        stage.drop()

    return make


def rows_of(stage: Stage, query: str) -> list[tuple[Any, ...]]:
    """What the books say, as the API's role sees them."""
    with connect(stage.settings.api_database_url, application_name="test") as connection:
        return connection.execute(query).fetchall()


def books_of(stage: Stage) -> dict[str, list[tuple[Any, ...]]]:
    """All that two ways to apply the same records must agree on.

    Not the order in which a user's commands of different topics came to be decided, and what
    depends on it: times, and balances and versions in between.
    """
    return {
        query: rows_of(stage, query)
        for query in (
            "SELECT user_id, available, bids, escrow, pending, shortfall, version, sequence"
            " FROM wallets ORDER BY 1",
            "SELECT id, command_id, user_id, account, entry_type, debit, credit, reference_type,"
            " reference_id FROM entries ORDER BY 1",
            "SELECT id, user_id, topic, type, idempotency_key, request_hash, outcome, code,"
            " first_id FROM commands ORDER BY 1",
            'SELECT id, topic, partition, "offset", code, detail, key, value FROM dead_letters'
            " ORDER BY 1",
            "SELECT * FROM locks ORDER BY 1, 2, 3",
            "SELECT id, order_id, buyer_id, seller_id, amount, fee_amount, released, refunded,"
            " fees, remaining, status FROM escrows ORDER BY 1",
            "SELECT id, user_id, amount, fee, destination_address, status FROM withdrawals"
            " ORDER BY 1",
            "SELECT txid, vout, user_id, address, amount, status, creditings FROM deposits"
            " ORDER BY 1, 2",
        )
    }


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_each_line_is_measured_and_kept(
    servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency, "WARM_UP_SECONDS", 0.2)
    lines = list(Bench(servers, TINY, Silent()).lines())
    results = results_of(lines, describe(servers), "--tiny", 1.0)
    save(results, tmp_path / "kept" / "latest.json")
    kept = msgspec.json.decode((tmp_path / "kept" / "latest.json").read_bytes(), type=Results)
    assert kept == results
    assert Counter(line.key for line in kept.lines) == {
        "a": 1,
        "c": 2,
        "e": 2,
        "f": 2,
        "h": 2,
        "j": 2,
    }
    for line in kept.lines:
        assert line.key in LETTERS
        assert (line.met is None) == (line.bar == ""), line
        assert (line.ratio is None) == (line.baseline is None), line


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_baseline_does_the_same_work_as_the_worker(stages: Stages) -> None:
    plan = plans.market(SEED, 20, 400)
    with stages("worker") as stage:
        apply_by_workers(stage, plan, 1, lambda text: None)
        by_worker = books_of(stage)
    with stages("baseline") as stage:
        apply_by_baseline(stage, plan, lambda text: None)
        by_baseline = books_of(stage)
    for query, rows in by_worker.items():
        assert rows == by_baseline[query], query
    assert all(by_worker.values()), "a table that stayed empty proves nothing"


@pytest.mark.timeout(300)
def test_a_past_is_one_that_the_worker_could_have_left(stages: Stages) -> None:
    plan = plans.market(SEED, 20, 50)
    with stages("past") as stage:
        assert write_history(stage, plan, 400, lambda text: None) == 440
        entries = rows_of(stage, "SELECT id::text, command_id::text, user_id FROM entries")
        assert len(entries) == 440
        for entry_id, command_id, _ in entries:
            place, leg = place_of(entry_id)
            assert (place, 0) == place_of(command_id)
            assert place.generation == 0
            assert leg in (1, 2)
        strangers = rows_of(
            stage,
            """
            SELECT w.user_id FROM wallets w JOIN entries e USING (user_id)
             WHERE w.opened_at > 'epoch'
             GROUP BY w.user_id, w.available, w.bids, w.version
            HAVING w.available <> sum(e.credit - e.debit) FILTER (WHERE e.account = 'available')
                OR w.bids <> sum(e.credit - e.debit) FILTER (WHERE e.account = 'bids')
                OR w.version <> max(e.wallet_version)
                OR w.version <> count(DISTINCT e.command_id)
            """,
        )
        assert not strangers
        # The run goes on from there, and finds every outcome as planned.
        apply_by_workers(stage, plan, 1, lambda text: None)


def test_a_hot_plan_pays_one_seller_and_a_spread_one_many() -> None:
    for hot, fewest in ((True, 1), (False, 10)):
        plan = plans.sales(SEED, 20, 200, hot=hot)
        sellers = {msgspec.json.decode(record.value)["data"]["seller_id"] for record in plan.before}
        assert len(plan.before) == len(plan.measured) == 200
        assert (len(sellers) == 1) is hot
        assert len(sellers) >= fewest


def test_percentiles_leave_the_warm_up_out() -> None:
    first = round(latency.WARM_UP_SECONDS * latency.RATE)
    samples = dict.fromkeys(range(first), 9.0) | {first + n: n / 1000 for n in range(200)}
    assert latency.waits_of(samples) == (100.0, 198.0, 200)


def test_a_quick_run_judges_no_bar_says_so_and_leaves_what_was_measured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    machine = Machine(
        cpu="c", cores=2, memory_gb=1.0, system="s", fsync_ms=0.1, postgresql="18", fsync="on",
        synchronous_commit="on", kafka="4", python="3", packages={},
    )  # fmt: skip
    line = Line(key="j", name="events", value=2_033.0, unit="/s", bar="2,000/s", met=True)
    for arguments, judged in ((["--quick"], None), ([], True)):
        asked = arguments_of(arguments)
        results = results_of([line], machine, "", 1.0, look=asked.quick)
        show(results, Console(width=160))
        assert [each.met for each in results.lines] == [judged]
        assert (LOOK in capsys.readouterr().out) is asked.quick
    assert kept_in(arguments_of(["--quick"])) is None
    assert kept_in(arguments_of(["--quick", "--results", "here"])) == Path("here")
    assert kept_in(arguments_of([])) == RESULTS


def test_a_line_that_is_not_there_is_told() -> None:
    asked = argparse.Namespace(only="a,z", quick=False, seed=1)
    with pytest.raises(SystemExit, match="--only takes letters of a, b"):
        options_of(asked)
