"""``wallet topics``: make the topics, as nothing makes them by accident, and look at them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

import click
from rich.table import Table

from api.commands.arguments import Commands, counted
from api.console import standard_output
from schemas.access import AccessError, grants, script
from schemas.settings import Settings
from schemas.topics import ALL_TOPICS, VIEWS_STATE, Party, TopicDefinition, topic_name
from streams.kafka.acls import Acls
from streams.kafka.admin import Admin

_TIMES: Final = "message.timestamp.type"
#: What a topic has that lacks a setting of the table's.
_LACKING: Final = {
    _TIMES: "producers' times",
    "compression.type": "batches as they were packed",
}


@click.group("topics", cls=Commands, invoke_without_command=True)
@click.option("--create", is_flag=True, help="Create what is missing.")
@click.pass_context
def command(ctx: click.Context, create: bool) -> None:
    """Show the wallet's topics: who writes and reads each, and whether the broker has it.

    Exits with 1 if one is missing, has another number of partitions than WALLET_PARTITIONS says,
    which is fixed for a topic's life, bears its producers' times where it needs the broker's
    (LogAppendTime), where a worker halts, or keeps batches packed that a worker must be able to
    unpack. Settings are not told to who may not ask.
    """
    if ctx.invoked_subcommand is not None:
        return
    settings = Settings.from_environ()
    admin = Admin(settings)
    if create:
        for name in admin.create_topics(ALL_TOPICS):
            click.echo(f"created {name}")
    wrong = _show(settings, admin)
    if wrong:
        raise click.ClickException(
            f"{wrong} of {len(ALL_TOPICS)} topics are not as they should be; "
            "`wallet topics --create` makes missing ones"
        )


def _show(settings: Settings, admin: Admin) -> int:
    """Print the table; the number of topics that are missing or wrong."""
    names = [topic_name(settings, topic.name) for topic in ALL_TOPICS]
    present = admin.topics(names)
    configurations = admin.configurations(list(present))
    table = Table("topic", "partitions", "written by", "read by", "state", box=None)
    for column in table.columns:
        column.overflow = "fold"
    wrong = 0
    for name, topic in zip(names, ALL_TOPICS, strict=True):
        wanted = topic.partitions or settings.partitions
        facts = present.get(name)
        found = configurations.get(name) or {}
        match facts:
            case None if topic is VIEWS_STATE:
                state = "not made: `wallet views` makes it"
            case None:
                state = "missing"
            case _ if facts.partitions != wanted:
                state = f"has {counted(facts.partitions, 'partition')}"
            case _ if fault := _fault_in(found, topic):
                state = fault
            case _:
                state = f"ok, {found[_TIMES]}" if found else "ok"
        wrong += state.startswith(("missing", "has"))
        table.add_row(name, str(wanted), topic.written_by, topic.read_by, state)
    standard_output().print(table)
    return wrong


def _fault_in(found: Mapping[str, str], topic: TopicDefinition) -> str | None:
    for name, lacking in _LACKING.items():
        due = topic.config.get(name)
        if found and due and found.get(name) != due:
            return f"has {lacking}: set {name}={due}"
    return None


@command.command("acls")
@click.option(
    "--principal",
    "named",
    multiple=True,
    metavar="PARTY=NAME",
    help="Of services, api, worker, watcher, payer, bridge, views, operators, consumers or "
    "outcomes; wallet-PARTY by default. May be given again, for several services.",
)
@click.option("--apply", "apply_", is_flag=True, help="Add to the broker what is missing.")
@click.option("--check", is_flag=True, help="Exit with 1 if one is missing, or allows more.")
def acls(named: Sequence[str], apply_: bool, check: bool) -> None:
    """Print the broker's ACLs that the table of topics asks for, as a script; or apply them.

    Nothing is ever taken away: what is allowed beyond the table is told by --check. Both need a
    principal that may describe, or alter, the cluster.
    """
    settings = Settings.from_environ()
    try:
        wanted = grants(settings, _principals(named))
    except AccessError as error:
        raise click.ClickException(str(error)) from None
    if not apply_ and not check:
        click.echo(script(wanted), nl=False)
        return
    broker = Acls(settings)
    missing = broker.missing(wanted)
    if apply_:
        broker.add(missing)
        click.echo(f"added {len(missing)} of {counted(len(wanted), 'ACL')}")
        missing = []
    if check:
        _tell_differences([" ".join(grant[:4]) for grant in missing], broker.beyond(wanted))


def _tell_differences(missing: Sequence[str], beyond: Sequence[str]) -> None:
    for line in missing:
        click.echo(f"missing: {line}")
    for line in beyond:
        click.echo(f"beyond:  {line}")
    if missing or beyond:
        raise click.ClickException(
            f"missing: {len(missing)} (`wallet topics acls --apply` adds them); beyond the table: "
            f"{len(beyond)} (remove them by kafka-acls.sh)"
        )
    click.echo("the broker's ACLs are those of the table")


def _principals(named: Sequence[str]) -> Mapping[Party, Sequence[str]]:
    found: dict[Party, list[str]] = defaultdict(list)
    for given in named:
        party, separator, name = given.partition("=")
        if not separator or not name or party not in [*Party]:
            raise click.UsageError(
                f"--principal {given}: say PARTY=NAME, with one of {', '.join(Party)}"
            )
        found[Party(party)].append(name.removeprefix("User:"))
    return found
