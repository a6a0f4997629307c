"""``wallet events``: follow the events, or publish again what a broker lost."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import Any

import click
import msgspec
from rich.console import Console

from api.commands.arguments import Commands
from api.commands.operating import User, database, writer
from api.commands.tailing import Tailed, show, tailing
from schemas.events import EventType
from schemas.publications import DeadLetterNotice, Manifest
from schemas.settings import Settings
from streams.kafka.produce import PublishRefused
from streams.operator.repair import Repair
from streams.operator.tail import Event, Filter, follow

_SHOWN_MAX = 20


@click.group("events", cls=Commands)
def command() -> None:
    """Follow the events, or publish again what a broker lost."""


@command.command("tail")
@click.option("--user", "users", type=User(), multiple=True, help="Of this user; may be repeated.")
@click.option(
    "--type",
    "types",
    multiple=True,
    help=f"Of this type, or like withdrawal.*; may be repeated. Types: {', '.join(EventType)}.",
)
@tailing
def tail(users: tuple[str, ...], types: tuple[str, ...], tailed: Tailed) -> None:
    """Print events as they come: JSON, a line each; on a terminal, lines to read.

    Only committed events are shown. Without --from-beginning or --since those from now on are.
    """
    events = follow(Settings.from_environ(), Filter(users, types), tailed.span)
    show(events, tailed, lambda event: (_line(event), event.value))


def _line(event: Event) -> str:
    """Time, user, number, type, and what matters most of the data."""
    told: dict[str, Any] = event.event
    data = told.get("data") or {}
    balance = data.get("balance") or {}
    facts = data.get("result") or {
        name: data[name] for name in ("code", "type", "first_command_id", "outcome") if name in data
    }
    shown = " ".join(f"{name}={value}" for name, value in facts.items() if value is not None)
    if "available" in balance:
        shown += f" → available={balance['available']} locked={balance['locked']}"
    return f"{told['time']} {told['subject']} #{told['sequence']} {told['type']}: {shown}"


@command.command("repair")
@click.option("--publish", is_flag=True, help="Publish what is missing; otherwise it is printed.")
@click.option("--dry-run", is_flag=True, help="Print what is missing, as without --publish.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def repair(publish: bool, dry_run: bool, yes: bool) -> None:
    """Compare the outbox with the topics, after a broker lost its tail.

    The outbox keeps what was published for WALLET_OUTBOX_KEEP_SECONDS. Events, dead letters and
    manifests in it that the topics do not hold are printed, and with --publish published in Kafka
    transactions, byte for byte as they were: consumers know an event by its id. What waits to be
    published is left to the workers, unless its partition is halted.

    Exits with 1 if something is missing and is not published.
    """
    if publish and dry_run:
        raise click.UsageError("--publish or --dry-run, not both")
    settings = Settings.from_environ()
    errors = Console(stderr=True)

    def progress(stage: str, done: int, total: int) -> None:
        if errors.is_terminal:
            share = f"{done:,} of {total:,}" if total else f"{done:,}"
            errors.print(f"{stage}: {share}", end="\r")

    with (
        database(writer(settings)) as connection,
        closing(Repair(settings, connection, progress=progress)) as repairing,
    ):
        looked = repairing.look()
        click.echo(f"{looked.records:,} records of {looked.rows:,} outbox rows looked for")
        if looked.waiting:
            click.echo(f"{looked.waiting:,} rows wait for a worker to publish them")
        if not looked.missing:
            click.echo("nothing is missing")
            return
        for topic, count in looked.missing.items():
            click.echo(f"missing on {topic}: {count:,}")
        _print_first(repairing)
        if not publish:
            click.echo("`wallet events repair --publish` publishes them")
            sys.exit(1)
        if not yes:
            click.confirm("Publish them?", abort=True, err=True)
        try:
            published = repairing.publish()
        except PublishRefused as refused:
            raise click.ClickException(
                f"the broker refused: {refused}. What was published so far stays; run it again."
            ) from refused
        for topic, count in published.items():
            click.echo(f"published on {topic}: {count:,}")


def _print_first(repairing: Repair) -> None:
    shown = 0
    for missing in repairing.missing():
        row = missing.row
        for frame in missing.frames:
            if shown == _SHOWN_MAX:
                click.echo("  …")
                return
            shown += 1
            click.echo(f"  batch {row.batch_id}, {row.topic}/{row.partition}: {_name(frame.value)}")


def _name(value: bytes) -> str:
    """What a missing record is, in words."""
    document: dict[str, Any] = msgspec.json.decode(value)
    if document.keys() >= set(Manifest.__struct_fields__) - {"unprocessable", "rules"}:
        return f"manifest of offsets {document['first_offset']}–{document['last_offset']}"
    if document.keys() >= set(DeadLetterNotice.__struct_fields__):
        return f"dead letter {document['id']}, {document['code']}"
    return f"{document['type']} #{document['sequence']} of {document['subject']}"
