"""``wallet operator partition``: look at partitions, and let a halted one go on."""

from __future__ import annotations

import logging
from typing import Any, Final

import click
from rich.markup import escape
from rich.table import Table

from api.commands.arguments import Commands, Number, Whole
from api.commands.operating import TOPIC, code_of, database, reader, writer
from api.console import standard_output
from db.engine import Connection
from db.ledger import adoption
from schemas.settings import Settings
from schemas.topics import CommandTopic
from streams.kafka.groups import Group
from streams.operator.adopt import AdoptionRefused, Plan, Situation, adopt, look, plan

_APPLIED: Final = -1


class Offset(click.ParamType):
    """An offset, or ``applied``."""

    name = "offset"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number, or for the word one that no offset has."""
        text = str(value)
        if text == "applied":
            return _APPLIED
        if not text.isdecimal():
            self.fail(f"{text!r} is neither an offset nor `applied`", param, ctx)
        return int(text)


@click.group("partition", cls=Commands)
def partition() -> None:
    """Look at partitions, and let a halted one go on.

    A partition halts when the log is not the one that was applied: a topic made anew, a tail lost,
    offsets expired, a database restored from before. docs/runbooks/partition-halted.md tells for
    each what to find out, and which way is right.
    """


@partition.command("list")
@click.option("--halted", "only_halted", is_flag=True, help="Those alone that are not applied.")
def list_partitions(only_halted: bool) -> None:
    """Show how far each partition is applied and published, and who applies it."""
    settings = Settings.from_environ()
    with database(reader(settings)) as connection:
        rows = adoption.rows(connection)
    committed = Group(settings).committed([(CommandTopic(r.topic), r.partition) for r in rows])
    table = Table(
        "topic", "partition", "generation", "applied to", "published to", "owner", "", box=None
    )
    for row in rows:
        if only_halted and row.halted is None:
            continue
        code = CommandTopic(row.topic)
        published = committed[code, row.partition]
        table.add_row(
            code.name.lower(),
            str(row.partition),
            str(row.generation),
            str(row.next_offset),
            "–" if published is None else str(published),
            row.owner or "",
            f"[red]halted: {escape(row.halted)}[/red]" if row.halted else "",
        )
    standard_output().print(table)


@partition.command("adopt")
@click.argument("topic", type=TOPIC)
@click.argument("numbers", metavar="[PARTITION]...", type=Whole(0), nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every halted partition of the topic.")
@click.option(
    "--recreated", is_flag=True, help="Take the topic that was made anew, from its start."
)
@click.option(
    "--at", type=Offset(), metavar="OFFSET", help="Go on there; `applied`: where the database is."
)
@click.option("--new-generation", is_flag=True, help="Give ids of a new generation at any rate.")
@click.option("--abandon", is_flag=True, help="Give up events of applied batches that are nowhere.")
@click.option(
    "--patience",
    type=Number(0),
    default=0,
    show_default=True,
    help="Seconds to wait until the group has no members, where its offset has to be set.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
def adopt_partition(
    topic: str,
    numbers: tuple[int, ...],
    everything: bool,
    recreated: bool,
    at: int | None,
    new_generation: bool,
    abandon: bool,
    patience: float,
    yes: bool,
) -> None:
    """Let the workers go on with each PARTITION of TOPIC (services, users or treasury).

    --recreated: the topic of that name is another one now, and is applied from its beginning under
    a new generation of ids. --at OFFSET: go on there, forward over what is lost, or back, under a
    new generation, over offsets that are used again; --at applied: where the database is, which
    gives a group its lost offsets back. What that gives up is shown before it is
    done, and told on wallet.alerts after. Restart a worker then: taking the partition over, it
    checks the log once more.

    What was applied stays applied: a command that is met again under its idempotency key is
    answered as a replay.
    """
    if recreated is (at is not None):
        raise click.UsageError("say how: --recreated or --at OFFSET")
    if bool(numbers) is everything:
        raise click.UsageError("name partitions, or say --all")
    settings = Settings.from_environ()
    try:
        with database(writer(settings)) as connection:
            plans = []
            code = code_of(topic)
            if everything:
                numbers = tuple(
                    row.partition
                    for row in adoption.rows(connection)
                    if row.topic == code and row.halted is not None
                )
            for situation in look(settings, connection, code, numbers):
                _show(situation)
                made = plan(
                    situation,
                    recreated=recreated,
                    at=situation.row.next_offset if at == _APPLIED else at,
                    new_generation=new_generation,
                    abandon=abandon,
                )
                _tell(made)
                plans.append(made)
            if not plans:
                raise click.ClickException(f"no partition of {topic} is halted")
            if not yes:
                click.confirm("Do it?", abort=True, err=True)
            for made in plans:
                _adopt(settings, connection, made, patience)
    except (AdoptionRefused, adoption.Moved) as error:
        raise click.ClickException(str(error)) from error
    click.echo("Restart a worker: it takes the partitions over and checks the log again.")


def _adopt(settings: Settings, connection: Connection, made: Plan, patience: float) -> None:
    # Printed here, and told on wallet.alerts; once more in a log is once too often.
    logging.getLogger("streams.alarms").setLevel(logging.CRITICAL + 1)
    dropped = adopt(settings, connection, made, patience_seconds=patience)
    situation, after = made.situation, made.after
    click.echo(
        f"adopted: {situation.topic}/{situation.row.partition} goes on at offset "
        f"{after.next_offset}, generation {after.generation}"
        + (f"; {dropped} outbox rows dropped" if dropped else "")
    )


def _show(situation: Situation) -> None:
    row = situation.row
    published = "nothing" if situation.committed is None else situation.committed
    click.echo(f"{situation.topic}/{row.partition}: {row.halted or 'not halted'}", err=True)
    click.echo(
        f"  applied to {row.next_offset}, published to {published}; the log holds "
        f"{situation.start} to {situation.end}",
        err=True,
    )


def _tell(made: Plan) -> None:
    for line in made.lines:
        click.echo(f"  → {line}", err=True)
