"""``wallet loadgen``: plays a marketplace on the real topics, then checks the balances."""

from __future__ import annotations

import signal
import sys
import threading
import time
from typing import Any

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from api.commands.arguments import Number, Whole
from api.console import standard_output
from schemas.settings import Settings
from streams.loadgen.pieces import Shares
from streams.loadgen.referee import Report
from streams.loadgen.run import Game, Options, Stalled

_SHARE = Number(0, 1, max_open=True)


@click.command("loadgen")
@click.option("--users", type=Whole(2, 1_000_000), default=200, show_default=True)
@click.option(
    "--commands",
    type=Whole(0),
    help="Records of the marketplace; 10,000 unless --duration ends it.",
)
@click.option(
    "--rate",
    type=Number(0),
    default=0,
    show_default=True,
    help="Records a second; 0 sends as fast as it goes.",
)
@click.option("--duration", type=Number(0, min_open=True), help="End after so many s.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same plays the same.")
@click.option("--run", help="Mixed into the users' ids; the time, so that each run has its own.")
@click.option(
    "--duplicates", type=_SHARE, default=0.02, show_default=True, help="Share sent again."
)
@click.option(
    "--overdrafts", type=_SHARE, default=0.01, show_default=True, help="Share over the balance."
)
@click.option(
    "--malformed", type=_SHARE, default=0.005, show_default=True, help="Share not readable."
)
@click.option(
    "--patience",
    type=Number(1),
    default=30,
    show_default=True,
    help="Give up when no outcome came for so many seconds.",
)
def command(
    users: int,
    commands: int | None,
    rate: float,
    duration: float | None,
    seed: int,
    run: str | None,
    duplicates: float,
    overdrafts: float,
    malformed: float,
    patience: float,
) -> None:
    """Play a marketplace on the real topics, then check that the balances add up to it.

    Opens and funds wallets of its own, plays bids, outbids, orders, escrows and withdrawals,
    waits for the outcome of every record, and compares outcomes, events and balances with its own
    model. Exits with 1 on any difference. Where a node is set (WALLET_NODE_URL), whose payer would
    pay for real, nobody withdraws. It writes to the treasury's topic and credits deposits
    that are on no chain: never point it at a wallet with real money.

    Ctrl-C ends the play early; what was sent is still waited for and checked.
    """
    if duplicates + overdrafts + malformed >= 1:
        raise click.UsageError("the three shares together must stay under 1")
    settings = Settings.from_environ()
    settings.require("kafka")
    options = Options(
        users=users,
        seed=seed,
        run=run or f"{int(time.time() * 1000):x}",
        commands=10_000 if commands is None and duration is None else commands,
        rate=rate,
        duration_seconds=duration,
        shares=Shares(duplicates, overdrafts, malformed),
        patience_seconds=patience,
    )
    console = standard_output()
    console.print(f"seed {seed}, run {options.run}: {users} users")
    try:
        report = _play(settings, options, console)
    except Stalled as stalled:
        raise click.ClickException(str(stalled)) from stalled
    _show(report, console)
    sys.exit(1 if report.different else 0)


def _play(settings: Settings, options: Options, console: Console) -> Report:
    """The game under a progress bar; the first Ctrl-C or SIGTERM ends the play."""
    stop = threading.Event()

    def end(number: int, frame: Any) -> None:
        stop.set()
        signal.signal(number, signal.default_int_handler)

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    bars: dict[str, TaskID] = {}
    try:
        with Progress(
            TextColumn("{task.description:12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        ) as progress:

            def tell(stage: str, done: int, total: int | None) -> None:
                if stage not in bars:
                    bars[stage] = progress.add_task(stage, total=total)
                progress.update(bars[stage], completed=done, total=total)

            return Game(settings, options, progress=tell, stop=stop).play()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _show(report: Report, console: Console) -> None:
    table = Table("what", "count", box=None)
    table.columns[1].justify = "right"
    rows = {
        "users": report.users,
        "records sent": report.sent,
        "accepted": report.accepted,
        **{f"rejected: {code}": count for code, count in sorted(report.rejected.items())},
        "replayed": report.replayed,
        **{f"dead letter: {code}": count for code, count in sorted(report.dead_letters.items())},
        "not sent after a wrong refusal": report.skipped,
        "differences": report.different,
    }
    for what, count in rows.items():
        if count or what in ("replayed", "differences"):
            table.add_row(what, f"{count:,}")
    console.print(table)
    if report.seconds:
        console.print(
            f"{report.played:,} records of the marketplace, from the first sent to the last "
            f"outcome: {report.seconds:.1f} s, {report.rate:,.0f} a second"
        )
    for text in report.differences:
        console.print(f"[red]difference[/red] {text}", soft_wrap=True)
    if report.different > len(report.differences):
        console.print(f"… and {report.different - len(report.differences):,} more")
    if not report.different:
        console.print("every outcome, event and balance is as it should be")
