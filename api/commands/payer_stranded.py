"""``wallet payer stranded`` and what follows: withdrawals whose payouts were lost."""

from __future__ import annotations

from collections.abc import Sequence

import click

from api.commands.payer_desk import desk_and_node, desk_of_payer
from schemas.amounts import format_amount
from streams.node.client import Node
from streams.payer import adopting, stranding
from streams.payer.adopting import Shown
from streams.payer.office import Desk


@click.command("stranded")
def stranded() -> None:
    """List withdrawals under way that no payout pays, and what the chain shows of each.

    The payer's tables are in no topic: after their loss it has no claim of what it had under way.
    It pays none of it again. What the chain shows, `adopt` takes over; the rest waits.
    """
    with desk_and_node() as (desk, node):
        found = stranding.found_by(desk)
        seen = _shown(desk, node)
    paid = {p.withdrawal_id: one for one in seen for p in one.paid}
    for each in found:
        one = paid.get(each.withdrawal_id)
        what = (
            "the chain shows no payment of it"
            if one is None
            else f"paid by {one.stranger.txid} in block {one.stranger.height}"
        )
        click.echo(
            f"{each.withdrawal_id}  {format_amount(each.amount)} DOGE to "
            f"{each.destination_address}  {each.status}, found at block "
            f"{'unknown' if each.height is None else each.height}: {what}"
        )
    click.echo(
        f"{len(found)} stranded, {sum(e.withdrawal_id in paid for e in found)} paid on chain"
    )


@click.command("adopt")
@click.option("--dry-run", is_flag=True, help="Take nothing over; tell what would be.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def adopt(dry_run: bool, yes: bool) -> None:
    """Take payments that the chain shows of stranded withdrawals over as payouts.

    A transaction in a block that spends coins of ours alone, and pays each of them what it asked
    for and nobody else. The payer that runs then follows and confirms it as its own. Watch the
    change addresses first (`watch-change`): change to an unknown address is a stranger's.
    """
    with desk_and_node() as (desk, node):
        seen = _shown(desk, node)
        for one in seen:
            _tell(one.stranger.txid, one)
        if not seen or dry_run:
            click.echo("nothing was adopted")
            return
        if not yes:
            click.confirm("Adopt them?", abort=True, err=True)
        for one in seen:
            click.echo(f"{one.stranger.txid} is payout {adopting.adopt(desk, one)}")


@click.command("give-up")
@click.argument("withdrawal_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
def give_up(withdrawal_id: str, yes: bool) -> None:
    """Give a stranded withdrawal's money back to its user, once no lost bytes can pay it.

    Refused while a coin that was there when it was found is not spent deep enough by something
    else: its lost transaction could still be mined, and the user would have both.
    """
    with desk_and_node() as (desk, node):
        if not yes:
            click.confirm(f"Give {withdrawal_id} back to its user?", abort=True, err=True)
        stranding.give_up(desk, node, withdrawal_id)
    click.echo("fail_withdrawal is ordered; the payer that runs sends it")


@click.command("restored")
def restored() -> None:
    """Say that the payer's tables are from a backup: what nothing was signed for is not paid.

    Do this before a payer starts on them. Whether a claimed withdrawal was paid since the backup
    is known to nobody here; it is stranded then. What was signed goes on: a version that the backup
    lacks is known again by the coins that it spends.
    """
    with desk_of_payer() as (desk, _):
        ids = stranding.distrust(desk)
    for each in ids:
        click.echo(each)
    click.echo(f"{len(ids)} withdrawals are stranded from here on: `wallet payer stranded`")


def _shown(desk: Desk, node: Node) -> Sequence[Shown]:
    ids = [each.withdrawal_id for each in stranding.found_by(desk)]
    return adopting.shown(desk, node, ids) if ids else []


def _tell(txid: str, one: Shown) -> None:
    click.echo(f"{txid} in block {one.stranger.height}, fee {format_amount(one.template.fee)} DOGE")
    for paid in one.paid:
        click.echo(
            f"  pays {paid.withdrawal_id}: {format_amount(paid.amount)} DOGE to "
            f"{paid.destination_address} ({paid.status})"
        )
