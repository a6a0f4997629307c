"""``wallet operator deposit``: deposits by hand, for local play and for what a watcher missed."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, TypeVar

import click

from api.commands.arguments import Commands, Whole
from api.commands.operating import Amount, User, database, reader, send, sending
from db.ledger.operating import active_address, rules_history
from schemas.amounts import Koinu
from schemas.commands import CommandType, Data, DetectDeposit, ProcessDeposit, ReverseDeposit
from schemas.settings import Settings
from streams.operator.desk import order

_Function = TypeVar("_Function", bound=Callable[..., Any])


@click.group("deposit", cls=Commands)
def deposit() -> None:
    """Record, credit or take back a deposit by hand.

    On a test network an invented transaction will do, and its id is made up. On mainnet a deposit
    is a payment that stands on the chain: --txid, --vout, --block and --height must tell which,
    and --on-chain says that you have looked.
    """


_seen = (
    click.argument("user", type=User()),
    click.argument("amount", type=Amount()),
    click.option("--address", help="Where it was paid to; the user's active one by default."),
    click.option("--txid", help="Made up by default."),
    click.option("--vout", type=Whole(0), default=0, show_default=True),
    click.option("--block", "block_hash", help="Made up by default."),
    click.option("--height", type=Whole(0), default=0, show_default=True),
    click.option("--on-chain", is_flag=True, help="It is there: I have looked."),
)


def _paid(function: _Function) -> _Function:
    """The arguments that name a payment."""
    for parameter in reversed(_seen):
        function = parameter(function)
    return function


@deposit.command("detect")
@_paid
@sending
def detect(
    user: str,
    amount: Koinu,
    address: str | None,
    txid: str | None,
    vout: int,
    block_hash: str | None,
    height: int,
    on_chain: bool,
    key: str | None,
    yes: bool,
    wait: float,
    as_json: bool,
) -> None:
    """Record that AMOUNT was paid to USER in a block; nothing is credited yet."""
    settings = Settings.from_environ()
    made_up = txid is None or block_hash is None
    txid, block_hash = txid or secrets.token_hex(32), block_hash or secrets.token_hex(32)
    data = DetectDeposit(
        txid=txid,
        vout=vout,
        address=_address(settings, user, address, made_up, on_chain),
        amount=amount,
        block_hash=block_hash,
        height=height,
    )
    key = key or f"detect:{txid}:{vout}:{block_hash}"
    _send(settings, CommandType.DETECT_DEPOSIT, data, user, key, yes, wait, as_json)


@deposit.command("process")
@_paid
@click.option("--ordinal", type=Whole(1), default=1, show_default=True)
@sending
def process(
    user: str,
    amount: Koinu,
    address: str | None,
    txid: str | None,
    vout: int,
    block_hash: str | None,
    height: int,
    on_chain: bool,
    ordinal: int,
    key: str | None,
    yes: bool,
    wait: float,
    as_json: bool,
) -> None:
    """Credit AMOUNT to USER: the payment has its confirmations.

    A deposit that was taken back and is on the chain again has the next --ordinal.
    """
    settings = Settings.from_environ()
    made_up = txid is None or block_hash is None
    txid, block_hash = txid or secrets.token_hex(32), block_hash or secrets.token_hex(32)
    data = ProcessDeposit(
        txid=txid,
        vout=vout,
        address=_address(settings, user, address, made_up, on_chain),
        amount=amount,
        block_hash=block_hash,
        height=height,
        ordinal=ordinal,
    )
    key = key or f"deposit:{txid}:{vout}:{ordinal}"
    _send(settings, CommandType.PROCESS_DEPOSIT, data, user, key, yes, wait, as_json)


@deposit.command("reverse")
@click.argument("user", type=User())
@click.argument("txid")
@click.option("--vout", type=Whole(0), default=0, show_default=True)
@click.option("--ordinal", type=Whole(1), default=1, show_default=True)
@sending
def reverse(
    user: str,
    txid: str,
    vout: int,
    ordinal: int,
    key: str | None,
    yes: bool,
    wait: float,
    as_json: bool,
) -> None:
    """Take back what TXID credited to USER: the chain did. What is spent already is owed."""
    settings = Settings.from_environ()
    data = ReverseDeposit(txid=txid, vout=vout, ordinal=ordinal)
    key = key or f"reversal:{txid}:{vout}:{ordinal}"
    _send(settings, CommandType.REVERSE_DEPOSIT, data, user, key, yes, wait, as_json)


def _address(
    settings: Settings, user: str, address: str | None, made_up: bool, on_chain: bool
) -> str:
    """Where the payment went; refuses to make money up where it is worth something."""
    with database(reader(settings)) as connection:
        present = next(version.rules for version in rules_history(connection) if version.in_force)
        found = address or active_address(connection, user)
    if present.network == "mainnet" and (made_up or not on_chain):
        raise click.ClickException(
            "this wallet is on mainnet, where a deposit is a payment on the chain: give --txid, "
            "--vout, --block and --height of it, and --on-chain once you have looked"
        )
    if found is None:
        raise click.ClickException(
            f"{user} has no deposit address yet; GET /api/v1/wallet/deposit-address assigns one"
        )
    return found


def _send(
    settings: Settings,
    kind: CommandType,
    data: Data,
    user: str,
    key: str,
    yes: bool,
    wait: float,
    as_json: bool,
) -> None:
    asked = order(kind, data, user_id=user, key=key)
    send(settings, asked, yes=yes, wait=wait, as_json=as_json)
