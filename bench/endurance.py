"""Whether a worker's memory stays where it is, under bursts that fill its batches."""

from __future__ import annotations

import time
from itertools import islice
from typing import Final, NamedTuple

from bench.plans import PARTITIONS, SHARES, Plan
from bench.stage import BenchFailed, Stage, Told
from bench.throughput import Memory
from streams.loadgen.plan import Layout, Script

#: Twice what a batch takes at most, so that full ones are among them.
BURST: Final = 10_000
_EVERY_SECONDS: Final = 2.0
#: A long run takes its time between them: each burst leaves some 40 MB on the disk.
_BURSTS_MOST: Final = 500


class Endured(NamedTuple):
    """A worker's memory over a run, in MB: the most in each half, at its end; and what it did."""

    first_half_mb: float
    second_half_mb: float
    end_mb: float
    commands: int


def endure(stage: Stage, seed: int, users: int, burst: int, seconds: float, told: Told) -> Endured:
    """Send bursts of the marketplace's mix for so long, no faster than they are applied."""
    script = Script(seed, users, Layout(PARTITIONS), SHARES)
    plan = Plan(
        name="endurance", players=script.players, funding=list(script.funding()), measured=()
    )
    market = script.marketplace()
    every = max(_EVERY_SECONDS, seconds / _BURSTS_MOST)
    sent = 0
    with stage.workers(1) as processes:
        stage.settle(plan, told)
        with Memory(processes) as memory:
            started = time.monotonic()
            while (now := time.monotonic()) < started + seconds:
                due = now + every
                stage.apply(list(islice(market, burst)), lambda text: None)
                sent += burst
                told(f"{now - started:.0f} of {seconds:.0f} s, {memory.samples[-1]:.0f} MB")
                time.sleep(max(due - time.monotonic(), 0))
    stage.check()
    samples = memory.samples
    if len(samples) < 2:
        raise BenchFailed("the run was too short to see a worker's memory twice")
    middle = len(samples) // 2
    return Endured(max(samples[:middle]), max(samples[middle:]), samples[-1], sent)
