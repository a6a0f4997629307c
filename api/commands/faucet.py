"""``wallet faucet``: test coins for an address, from the local node's own purse."""

from __future__ import annotations

import click

from api.commands.chain import call, node_of_settings
from schemas.addresses import check_address
from schemas.amounts import format_amount, parse_amount
from schemas.rejections import Malformed
from schemas.settings import Settings
from streams.local.node.errors import RpcCode, RpcError


@click.command("faucet")
@click.argument("address")
@click.argument("amount")
def command(address: str, amount: str) -> None:
    """Pay AMOUNT of test DOGE to ADDRESS, and print the txid.

    The coins are the local node's own: it mines more when it has too few. The payment is in a
    block with the next one that is mined; `wallet chain mine` does that at once.
    """
    settings = Settings.from_environ()
    if settings.network == "mainnet":
        raise click.ClickException("there is no faucet on mainnet")
    rejection = check_address(address, settings.network)
    if rejection is not None:
        raise click.ClickException(f"{address}: {rejection} ({settings.network})")
    try:
        text = format_amount(parse_amount(amount))
    except Malformed as error:
        raise click.ClickException(str(error)) from None
    node = node_of_settings()
    try:
        click.echo(node.call("wallet_faucet", address, text))
    except RpcError as error:
        if error.code != RpcCode.METHOD_NOT_FOUND:
            raise click.ClickException(f"the node refuses: {error}") from None
        # A Dogecoin Core in its place pays from its own wallet.
        click.echo(call(node, "sendtoaddress", address, text))
