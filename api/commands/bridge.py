"""``wallet bridge``: sends the wallet's events to AWS EventBridge."""

from __future__ import annotations

import click
import msgspec

from api.commands.arguments import Commands, Whole, counted
from schemas.settings import Settings
from streams import logs
from streams.bridge.bridge import run_bridge
from streams.bridge.bus import Bus, Fate
from streams.bridge.entries import Unreadable, entry_of
from streams.bridge.letters import Kept, kept
from streams.bridge.tap import Tap, TapFault
from streams.kafka.follow import RecordsGone


@click.group(cls=Commands, invoke_without_command=True)
@click.option("--port", type=Whole(0, 65535), help="Port of the probe; WALLET_BRIDGE_PORT.")
@click.option(
    "--skip-gone", is_flag=True, help="Go on where the topic has dropped events that were not sent."
)
@click.pass_context
def command(ctx: click.Context, port: int | None, skip_gone: bool) -> None:
    """Send each event to EventBridge until SIGTERM, at least once, in each user's order.

    Start as many as you like, up to the number of partitions. While AWS is away it waits, and
    nothing is lost. An event that AWS can never take goes to wallet.events.dead-letter. It serves
    /healthz, /readyz and /metrics on its own port. docs/eventbridge.md tells a consumer's part.
    """
    if ctx.invoked_subcommand is not None:
        return
    settings = Settings.from_environ()
    if port is not None:
        settings = msgspec.structs.replace(settings, bridge_port=port)
    logs.configure("bridge", settings.log_level)
    try:
        run_bridge(settings, skip_gone=skip_gone, announce=click.echo)
    except RecordsGone as gone:
        raise click.ClickException(
            f"{gone}. What they told is in the ledger; `wallet bridge --skip-gone` goes on "
            "without them (docs/runbooks/bridge.md)"
        ) from gone


@command.command("tail")
@click.option("--count", type=Whole(0), default=0, help="End after so many; 0 goes on.")
def tail(count: int) -> None:
    """Show what arrives on the bus, a JSON object a line.

    A rule of its own sends all events to a queue of its own (SQS), which both go with the command.
    """
    settings = Settings.from_environ()
    try:
        with Tap(settings) as tap:
            click.echo(f"listening on the bus {settings.event_bus}", err=True)
            shown = 0
            while not count or shown < count:
                for body in tap.receive():
                    click.echo(body)
                    shown += 1
    except TapFault as fault:
        raise click.ClickException(str(fault)) from fault
    except KeyboardInterrupt:
        return


@command.group("dead-letters")
def dead_letters() -> None:
    """List and replay events that EventBridge would not take."""


@dead_letters.command("list")
def list_letters() -> None:
    """A line each: its place, the event's place, and why."""
    settings = Settings.from_environ()
    settings.require("kafka")
    count = 0
    for each in kept(settings):
        count += 1
        letter = each.letter
        click.echo(
            f"{each.partition}/{each.offset}  event {letter.partition}/{letter.offset}  "
            f"{letter.reason}"
        )
    click.echo(
        f"{counted(count, 'event')} {'was' if count == 1 else 'were'} never sent"
        if count
        else "none",
        err=True,
    )


@dead_letters.command("replay")
@click.argument("partition", type=Whole(0))
@click.argument("offset", type=Whole(0))
def replay(partition: int, offset: int) -> None:
    """Send one again, by its own PARTITION and OFFSET, as `list` tells them."""
    settings = Settings.from_environ()
    settings.require("kafka")
    found = [e for e in kept(settings) if (e.partition, e.offset) == (partition, offset)]
    if not found:
        raise click.ClickException(f"there is no letter {partition}/{offset}; see `list`")
    _send(settings, found[0])
    click.echo("EventBridge has it")


def _send(settings: Settings, letter: Kept) -> None:
    try:
        entry = entry_of(letter.letter.value, settings.event_source)
    except Unreadable as unreadable:
        raise click.ClickException(f"it cannot be sent: {unreadable}") from unreadable
    (answer,) = Bus(settings).put([entry])
    if answer.fate is not Fate.DELIVERED:
        raise click.ClickException(f"not taken: {answer.reason}")
