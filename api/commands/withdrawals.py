"""``wallet withdrawals``: which there are, and the whole story of one."""

from __future__ import annotations

import click
import msgspec
from rich.markup import escape
from rich.table import Table

from api.commands.arguments import Commands, Whole, counted
from api.commands.operating import User, database, reader
from api.console import standard_output
from db.treasury.story import Line, line, lines, story
from schemas.amounts import format_amount
from schemas.ids import place_of
from schemas.ledger import WithdrawalStatus
from schemas.settings import Settings


@click.group("withdrawals", cls=Commands)
def command() -> None:
    """List withdrawals, and tell the whole story of one.

    docs/runbooks/stuck-withdrawal.md tells what to do about one that is stuck.
    """


@command.command("list")
@click.option(
    "--status",
    type=click.Choice([status.value for status in WithdrawalStatus], case_sensitive=False),
    help="In this state.",
)
@click.option("--user", type=User(), help="Of this user.")
@click.option("--limit", type=Whole(1), default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line.")
def list_withdrawals(status: str | None, user: str | None, limit: int, as_json: bool) -> None:
    """List withdrawals, the newest first."""
    with database(reader(Settings.from_environ())) as connection:
        found = lines(connection, status=status, user_id=user, limit=limit)
    if as_json:
        for each in found:
            click.echo(msgspec.json.encode(_document(each)).decode())
        return
    table = Table("id", "amount", "status", "payout", "transaction", "requested", box=None)
    for column in table.columns:
        column.no_wrap = True
    table.columns[0].min_width = len(found[0].id) if found else 0
    table.columns[1].justify = "right"
    for each in found:
        table.add_row(
            each.id,
            format_amount(each.amount),
            each.status + (f" ({escape(each.reason)})" if each.reason else ""),
            "" if each.payout_id is None else f"{each.payout_id} {each.payout_status}",
            each.txid or "",
            f"{each.requested_at:%Y-%m-%d %H:%M:%S}",
        )
    console = standard_output()
    console.print(table)
    console.print(counted(len(found), "withdrawal"))


@command.command("show")
@click.argument("withdrawal_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(withdrawal_id: str, as_json: bool) -> None:
    """Show all that happened to a withdrawal, in the order of time.

    What the ledger was asked and booked, what the payer claimed, reserved, signed and sent, what
    the node answered, and what the chain shows of it.
    """
    try:
        place_of(withdrawal_id)
    except ValueError:
        raise click.ClickException(f"{withdrawal_id!r} is not an id; `list` shows them") from None
    with database(reader(Settings.from_environ())) as connection:
        about = line(connection, withdrawal_id)
        if about is None:
            raise click.ClickException(f"there is no withdrawal {withdrawal_id}")
        events = story(connection, about)
    if as_json:
        told = [event._asdict() for event in events]
        click.echo(msgspec.json.encode(_document(about) | {"story": told}).decode())
        return
    for name, value in _document(about).items():
        if value is not None:
            click.echo(f"{name.replace('_', ' ') + ':':22}{value}")
    click.echo()
    for event in events:
        # The node's words stand in it: nothing in them may act on the terminal.
        text = "".join(letter if letter.isprintable() else "\ufffd" for letter in event.text)
        click.echo(f"{event.time:%Y-%m-%d %H:%M:%S.%f}  {event.source:7}{text}")


def _document(about: Line) -> dict[str, object]:
    return {
        "id": about.id,
        "user_id": about.user_id,
        "amount": format_amount(about.amount),
        "fee": format_amount(about.fee),
        "destination_address": about.destination_address,
        "status": about.status,
        "reason": about.reason,
        "txid": about.txid,
        "requested_at": about.requested_at.isoformat(),
        "payout_id": about.payout_id,
        "payout_status": about.payout_status,
    }
