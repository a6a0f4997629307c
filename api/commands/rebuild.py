"""``wallet rebuild``: replays the log into an empty database and compares the books."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as Bars,
)
from rich.table import Table

from api.commands.arguments import counted
from api.console import standard_output
from db import migrate
from db.audit.snapshot import snapshot
from db.engine import DatabaseUrlError, SchemaMismatchError
from db.ledger import rebuilding
from db.roles import ensure_database
from processors.dogecoin.derivation import AccountKeyUnusable
from processors.dogecoin.keyring import AccountUnknown
from processors.seed import RulesOfAnotherAccount
from schemas.settings import Settings, SettingsError
from streams import rebuild
from streams.kafka.replay import RecordsMissing
from streams.local import keys, roles
from streams.local.postgres import SUPERUSER
from streams.rebuild.replay import Progress

#: Places that are told where records were passed over.
_PLACES_MAX: Final = 20
#: Each says in its text what to do.
_EXPLAINED = (
    AccountKeyUnusable,
    AccountUnknown,
    DatabaseUrlError,
    RecordsMissing,
    RulesOfAnotherAccount,
    SchemaMismatchError,
    rebuild.AnotherLogic,
    rebuild.Diverged,
    rebuild.ManifestsContradict,
    rebuild.ManifestsMissing,
    rebuild.RulesDiffer,
    rebuild.SourceBehind,
    rebuild.TargetNotEmpty,
)


@click.command("rebuild")
@click.option("--into", "target", metavar="URL", help="The database to rebuild.")
@click.option(
    "--local", metavar="NAME", help="Instead: make the database NAME on `wallet up`'s server."
)
@click.option("--migrate", "make_tables", is_flag=True, help="Make its tables first.")
@click.option("--resume", is_flag=True, help="Go on after the batches that it has.")
@click.option("--compare", is_flag=True, help="Then compare it with the service's database.")
@click.option("--only-compare", is_flag=True, help="Replay nothing, compare alone.")
def command(
    target: str | None,
    local: str | None,
    make_tables: bool,
    resume: bool,
    compare: bool,
    only_compare: bool,
) -> None:
    """Replay the log into an empty database, and compare the books, hash by hash.

    Reads the command topics and the manifests of wallet.batches, and applies them by the code
    that the workers run, batch by batch as they were decided. Each batch must come out byte for
    byte as its manifests say, or it is not written and the rebuild stops before it.

    URL is of the owner's role (or, where the tables are made, the worker's) of another database:

    \b
    wallet rebuild --into postgresql://wallet_owner:…@host/wallet_again --migrate --compare
    wallet rebuild --local wallet_again --compare

    --compare takes a snapshot of WALLET_WORKER_DATABASE_URL and may be used while the service
    runs. --resume goes on where a rebuild stopped, or brings a database that was restored from a
    backup up to what the log has.

    Records that lie between the batches that it replays, and that nobody decided, are told.

    Exits with 1 if a batch comes out differently or the databases differ. docs/runbooks/rebuild.md
    tells what to do then.
    """
    if (target is None) is (local is None):
        raise click.UsageError("say where: --into URL or --local NAME")
    settings = Settings.from_environ()
    settings.require("kafka", "account_xpub")
    source = settings.worker_database_url or settings.database_url
    if (compare or only_compare) and not source:
        raise SettingsError(
            "WALLET_WORKER_DATABASE_URL is not set; there is nothing to compare with."
        )
    console = standard_output()
    try:
        target = target or _local(settings, local or "")
        if make_tables or local is not None:
            migrate.upgrade(target)
        if only_compare:
            with snapshot(source) as ours, snapshot(target) as theirs, _bars(console) as tell:
                compared = rebuild.compare(ours, theirs, progress=tell)
        else:
            compared = _rebuild(settings, target, source if compare else None, resume, console)
    except _EXPLAINED as error:
        raise click.ClickException(str(error)) from error
    except RuntimeError as error:
        raise click.ClickException(str(error)) from None
    if compared:
        _show(compared, console)
    sys.exit(0 if all(table.same for table in compared) else 1)


def _local(settings: Settings, name: str) -> str:
    """The owner's URL of a database beside that of `wallet up`, made where it is missing."""
    settings.require("database_url")
    home = Path(settings.home)
    if not (home / "passwords.json").exists():
        raise click.ClickException(
            f"{home} is not of a `wallet up` with a database of its own: give --into"
        )
    superuser = roles.url_as(
        settings.database_url, "postgres", SUPERUSER, keys.passwords(home).superuser
    )
    ensure_database(superuser, name)
    return roles.url_as(settings.database_url, name)


def _rebuild(
    settings: Settings, target: str, source: str | None, resume: bool, console: Console
) -> list[rebuild.Comparison]:
    with (
        rebuilding.target(target) as connection,
        _bars(console) as tell,
        closing(rebuild.Rebuild(settings, connection, resume=resume, progress=tell)) as replaying,
    ):
        try:
            done = replaying.run()
            batches = counted(done.batches, "batch", "batches")
            records = counted(done.records, "record")
            there = f", {done.skipped:,} were there already" if done.skipped else ""
            console.print(f"{batches} with {records} replayed{there}")
            if source is None:
                return []
            return rebuild.catch_up_and_compare(replaying, source, target, progress=tell)
        finally:
            _tell_passed_over(replaying.passed_over, console)


def _tell_passed_over(lines: list[str], console: Console) -> None:
    """Commands that stand in neither database; what was decided is the same all the same."""
    for line in lines[:_PLACES_MAX]:
        console.print(f"[red]passed over[/red] {escape(line)}", soft_wrap=True)
    if len(lines) > _PLACES_MAX:
        console.print(f"and at {counted(len(lines) - _PLACES_MAX, 'more place')}")


@contextmanager
def _bars(console: Console) -> Iterator[Progress]:
    """A bar for each stage, with the time that it will still take."""
    with Bars(
        TextColumn("{task.description:18}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as bars:
        tasks: dict[str, TaskID] = {}

        def tell(stage: str, done: int, total: int) -> None:
            name = stage if stage in ("manifests", "batches") else "comparing tables"
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total or None)
            bars.update(tasks[name], completed=done, total=total or None)

        yield tell


def _show(compared: list[rebuild.Comparison], console: Console) -> None:
    table = Table("table", "rows", "hash", "rebuilt rows", "rebuilt hash", "", box=None)
    for column in (table.columns[1], table.columns[3]):
        column.justify = "right"
    for line in compared:
        table.add_row(
            line.table,
            f"{line.source.rows:,}",
            line.source.digest[:16],
            f"{line.target.rows:,}",
            line.target.digest[:16],
            "same" if line.same else "[red]different[/red]",
        )
    console.print(table)
    for line in compared:
        if line.difference:
            console.print(f"[red]{line.table}[/red] {escape(line.difference)}", soft_wrap=True)
    if all(line.same for line in compared):
        console.print("both databases hold the same")
