"""``wallet chain``: play with the chain of the local stack: mine, reorganise, look."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import click

from api.commands.arguments import Commands, Whole, counted
from schemas.settings import Settings
from streams.local.node.caller import Caller, caller_of
from streams.local.node.errors import RpcCode, RpcError

#: A real Core node forgets what it is told to forget: never on a chain that is worth something.
_PLAYGROUND: Final = "regtest"
#: Takes the rewards of a branch on a node that is not ours; nobody has its key.
_NOBODY: Final = "mfWxJ45yp2SFn7UciZyNpvDKrzbhyfKrY8"

#: As many as the node mines or undoes at once.
_BLOCKS_MAX: Final = 10_000


@click.group("chain", cls=Commands)
def command() -> None:
    """Play with the chain of the local stack: mine blocks, reorganise, look at it.

    It talks to the node of WALLET_NODE_URL, which is the one that `wallet up` runs unless you set
    another. A Dogecoin Core in regtest is served, too.
    """


@command.command("status")
def status() -> None:
    """Show the tip and what waits for a block."""
    node = node_of_settings()
    info = call(node, "getblockchaininfo")
    header = call(node, "getblockheader", info["bestblockhash"])
    waiting = call(node, "getmempoolinfo")
    mined = datetime.fromtimestamp(header["time"], UTC).isoformat(sep=" ", timespec="seconds")
    click.echo(f"chain    {info['chain']}")
    click.echo(f"height   {info['blocks']}")
    click.echo(f"tip      {info['bestblockhash']}")
    click.echo(f"mined    {mined}")
    click.echo(f"mempool  {counted(waiting['size'], 'transaction')}, {waiting['bytes']:,} bytes")
    for tip in call(node, "getchaintips"):
        if tip["status"] != "active":
            click.echo(
                f"branch   {tip['hash']} of {counted(tip['branchlen'], 'block')} up to "
                f"{tip['height']}, {tip['status']}"
            )


@command.command("mine")
@click.argument("count", type=Whole(1, _BLOCKS_MAX), default=1)
@click.option("--to", "address", help="Whom the rewards go to; the node's own purse by default.")
def mine(count: int, address: str | None) -> None:
    """Mine COUNT blocks (1) at once."""
    node = _playground()
    if address is None:
        hashes = call(node, "generate", count)
    else:
        hashes = call(node, "generatetoaddress", count, address)
    for block_hash in hashes:
        click.echo(block_hash)


@command.command("reorg")
@click.argument("depth", type=Whole(1, _BLOCKS_MAX), default=1)
@click.option("--length", type=Whole(1, _BLOCKS_MAX + 1), help="Blocks of the branch; DEPTH + 1.")
@click.option("--empty", type=Whole(0, _BLOCKS_MAX), default=0, help="So many of them are empty.")
@click.option("--leave-out", multiple=True, metavar="TXID", help="It waits in the mempool again.")
@click.option("--drop", multiple=True, metavar="TXID", help="It is forgotten by the node.")
@click.option("--malleate", multiple=True, metavar="TXID", help="It gets another txid.")
def reorg(
    depth: int,
    length: int | None,
    empty: int,
    leave_out: tuple[str, ...],
    drop: tuple[str, ...],
    malleate: tuple[str, ...],
) -> None:
    """Undo the last DEPTH blocks (1) and mine a longer branch in their place.

    Transactions of the undone blocks are mined again, but for what the options say, which only
    the local node's own kind understands. A branch that is not longer stays a branch.
    """
    node = _playground()
    blocks = (depth + 1 if length is None else length) - empty
    if blocks < 0:
        raise click.UsageError("more blocks are to be empty than there are")
    wish = {
        "depth": depth,
        "empty": empty,
        "blocks": [
            {"leave_out": list({*leave_out}), "malleate": list(malleate)} for _ in range(blocks)
        ],
        "drop": list(drop),
    }
    try:
        hashes = node.call("wallet_reorganise", wish)
    except RpcError as error:
        if error.code != RpcCode.METHOD_NOT_FOUND:
            raise click.ClickException(str(error)) from None
        if empty or leave_out or drop or malleate:
            raise click.ClickException(
                "this node is not the local one, and reorganises without any options"
            ) from None
        hashes = _reorganise_core(node, depth, blocks)
    for block_hash in hashes:
        click.echo(block_hash)


def node_of_settings() -> Caller:
    """The node of the settings; raises ``SettingsError`` where none is set."""
    settings = Settings.from_environ()
    settings.require("node_url")
    return caller_of(settings)


def call(node: Caller, method: str, *parameters: object) -> Any:
    """One call whose refusal is told in one line."""
    try:
        return node.call(method, *parameters)
    except RpcError as error:
        raise click.ClickException(f"the node refuses {method}: {error}") from None


def _playground() -> Caller:
    """The node, which must be on a chain that nobody else is on."""
    node = node_of_settings()
    chain = call(node, "getblockchaininfo")["chain"]
    if chain != _PLAYGROUND:
        raise click.ClickException(f"the node is on {chain}: only {_PLAYGROUND} is for play")
    return node


def _reorganise_core(node: Caller, depth: int, length: int) -> list[str]:
    height = call(node, "getblockcount")
    lowest = call(node, "getblockhash", height - depth + 1)
    call(node, "invalidateblock", lowest)
    hashes: list[str] = call(node, "generatetoaddress", length, _NOBODY)
    return hashes
