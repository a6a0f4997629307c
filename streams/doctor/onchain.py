"""Holds the books against our coins, and our coins against the node: three ways to the koinu.

The node goes on while the snapshot stands still; what it has spent since is looked up in its newer
blocks before a coin counts as gone.
"""

from __future__ import annotations

from contextlib import closing
from typing import Final

from db.audit.coins import Closing, Followed
from db.audit.snapshot import FIRST_MAX, Snapshot, UnspentCoin
from processors.dogecoin.scripts import p2pkh_script
from schemas.amounts import format_amount
from schemas.settings import Settings
from streams.doctor.report import LeftOut, Tally
from streams.node.client import Node, NodeFault, endpoint_of
from streams.node.shapes import AmountUnreadable

CLOSING_SAYS: Final = "our coins are what the books say, but for what is under way"
NODE_SAYS: Final = "our tip is a block of the node's, and our coins are unspent there"
#: Coins that are asked of the node in one look.
COINS_MAX: Final = 1_000
#: A watcher further behind is catching up: what the ledger knows from before is not followed yet.
BEHIND_MAX: Final = 6
#: Newer blocks of the node that are read to tell who has spent a coin.
_AHEAD_MAX: Final = 500
_PATIENCE_SECONDS: Final = 2.0


def not_at_tip(where: Followed) -> str | None:
    """Why nothing can be said of the whole chain yet; None where it can."""
    if where.height is None:
        return "no block is followed yet"
    behind = where.node_height - where.height
    if behind > BEHIND_MAX:
        halted = f", halted: {where.halted}" if where.halted else ""
        return f"the watcher is {behind} blocks behind the node{halted}"
    if where.rescan_from is not None:
        return f"the watcher reads the blocks from {where.rescan_from} on again"
    return None


def check_closing(snapshot: Snapshot, where: Followed | None, *, played: bool) -> Tally:
    """Our unspent coins against the ledger's account ``chain``, with what is between the two.

    ``played`` is whether coins are worth nothing here: then what was booked by hand is taken off
    and told, and is no fault.
    """
    assert where is not None
    tally = Tally("books and coins", FIRST_MAX)
    tally.subjects = 1
    books = snapshot.closing()
    lacking = books.unexplained if played else books.lacking
    if lacking:
        tally.find(f"block {where.height}", _words_of(books, lacking))
    elif played and books.without_coins:
        tally.note = (
            f"{format_amount(books.without_coins)} DOGE were booked by hand on a test network, "
            "without coins; they are taken off, and all others agree"
        )
    return tally


def _words_of(books: Closing, lacking: int) -> str:
    amount = format_amount(abs(lacking))
    fault = (
        f"{amount} DOGE of the books are without coins"
        if lacking > 0
        else f"{amount} DOGE of coins are not in the books"
    )
    return (
        f"{fault}: our coins are {format_amount(books.coins)}, the account chain is "
        f"{format_amount(books.chain)}, not credited are {format_amount(books.uncredited)}, "
        f"credited and gone {format_amount(books.orphaned)}, paid and not posted "
        f"{format_amount(books.unposted)}, booked by hand {format_amount(books.by_hand)}, coins "
        f"from outside {format_amount(books.outside)}"
    )


def check_node(settings: Settings, snapshot: Snapshot, where: Followed | None) -> Tally:
    """Our tip and our coins, all or some of them, against the node of the settings.

    Raises ``LeftOut`` where it does not answer, or has left our tip since.
    """
    assert where is not None and where.height is not None and where.hash is not None
    tally = Tally("node", FIRST_MAX)
    node = Node(
        endpoint_of(settings),
        timeout_seconds=settings.node_timeout_seconds,
        patience_seconds=_PATIENCE_SECONDS,
    )
    with closing(node):
        try:
            _check_tip(node, where.height, where.hash, tally)
            if tally.wrong:
                return tally
            missing = [
                coin for coin in snapshot.some_coins(COINS_MAX) if not _is_there(node, coin, tally)
            ]
            spent = _spent_since(node, where.height) if missing else {}
            # What was reorganised meanwhile says nothing of the coins.
            _check_tip(node, where.height, where.hash, tally)
        except NodeFault as fault:
            raise LeftOut(f"the node was asked in vain: {fault}") from fault
    for coin in missing:
        if (coin.txid, coin.vout) not in spent:
            tally.find(f"{coin.txid}:{coin.vout}", "the node does not have it, or it is spent")
    return tally


def _check_tip(node: Node, height: int, block_hash: str, tally: Tally) -> None:
    if tally.subjects == 0:
        tally.subjects = 1
    found = node.block_hash(height)
    if found == block_hash:
        return
    if found is None:
        raise LeftOut(f"the node is behind: it has no block at height {height} yet")
    if node.header(block_hash) is not None:
        raise LeftOut(f"the node has left our block at height {height} for {found}")
    tally.find(f"block {height}", f"the node has never heard of {block_hash}; it has {found} there")


def _is_there(node: Node, coin: UnspentCoin, tally: Tally) -> bool:
    """Whether the node has it unspent in a block; that it is another is found at once."""
    tally.subjects += 1
    unspent = node.unspent(coin.txid, coin.vout, with_mempool=False)
    if unspent is None:
        return False
    subject = f"{coin.txid}:{coin.vout}"
    try:
        amount = unspent.amount
    except AmountUnreadable as error:
        raise LeftOut(f"the node's answer cannot be read: {error}") from error
    if amount != coin.amount:
        tally.find(subject, f"it is {coin.amount} koinu here and {amount} at the node")
    elif unspent.script.hex.lower() != p2pkh_script(coin.public_key_hash).hex():
        tally.find(subject, f"at the node it pays another script: {unspent.script.hex}")
    return True


def _spent_since(node: Node, height: int) -> set[tuple[str, int]]:
    """What the node's blocks above a height spend."""
    ahead = node.chain().blocks - height
    if ahead > _AHEAD_MAX:
        raise LeftOut(f"the node is {ahead} blocks ahead")
    spent: set[tuple[str, int]] = set()
    above = height + 1
    while (block_hash := node.block_hash(above)) is not None:
        spent.update(
            (each.txid, each.vout)
            for transaction in node.block(block_hash).tx
            for each in transaction.vin
            if each.coinbase is None
        )
        above += 1
    return spent
