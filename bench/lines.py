"""The lines of the table: which runs each needs, its baseline, and its bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Final

from bench import bridge, plans
from bench.blocks import follow, follow_one_by_one, watch_addresses
from bench.endurance import BURST, endure
from bench.history import write_history
from bench.latency import RATE, Waits, commands_for, post_and_wait, send_and_see
from bench.plans import Plan
from bench.report import Line
from bench.stage import Servers, Stage, Told, new_account
from bench.throughput import Run, apply_by_baseline, apply_by_workers, baseline
from streams.local.progress import Progress

RATE_LEAST: Final = 25_000
RATE_AIM: Final = 45_000
TIMES_LEAST: Final = 15
HISTORY_SHARE_LEAST: Final = 0.80
HOT_SHARE_LEAST: Final = 0.50
P50_MOST_MS: Final = 10.0
P99_MOST_MS: Final = 40.0
MEMORY_MOST_MB: Final = 300.0
#: A twentieth of the most: memory that comes and goes with the size of batches is no leak.
GROWTH_MOST_MB: Final = 15.0
BLOCKS_LEAST: Final = 20.0
BRIDGED_LEAST: Final = 2_000
#: Looking up output by output shows its rate soon.
_BASELINE_BLOCKS: Final = 5

#: The lines by letter, in the order in which they are measured.
LETTERS: Final = {
    "a": "end to end, the marketplace's mix",
    "b": "end to end, lock_funds alone",
    "c": "the baseline: one command at a time",
    "d": "the same as a and b on books with a long past",
    "e": "an awaited POST",
    "f": "from the command on its topic to its event",
    "g": "a hot seller",
    "h": "a worker's memory",
    "i": "full blocks that the watcher takes",
    "j": "events that the bridge brings to a bus",
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """How much to measure."""

    only: frozenset[str] = frozenset(LETTERS)
    workers: tuple[int, ...] = (1, 2)
    seed: int = 1
    users: int = 10_000
    commands: int = 300_000
    #: One command at a time needs fewer to show its rate.
    baseline_commands: int = 4_000
    history_entries: int = 10_000_000
    latency_seconds: float = 20.0
    sales: int = 100_000
    endurance_seconds: float = 60.0
    burst: int = BURST
    addresses: int = 1_000_000
    blocks: int = 300
    events: int = 20_000


class Bench:
    """Measures the lines that are asked for; what several of them need, once."""

    def __init__(self, servers: Servers, options: Options, progress: Progress) -> None:
        self._servers = servers
        self._options = options
        self._progress = progress
        self._account = new_account()
        self._stages = count(1)
        self.market = cache(self._market)
        self.locks = cache(self._locks)
        self.one_by_one = cache(self._one_by_one)
        self.when_empty = cache(self._when_empty)

    def lines(self) -> Iterator[Line]:
        """Measure, line by line."""
        makers: dict[str, Callable[[], Iterator[Line]]] = {
            "a": lambda: self._end_to_end("a", "marketplace"),
            "b": lambda: self._end_to_end("b", "lock_funds"),
            "c": self._baselines,
            "d": self._with_past,
            "e": self._posts,
            "f": self._events,
            "g": self._hot_seller,
            "h": self._memory,
            "i": self._blocks,
            "j": self._bridge,
        }
        for letter in LETTERS:
            if letter in self._options.only:
                yield from makers[letter]()

    # ------------------------------------------------------------------ throughput

    def _end_to_end(self, key: str, name: str) -> Iterator[Line]:
        slow = self.one_by_one(name)
        runs = self.when_empty(name)
        workers = max(runs, key=lambda number: runs[number].rate)
        best = runs[workers]
        ratio = best.rate / slow.rate
        told = ", ".join(
            f"{_workers(number)} {run.rate:,.0f}/s and {run.peak_mb:.0f} MB"
            for number, run in runs.items()
        )
        yield Line(
            key=key,
            name=f"topic to ledger to events, {name}",
            value=best.rate,
            unit="commands/s",
            baseline=slow.rate,
            against="one command at a time",
            ratio=ratio,
            bar=f">= {RATE_LEAST:,} and >= {TIMES_LEAST}x",
            met=best.rate >= RATE_LEAST and ratio >= TIMES_LEAST,
            note=f"{told}; the aim is {RATE_AIM:,}/s",
        )

    def _baselines(self) -> Iterator[Line]:
        for name in ("marketplace", "lock_funds"):
            yield Line(
                key="c",
                name=f"one command at a time, {name}",
                value=self.one_by_one(name).rate,
                unit="commands/s",
                note=f"{self._options.baseline_commands:,} commands",
            )

    def _with_past(self) -> Iterator[Line]:
        market, locks = self.market(), self.locks()
        best = {
            plan.name: max(self.when_empty(plan.name).items(), key=lambda item: item[1].rate)
            for plan in (market, locks)
        }
        with self._stage("past") as stage:
            wanted = self._options.history_entries
            with self._progress.step(f"writing {wanted:,} entries of a past") as step:
                entries = write_history(stage, market, wanted, step.update)
            for plan in (market, locks):
                workers, empty = best[plan.name]
                with self._progress.step(f"{plan.name}: {_workers(workers)} after a past") as step:
                    run = apply_by_workers(stage, plan, workers, step.update)
                share = run.rate / empty.rate
                yield Line(
                    key="d",
                    name=f"{plan.name}, {entries / 1e6:,.1f} M entries present",
                    value=run.rate,
                    unit="commands/s",
                    baseline=empty.rate,
                    against=f"the rate on empty books, {_workers(workers)} each time",
                    ratio=share,
                    bar=f">= {HISTORY_SHARE_LEAST:.0%}",
                    met=share >= HISTORY_SHARE_LEAST,
                )

    def _hot_seller(self) -> Iterator[Line]:
        options = self._options
        workers = max(options.workers)
        runs = {}
        for hot in (False, True):
            plan = plans.sales(options.seed, options.users, options.sales, hot=hot)
            runs[hot] = self._by_workers(plan, workers)
        share = runs[True].rate / runs[False].rate
        yield Line(
            key="g",
            name="hot seller: every release credits one account",
            value=runs[True].rate,
            unit="commands/s",
            baseline=runs[False].rate,
            against=f"the same releases to many sellers, {_workers(workers)} each time",
            ratio=share,
            bar=f">= {HOT_SHARE_LEAST:.0%}",
            met=share >= HOT_SHARE_LEAST,
        )

    # ------------------------------------------------------------------ waiting

    def _posts(self) -> Iterator[Line]:
        plan = self._paced("post")
        waits = []
        for slow in (False, True):
            with self._applied("post", plan, slow=slow) as (stage, told):
                waits.append(post_and_wait(stage, plan, told))
        yield from _waiting("e", f"awaited POST at {RATE:.0f}/s", *waits)

    def _events(self) -> Iterator[Line]:
        plan = self._paced("event")
        waits = []
        for slow in (False, True):
            with self._applied("event", plan, slow=slow) as (stage, told):
                waits.append(send_and_see(stage, plan, told))
        yield from _waiting("f", f"command to readable event at {RATE:.0f}/s", *waits)

    def _paced(self, name: str) -> Plan:
        options = self._options
        return plans.locks(options.seed, options.users, commands_for(options.latency_seconds))

    @contextmanager
    def _applied(self, name: str, plan: Plan, *, slow: bool) -> Iterator[tuple[Stage, Told]]:
        """A stage where commands are applied, by a worker or by the baseline; checks the books."""
        who = "one command at a time" if slow else "1 worker"
        with (
            self._stage(name) as stage,
            self._progress.step(f"{name}s at {RATE:.0f}/s: {who}") as step,
        ):
            with stage.workers(1):
                stage.settle(plan, step.update)
                if not slow:
                    yield stage, step.update
            if slow:
                with baseline(stage):
                    yield stage, step.update
            stage.check()

    # ------------------------------------------------------------------ memory

    def _memory(self) -> Iterator[Line]:
        options = self._options
        seconds = options.endurance_seconds
        with (
            self._stage("memory") as stage,
            self._progress.step(f"memory of a worker, {seconds:.0f} s") as step,
        ):
            seen = endure(stage, options.seed, options.users, options.burst, seconds, step.update)
        peak = max(seen.first_half_mb, seen.second_half_mb)
        yield Line(
            key="h",
            name="worker's memory, the most it had",
            value=peak,
            unit="MB",
            bar=f"<= {MEMORY_MOST_MB:.0f}",
            met=peak <= MEMORY_MOST_MB,
            note=f"{seen.end_mb:.0f} MB at the end of {seconds:.0f} s and {seen.commands:,} "
            f"commands in bursts of {options.burst:,}",
        )
        growth = seen.second_half_mb - seen.first_half_mb
        yield Line(
            key="h",
            name="worker's memory, growth from half to half",
            value=growth,
            unit="MB",
            bar=f"<= {GROWTH_MOST_MB:.0f}",
            met=growth <= GROWTH_MOST_MB,
            note=f"at most {seen.first_half_mb:.0f} MB in the first half of the run, "
            f"{seen.second_half_mb:.0f} MB in the second",
        )

    # ------------------------------------------------------------------ the chain

    def _blocks(self) -> Iterator[Line]:
        options = self._options
        with (
            self._stage("blocks") as stage,
            self._progress.step(f"blocks against {options.addresses:,} addresses") as step,
        ):
            watch_addresses(stage, options.addresses)
            slow = follow_one_by_one(
                stage, options.seed + 1, options.addresses, min(_BASELINE_BLOCKS, options.blocks)
            )
            seen = follow(stage, options.seed, options.addresses, options.blocks, step.update)
        yield Line(
            key="i",
            name=f"full blocks against {options.addresses:,} addresses",
            value=seen.rate,
            unit="blocks/s",
            baseline=slow,
            against="each output and input looked up by itself",
            ratio=seen.rate / slow,
            bar=f">= {BLOCKS_LEAST:.0f}",
            met=seen.rate >= BLOCKS_LEAST,
            note=f"{seen.blocks} blocks of 1,500 transactions and 3,000 outputs, {seen.matched:,} "
            "payments and spends of ours in them; the node's own time is not counted",
        )
        growth = seen.second_half_mb - seen.first_half_mb
        yield Line(
            key="i",
            name="watcher's memory, growth from half to half",
            value=growth,
            unit="MB",
            bar=f"<= {GROWTH_MOST_MB:.0f}",
            met=growth <= GROWTH_MOST_MB,
            note=f"at most {seen.first_half_mb:.0f} MB in the first half of the run, "
            f"{seen.second_half_mb:.0f} MB in the second, the bench itself included",
        )

    # ------------------------------------------------------------------ the bridge

    def _bridge(self) -> Iterator[Line]:
        count = self._options.events
        made = bridge.events(count)
        for name, bus in (
            ("AWS emulator", bridge.emulator),
            ("bus that only says yes", bridge.yes_bus),
        ):
            with (
                self._stage("bridge") as stage,
                self._progress.step(f"{count:,} events to the {name}") as step,
                bus(stage) as address,
            ):
                most = bridge.ceiling(stage, address, made)
                rate = bridge.bring(stage, address, made, step.update)
            yield Line(
                key="j",
                name=f"bridge to the {name}",
                value=rate,
                unit="events/s",
                baseline=most,
                against="all that this bus takes, from callers that do nothing else",
                ratio=rate / most,
                bar=f">= {BRIDGED_LEAST:,}",
                met=rate >= BRIDGED_LEAST,
                note=f"{stage.settings.bridge_calls} calls at a time",
            )

    # ------------------------------------------------------------------ runs that are shared

    def _market(self) -> Plan:
        options = self._options
        with self._progress.step(f"planning a marketplace of {options.commands:,} commands"):
            return plans.market(options.seed, options.users, options.commands)

    def _locks(self) -> Plan:
        options = self._options
        with self._progress.step(f"planning {options.commands:,} lock_funds"):
            return plans.locks(options.seed, options.users, options.commands)

    def _plan(self, name: str) -> Plan:
        return self.market() if name == "marketplace" else self.locks()

    def _one_by_one(self, name: str) -> Run:
        plan = self._plan(name).first(self._options.baseline_commands)
        with (
            self._stage("baseline") as stage,
            self._progress.step(f"{name}: one command at a time") as step,
        ):
            return apply_by_baseline(stage, plan, step.update)

    def _when_empty(self, name: str) -> dict[int, Run]:
        """Workers to their run on empty books."""
        plan = self._plan(name)
        return {workers: self._by_workers(plan, workers) for workers in self._options.workers}

    def _by_workers(self, plan: Plan, workers: int) -> Run:
        with (
            self._stage("workers") as stage,
            self._progress.step(f"{plan.name}: {_workers(workers)}") as step,
        ):
            return apply_by_workers(stage, plan, workers, step.update)

    @contextmanager
    def _stage(self, name: str) -> Iterator[Stage]:
        stage = Stage(self._servers, f"{name}_{next(self._stages)}", self._account)
        yield stage
        # Not where the run failed: what is left there may tell why.
        stage.drop()


def _workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"


def _waiting(key: str, name: str, ours: Waits, slow: Waits) -> Iterator[Line]:
    for percentile, most in (("p50", P50_MOST_MS), ("p99", P99_MOST_MS)):
        value, base = getattr(ours, percentile), getattr(slow, percentile)
        yield Line(
            key=key,
            name=f"{name}, {percentile}",
            value=value,
            unit="ms",
            baseline=base,
            against="the same while commands are applied one at a time",
            ratio=value / base,
            bar=f"<= {most:.0f} ms",
            met=value <= most,
            note=f"{ours.counted:,} waits",
        )
