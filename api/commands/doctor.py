"""``wallet doctor``: checks the books, also while the service runs."""

from __future__ import annotations

import sys

import click
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from api.commands.arguments import Number
from api.console import standard_output
from db.engine import SchemaMismatchError
from processors.dogecoin.derivation import AccountKeyUnusable
from schemas.settings import Settings
from streams.doctor import Examined, Options, Report, examination


@click.command("doctor")
@click.option("--quick", is_flag=True, help="Leave out what reads every entry once more.")
@click.option(
    "--log", "whole_log", is_flag=True, help="Also read all manifests and command topics."
)
@click.option(
    "--unpublished",
    type=Number(0),
    default=60,
    show_default=True,
    help="Seconds from which on a batch that is not published is a finding.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, for scripts.")
def command(quick: bool, whole_log: bool, unpublished: float, as_json: bool) -> None:
    """Check the books in one snapshot, while the service goes on.

    Sums of entries against wallets, debits against credits, running balances, locks, escrows and
    withdrawals against what they hold, addresses, keys and counters, the chain of digests over
    every stored row, offsets against outcomes, and the outbox against what the group has
    published. Where a chain is followed: our coins against the ledger and against the node,
    receipts against deposits, payouts against withdrawals, and who spends our coins. Prints a
    line for each check, then the first findings of each.

    Exits with 1 if something is found. What could not be checked is said, and is no finding.
    docs/runbooks/doctor.md tells what to do about each.
    """
    settings = Settings.from_environ()
    options = Options(quick=quick, log=whole_log, unpublished_seconds=unpublished)
    # Progress goes to the terminal alone: a script gets the report and nothing else.
    errors = Console(stderr=True)
    try:
        if errors.is_terminal:
            with errors.status("looking") as status:

                def tell(check: str, done: int, total: int) -> None:
                    share = f" {done:,} of {total:,}" if total else f" {done:,}" if done else ""
                    status.update(f"checking {check}{share}")

                report = examination(settings, options, progress=tell)
        else:
            report = examination(settings, options)
    except (AccountKeyUnusable, SchemaMismatchError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        _print_json(report)
    else:
        _print_table(report, standard_output())
    sys.exit(0 if report.clean else 1)


def _print_json(report: Report) -> None:
    document = {"clean": report.clean, "wrong": report.wrong, "checks": report.checks}
    click.echo(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())


def _print_table(report: Report, console: Console) -> None:
    table = Table("check", "what holds", "looked at", "wrong", "seconds", box=None)
    for column in table.columns[2:]:
        column.justify = "right"
    for check in report.checks:
        table.add_row(
            check.check,
            check.says,
            "–" if check.left_out else f"{check.subjects:,}",
            _verdict(check),
            "" if check.left_out else f"{check.seconds:.1f}",
        )
    console.print(table)
    for check in report.checks:
        if check.left_out:
            console.print(f"[yellow]{check.check}: not checked[/yellow], {escape(check.left_out)}")
        elif check.note:
            console.print(f"[yellow]{check.check}[/yellow]: {escape(check.note)}")
    for check in report.checks:
        for finding in check.first:
            text = escape(f"{finding.subject}: {finding.detail}")
            console.print(f"[red]{check.check}[/red] {text}", soft_wrap=True)
        if check.wrong > len(check.first):
            console.print(f"[red]{check.check}[/red] … and {check.wrong - len(check.first):,} more")
    if report.clean:
        console.print("nothing was found")
    else:
        console.print(f"[red]{report.wrong:,} findings[/red]: docs/runbooks/doctor.md")


def _verdict(check: Examined) -> str:
    if check.left_out:
        return ""
    return f"[red]{check.wrong:,}[/red]" if check.wrong else "0"
