"""``python -m bench``: measures, prints the table, keeps it in ``bench/results/latest.json``."""

from __future__ import annotations

import argparse
import gc
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from rich.console import Console

from bench.lines import LETTERS, Bench, Options
from bench.report import describe, read, results_of, save, show
from bench.stage import BenchFailed, own_servers
from streams.local.errors import StackError
from streams.local.progress import OnConsole

RESULTS: Final = Path(__file__).parent / "results" / "latest.json"

#: A tenth of the past, and shorter runs: a look, not a measurement.
_QUICK: Final = Options(
    commands=60_000,
    baseline_commands=1_500,
    history_entries=1_000_000,
    latency_seconds=8.0,
    sales=20_000,
    endurance_seconds=20.0,
    events=5_000,
)


def main(arguments: list[str]) -> int:
    """Measure what is asked for; 1 if a run did not do what it should have done."""
    asked = arguments_of(arguments)
    console = Console(highlight=False, soft_wrap=True)
    if asked.show:
        return _show_kept(asked.results or RESULTS, console)
    progress = OnConsole(console)
    started = time.monotonic()
    # So that whatever ends the bench, its servers end with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Plans are millions of objects that stay; walking them would be measured as waiting.
    gc.disable()
    try:
        with own_servers(progress) as servers:
            machine = describe(servers)
            lines = list(Bench(servers, options_of(asked), progress).lines())
    except (BenchFailed, StackError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: interrupted; nothing is kept", file=sys.stderr)
        return 130
    seconds = time.monotonic() - started
    results = results_of(lines, machine, " ".join(arguments), seconds, look=asked.quick)
    show(results, _wide(console))
    if (kept := kept_in(asked)) is None:
        console.print(f"not kept: {RESULTS} has what was measured last")
        return 0
    save(results, kept)
    console.print(f"kept in {kept}")
    return 0


def _show_kept(path: Path, console: Console) -> int:
    try:
        show(read(path), _wide(console))
    except FileNotFoundError:
        print(f"bench: {path} is not there yet: `make bench` measures", file=sys.stderr)
        return 1
    return 0


def _wide(console: Console) -> Console:
    """The console, or where nobody looks, one on which no row of the table is broken."""
    return console if console.is_terminal else Console(width=160, highlight=False)


def arguments_of(arguments: list[str]) -> argparse.Namespace:
    """What is asked for; exits where it is none of what can be."""
    told = ["the lines:", *(f"  {letter}  {what}" for letter, what in LETTERS.items())]
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure the wallet's bars on durable servers of its own, started for it.",
        epilog="\n".join(told),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", metavar="a,b", help="these lines alone, and what they need")
    parser.add_argument("--commands", type=int, help="commands of a throughput run")
    parser.add_argument("--workers", metavar="1,2", help="worker processes; the better one counts")
    parser.add_argument("--users", type=int, help="users of the marketplace")
    parser.add_argument("--seed", type=int, default=1, help="the same seed asks the same")
    parser.add_argument("--quick", action="store_true", help="shorter runs, a tenth of the past")
    parser.add_argument("--hour", action="store_true", help="watch the memory for an hour")
    parser.add_argument("--seconds", type=float, help="watch the memory for so long")
    parser.add_argument("--show", action="store_true", help="print what was kept last, and end")
    parser.add_argument("--results", type=Path, help="where to keep the results")
    return parser.parse_args(arguments)


def kept_in(asked: argparse.Namespace) -> Path | None:
    """Where the results are kept: those of a look nowhere, unless a place is named."""
    if asked.results is not None:
        return Path(asked.results)
    return None if asked.quick else RESULTS


def options_of(asked: argparse.Namespace) -> Options:
    """What to measure; exits where the question makes no sense."""
    options = replace(_QUICK if asked.quick else Options(), seed=asked.seed)
    if asked.only is not None:
        only = frozenset(asked.only.split(","))
        if not only <= LETTERS.keys():
            raise SystemExit(f"--only takes letters of {', '.join(LETTERS)}, by commas")
        options = replace(options, only=only)
    if asked.workers is not None:
        options = replace(options, workers=tuple(int(text) for text in asked.workers.split(",")))
    for name in ("commands", "users"):
        if getattr(asked, name) is not None:
            options = replace(options, **{name: getattr(asked, name)})
    if asked.hour or asked.seconds:
        options = replace(options, endurance_seconds=asked.seconds or 3600.0)
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
