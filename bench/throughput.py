"""How many commands a second: from full topics to the last event published."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import psutil

from bench.baseline import Measured
from bench.plans import Plan
from bench.stage import BenchFailed, Stage, Told, environment_of
from streams.local.process import stop

ROOT: Final = Path(__file__).parent.parent
_BASELINE_SECONDS: Final = 600.0
_SAMPLE_SECONDS: Final = 0.2


class Run(NamedTuple):
    """One measurement: commands a second, and the most memory that a worker had, in MB."""

    rate: float
    peak_mb: float


def apply_by_workers(stage: Stage, plan: Plan, workers: int, told: Told) -> Run:
    """The plan by so many worker processes, its funding not measured.

    The clock runs from the moment that the records may be read, to the group's committed offsets
    being past all of them: applied, their events and manifests published.
    """
    with stage.workers(workers) as processes:
        stage.settle(plan, told)
        gate = stage.gate(plan.measured)
        targets = stage.targets_of(plan.measured)
        with Memory(processes) as memory:
            started = gate.open()
            ended = stage.await_published(targets, told)
    stage.check()
    return Run(len(plan.measured) / (ended - started), memory.peak_mb)


def apply_by_baseline(stage: Stage, plan: Plan, told: Told) -> Run:
    """The plan one command at a time; its funding by a worker, and not measured."""
    with stage.workers(1):
        stage.settle(plan, told)
    with baseline(stage, len(plan.measured)) as process, Memory([psutil.Process(process.pid)]) as m:
        stage.gate(plan.measured).open()
        told(f"{len(plan.measured):,} commands")
        try:
            said, _ = process.communicate(timeout=_BASELINE_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise BenchFailed("the baseline does not end") from error
    if process.returncode:
        raise BenchFailed(f"the baseline ended with {process.returncode}; it said why above")
    measured = msgspec.json.decode(said, type=Measured)
    stage.check()
    return Run(measured.commands / measured.seconds, m.peak_mb)


@contextmanager
def baseline(stage: Stage, commands: int = 0) -> Iterator[subprocess.Popen[bytes]]:
    """The baseline as a process that reads the topics by now; 0 commands: until it is stopped."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.baseline", "--commands", str(commands)],
        stdout=subprocess.PIPE,
        env=environment_of(stage.settings),
        cwd=ROOT,
    )
    assert process.stdout is not None
    try:
        if process.stdout.readline() != b"ready\n":
            raise BenchFailed("the baseline did not start; it said why above")
        yield process
    finally:
        stop(process, patience_seconds=10.0)
        process.stdout.close()


class Memory:
    """Looks at the memory of processes while the context lasts."""

    def __init__(self, processes: list[psutil.Process]) -> None:
        self._processes = processes
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="memory", daemon=True)
        #: The largest process at each look, in MB.
        self.samples: list[float] = []

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def peak_mb(self) -> float:
        """The most that one of them had."""
        return max(self.samples, default=0.0)

    def _look(self) -> None:
        while True:
            try:
                sizes = [process.memory_info().rss for process in self._processes]
            except psutil.NoSuchProcess:
                return
            self.samples.append(max(sizes) / 2**20)
            if self._over.wait(_SAMPLE_SECONDS):
                return
