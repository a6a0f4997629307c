"""``wallet topics``: make the topics, as nothing makes them by accident, and look at them."""

from __future__ import annotations

import click
from rich.table import Table

from api.console import standard_output
from schemas.settings import Settings
from schemas.topics import ALL_TOPICS, VIEWS_STATE, topic_name
from streams.kafka.admin import Admin


@click.command("topics")
@click.option("--create", is_flag=True, help="Create what is missing.")
def command(create: bool) -> None:
    """Show the wallet's topics: who writes and reads each, and whether the broker has it.

    Exits with 1 if one is missing or has another number of partitions than WALLET_PARTITIONS
    says, which is fixed for a topic's life.
    """
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
    table = Table("topic", "partitions", "written by", "read by", "state", box=None)
    for column in table.columns:
        column.overflow = "fold"
    wrong = 0
    for name, topic in zip(names, ALL_TOPICS, strict=True):
        wanted = topic.partitions or settings.partitions
        facts = present.get(name)
        match facts:
            case None if topic is VIEWS_STATE:
                state = "not made: `wallet views` makes it"
            case None:
                state = "missing"
            case _ if facts.partitions != wanted:
                state = f"has {facts.partitions} partitions"
            case _:
                state = "ok"
        wrong += state.startswith(("missing", "has"))
        table.add_row(name, str(wanted), topic.written_by, topic.read_by, state)
    standard_output().print(table)
    return wrong
