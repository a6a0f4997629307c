"""``wallet payer``: pays withdrawals; and what operators order of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import click
import msgspec
from click.core import Context, Parameter

from api.commands.arguments import Commands, Whole, counted
from api.commands.operating import Amount
from api.commands.payer_desk import desk_of_payer, explained
from api.commands.payer_stranded import adopt, give_up, restored, stranded
from db.treasury.purse import Holding
from schemas.amounts import Koinu, format_amount
from schemas.settings import Settings
from streams import logs
from streams.payer import housework, restoring
from streams.payer.housework import Forecast
from streams.payer.process import run_payer


class Kept(Amount):
    """DOGE that stay; none may."""

    def convert(self, value: Any, param: Parameter | None, ctx: Context | None) -> Koinu:
        """Zero is an amount here."""
        return (
            Koinu(0)
            if str(value) in ("0", "0.0", "0.00000000")
            else super().convert(value, param, ctx)
        )


@click.group(cls=Commands, invoke_without_command=True)
@click.option("--port", type=Whole(0, 65535), help="Port of the probe; WALLET_PAYER_PORT.")
@click.pass_context
def command(ctx: click.Context, port: int | None) -> None:
    """Pay withdrawals until SIGTERM: claim, reserve, sign, send, confirm.

    The one process that reads the account's private key, from AWS Secrets Manager
    (WALLET_ACCOUNT_SECRET), once. One payer pays; a second one waits, and takes over when the
    first ends. It serves /healthz, /readyz and /metrics on its own port.
    """
    if ctx.invoked_subcommand is not None:
        return
    settings = Settings.from_environ()
    if port is not None:
        settings = msgspec.structs.replace(settings, payer_port=port)
    logs.configure("payer", settings.log_level)
    with explained():
        run_payer(settings, announce=click.echo)


_dry_run = click.option(
    "--dry-run", is_flag=True, help="Reserve nothing; tell what would be done, and what it costs."
)
_yes = click.option("--yes", is_flag=True, help="Do not ask.")


@command.command("consolidate")
@click.option(
    "--below",
    type=Amount(),
    default="1000",
    show_default=True,
    help="Coins of less DOGE than this.",
)
@click.option(
    "--inputs",
    type=Whole(2, 600),
    default=housework.INPUTS_MAX,
    show_default=True,
    help="Most coins in one transaction.",
)
@click.option("--at-any-rate", is_flag=True, help="Also while fees are higher than the floor.")
@_dry_run
@_yes
def consolidate(below: Koinu, inputs: int, at_any_rate: bool, dry_run: bool, yes: bool) -> None:
    """Join many small coins into one of our own, while fees are low.

    A payment from few coins is smaller and so cheaper than one from many. The payer that runs
    signs and sends it; its fee is in the books once it is confirmed.
    """
    with desk_of_payer() as (desk, rate):
        floor = desk.limits.policy.rate
        if rate > floor and not at_any_rate:
            raise click.ClickException(
                f"fees are {format_amount(rate)} DOGE for 1,000 bytes now, above the floor of "
                f"{format_amount(floor)}: wait, or say --at-any-rate"
            )

        def order(dry: bool) -> Forecast:
            return housework.consolidate(
                desk, below=below, rate=rate, inputs_max=inputs, dry_run=dry
            )

        _give(order(True), None if dry_run else order, yes=yes)


@command.command("sweep")
@click.option("--to", "address", required=True, metavar="ADDRESS", help="Of cold storage.")
@click.option(
    "--keep", type=Kept(), required=True, help="The ceiling: DOGE that stay in the hot wallet."
)
@_dry_run
@_yes
def sweep(address: str, keep: Koinu, dry_run: bool, yes: bool) -> None:
    """Move what is in the hot wallet over a ceiling to cold storage.

    What withdrawals wait for stays too. The payer that runs signs and sends it; once it is
    confirmed, the books have the move (chain to cold) and the fee.
    """
    with desk_of_payer() as (desk, rate):

        def order(dry: bool) -> Forecast:
            return housework.sweep(desk, address=address, keep=keep, rate=rate, dry_run=dry)

        _give(order(True), None if dry_run else order, yes=yes)


@command.command("gather")
@_dry_run
@_yes
def gather(dry_run: bool, yes: bool) -> None:
    """Bring the coins of former accounts to the present one, after a rotation.

    In as many transactions as it takes, the largest coins first, whatever the node's rate is now.
    Coins that are on their way cannot pay withdrawals until they are mined. What former accounts
    have besides is told: come again until they have nothing.
    """
    with desk_of_payer() as (desk, rate):
        there = housework.former_holdings(desk)
        for holding in there:
            click.echo(_held(holding))
        lacking = [each.account_key for each in there if each.account_key not in desk.keyring]
        if lacking:
            raise click.ClickException(
                f"WALLET_ACCOUNT_XPUB lacks the public key of account {lacking[0]}: set it here, "
                "and in the payer's settings with its secret"
            )
        if not there:
            click.echo("former accounts have no coins")
            return
        forecast = housework.gather(desk, rate=rate, dry_run=True)
        if forecast is None:
            click.echo("nothing can be brought now: what can be spent is not worth its fee")
            return
        click.echo("the first transaction:")
        for line in _told(forecast):
            click.echo(line)
        if dry_run:
            click.echo("dry run: nothing is reserved")
            return
        if not yes:
            click.confirm("Order it, and as many more as it takes?", abort=True, err=True)
        while (ordered := housework.gather(desk, rate=rate, dry_run=False)) is not None:
            click.echo(
                f"ordered as payout {ordered.payout_id}: {counted(ordered.coins, 'coin')}, "
                f"of which {format_amount(ordered.returned)} DOGE come to the present account"
            )


def _held(holding: Holding) -> str:
    return (
        f"account {holding.account_key} has {counted(holding.coins, 'coin')}: "
        f"{format_amount(holding.spendable)} DOGE to spend, {format_amount(holding.reserved)} in "
        f"payments under way, {format_amount(holding.waiting)} not credited yet"
    )


@command.command("abandon")
@click.argument("payout", type=Whole(1))
@_yes
def abandon(payout: int, yes: bool) -> None:
    """Give up PAYOUT, which was never signed (alarm not-signed); others pay its withdrawals.

    Look first at what is stored for it, and at who could have written it.
    """
    if not yes:
        click.confirm(f"Give payout {payout} up?", abort=True, err=True)
    with desk_of_payer() as (desk, _):
        housework.abandon(desk, payout)
    click.echo(f"payout {payout} is given up")


@command.command("watch-change")
@click.argument("count", type=Whole(1, 1_000_000))
@click.option("--account", help="The fingerprint of a former account; else the present one's.")
def watch_change(count: int, account: str | None) -> None:
    """Watch the first COUNT change addresses again, after the chain's tables were lost.

    Deposit addresses come back from the log; those that change was paid to, from the key alone.
    Take more than were ever used: one for each payment that was made. Blocks that were followed
    before that are read again by `wallet watcher --from-height`.
    """
    with desk_of_payer() as (desk, _):
        first, end = restoring.watch_change(desk, count, account)
    if first == end:
        click.echo(f"all of the first {count:,} are watched already")
    else:
        click.echo(f"change addresses {first:,} to {end - 1:,} are watched")


def _give(forecast: Forecast, order: Callable[[bool], Forecast] | None, *, yes: bool) -> None:
    for line in _told(forecast):
        click.echo(line)
    if order is None:
        click.echo("dry run: nothing is reserved")
        return
    if not yes:
        click.confirm("Order it?", abort=True, err=True)
    click.echo(f"ordered as payout {order(False).payout_id}; the payer signs and sends it")


def _told(forecast: Forecast) -> Iterator[str]:
    yield f"coins:      {forecast.coins} of {format_amount(forecast.total)} DOGE together"
    if forecast.moved:
        yield f"to cold:    {format_amount(forecast.moved)} DOGE"
    yield f"comes back: {format_amount(forecast.returned)} DOGE"
    yield (
        f"fee:        {format_amount(forecast.fee)} DOGE for at most {forecast.size:,} bytes, at "
        f"{format_amount(forecast.rate)} DOGE for 1,000"
    )


for _one in (stranded, adopt, give_up, restored):
    command.add_command(_one)
