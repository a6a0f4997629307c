"""What was measured, on which machine: as a table for people and as JSON for later."""

from __future__ import annotations

import os
import platform
import subprocess
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

import confluent_kafka
import msgspec
import psutil
from rich.console import Console
from rich.table import Table

from bench.stage import Servers
from db.engine import connect
from streams.local.jars import kafka_version

_PACKAGES: Final = ("aiohttp", "confluent-kafka", "msgspec", "psycopg")
_SYNCS: Final = 100

#: What stands under the table of a quick run.
LOOK: Final = (
    "A look, not a measurement: the runs were short and the past a tenth, so no bar is judged."
)


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement: ``ratio`` is value to baseline, ``met`` None where there is no bar."""

    key: str
    name: str
    value: float
    unit: str
    baseline: float | None = None
    #: What the baseline is.
    against: str = ""
    ratio: float | None = None
    bar: str = ""
    met: bool | None = None
    note: str = ""


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What the numbers hang on."""

    cpu: str
    cores: int
    memory_gb: float
    system: str
    #: What one durable write costs here: it bounds whoever commits one command at a time.
    fsync_ms: float
    postgresql: str
    fsync: str
    synchronous_commit: str
    kafka: str
    #: Whether the broker has each batch on disk before it acknowledges it.
    python: str
    packages: dict[str, str]


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """A run of the bench."""

    date: str
    #: The commit of the project, where it is known.
    commit: str
    arguments: str
    seconds: float
    machine: Machine
    lines: list[Line]
    #: Whether it was too short to measure anything by; then no bar is judged.
    look: bool = False


def describe(servers: Servers) -> Machine:
    """This machine and the servers on it."""
    with connect(servers.database, application_name="wallet-bench") as connection:
        row = connection.execute(
            "SELECT current_setting('server_version'), current_setting('fsync'),"
            " current_setting('synchronous_commit')"
        ).fetchone()
    assert row is not None
    library, _ = confluent_kafka.libversion()
    return Machine(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)),
        memory_gb=round(psutil.virtual_memory().total / 2**30, 1),
        system=platform.platform(),
        fsync_ms=_fsync_ms(servers.home),
        postgresql=row[0],
        fsync=row[1],
        synchronous_commit=row[2],
        kafka=kafka_version(),
        python=platform.python_version(),
        packages={name: version(name) for name in _PACKAGES} | {"librdkafka": library},
    )


def results_of(
    lines: list[Line], machine: Machine, arguments: str, seconds: float, *, look: bool = False
) -> Results:
    """Everything that is kept of a run; one that is only a look says of no bar that it is met."""
    if look:
        lines = [msgspec.structs.replace(line, met=None) for line in lines]
    return Results(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=_commit(),
        arguments=arguments,
        seconds=round(seconds, 1),
        machine=machine,
        lines=lines,
        look=look,
    )


def save(results: Results, path: Path) -> None:
    """Write the results as JSON, in place of the last ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=2) + b"\n")


def read(path: Path) -> Results:
    """The results that were kept last; raises ``FileNotFoundError`` where none were."""
    return msgspec.json.decode(path.read_bytes(), type=Results)


def show(results: Results, console: Console) -> None:
    """Print the table, and under it what the lines have to say and the machine."""
    table = Table("", "what", "value", "unit", "baseline", "ratio", "bar", "met", box=None)
    for column in (2, 4, 5):
        table.columns[column].justify = "right"
    for line in results.lines:
        table.add_row(
            line.key,
            line.name,
            _number(line.value),
            line.unit,
            "" if line.baseline is None else _number(line.baseline),
            "" if line.ratio is None else f"{line.ratio:.2f}",
            line.bar,
            {None: "", True: "met", False: "[red]not met[/red]"}[line.met],
        )
    console.print(table)
    if results.look:
        console.print(LOOK, soft_wrap=True, style="bold")
    for line in results.lines:
        told = "; ".join(filter(None, (line.against and f"against {line.against}", line.note)))
        if told:
            console.print(f"{line.key} {line.name}: {told}", soft_wrap=True, style="dim")
    machine = results.machine
    console.print(
        f"{machine.cpu}, {machine.cores} cores, {machine.memory_gb} GB,"
        f" fsync {machine.fsync_ms} ms;"
        f" PostgreSQL {machine.postgresql} (fsync {machine.fsync}, synchronous_commit"
        f" {machine.synchronous_commit}), Kafka {machine.kafka}"
        f" (commands flushed), Python {machine.python};"
        f" {results.date}, {results.seconds:.0f} s, commit {results.commit or 'unknown'}",
        soft_wrap=True,
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _fsync_ms(folder: Path) -> float:
    """Median time of making 8 KiB durable where the servers' data lies."""
    times = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(_SYNCS):
            started = time.perf_counter()
            os.pwrite(file.fileno(), bytes(8192), 0)
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - started)
    return round(sorted(times)[_SYNCS // 2] * 1000, 2)


def _commit() -> str:
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except OSError:
        return ""
    return done.stdout.strip()
