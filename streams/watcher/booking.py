"""One block into our tables or out of them, with the commands that it causes: a transaction each.

1. Watch the addresses that were given out meanwhile: nobody can have paid one that was not shown,
   and it was shown only once it stood in the database, so before this block was fetched.
2. Place the block, its coins and receipts, and what spends our coins.
3. Hold each receipt to its confirmations, by all that its user received lately.
4. Credit what has them; put every command into the outbox.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from db.engine import Connection
from db.ledger.rules import read_rules
from db.together import Together, together
from db.treasury import blocks as chain_blocks
from db.treasury import chain
from db.treasury.blocks import Coin, Crediting, Payment, Receipt, Spend, Spender, Standing
from db.treasury.outboxes import WATCHER_OUTBOX, enqueue
from processors.dogecoin.crediting import asked_of, confirmations_asked, exposed_blocks
from schemas.addresses import decode_address
from schemas.records import Rules
from streams.node.shapes import BlockShape
from streams.watcher import matching, orders
from streams.watcher.matching import Sought

#: Addresses taken over in one transaction: a first start may find a million.
_ADDRESSES_MAX: Final = 5_000
_UNCREDITED: Final = Crediting(0, False)


class Booked(NamedTuple):
    """What a block brought, for the log and the counters."""

    received: int = 0
    insufficient: int = 0
    credited: int = 0
    spent: int = 0
    reversed: tuple[Receipt, ...] = ()


class AddressUnreadable(Exception):
    """An address that this wallet gave to a user is none; `wallet doctor` looks at all of them."""


def watch_new_addresses(connection: Connection) -> int:
    """Watch every address that was given out since the last call; how many those were."""
    count = 0
    with connection.cursor() as cursor:
        while fresh := chain.new_addresses(cursor, _ADDRESSES_MAX):
            chain.watch(cursor, [(_public_key_hash(new.address), new) for new in fresh])
            count += len(fresh)
    return count


def _public_key_hash(address: str) -> bytes:
    payload = decode_address(address)
    if payload is None:
        raise AddressUnreadable(address)
    return payload[1:]


def book_block(
    connection: Connection,
    sought: Sought,
    *,
    maturity: int,
    crediting: bool,
    meanwhile: Callable[[], None] = lambda: None,
    step: Callable[[str], None] = lambda name: None,
) -> Booked:
    """Put a block on top of the tip.

    ``meanwhile`` is called when the database has begun to look for what is ours, which takes it
    longest. ``crediting`` says whether what is due is credited in the same transaction; with a
    second node to be asked, ``credit_agreed`` does it afterwards. Raises one of ``CONTRADICTED``
    for a block that contradicts those below it.
    """
    block = sought.block
    with connection.transaction(), together(connection) as server:
        watched = chain.watched_among(server, sought.paid)
        known = chain_blocks.coins_among(server, sought.spent.keys())
        meanwhile()
        ours = matching.ours_among(sought, watched())
        rules = read_rules(server.cursor())
        chain.activate(server, block.hash, block.height, block.previousblockhash, block.time)
        chain_blocks.place_coins(server, block.hash, block.height, ours.coins)
        step("coins-placed")
        # A coin may be made and spent in the same block.
        made = sought.spent.keys() & {(coin.txid, coin.vout) for coin in ours.coins}
        spenders, spends = matching.spends_of(sought, known() | made)
        chain_blocks.place_spends(server, block.hash, block.height, spenders, spends)
        received, insufficient = _receive(server, block, ours.payments, rules, maturity)
        step("receipts-placed")
        credited = _credit(server, block.height, rules) if crediting else 0
        step("before-commit")
    return Booked(received, insufficient, credited, len(spends))


class Late(NamedTuple):
    """What a block brought that was not known to be ours when it was read."""

    hash: str
    height: int
    coins: Sequence[Coin]
    payments: Sequence[Payment]
    spenders: Sequence[Spender]
    spends: Sequence[Spend]


def book_late(server: Together, blocks: Sequence[Late], *, maturity: int) -> Booked:
    """Put in what was found in blocks of our chain when they were read again, lowest first.

    Within one transaction, so that no coin is ever seen without what has spent it since.
    """
    rules = read_rules(server.cursor())
    received = insufficient = 0
    for late in blocks:
        chain_blocks.place_coins(server, late.hash, late.height, late.coins)
    for late in blocks:
        chain_blocks.place_spends(server, late.hash, late.height, late.spenders, late.spends)
        fresh = _receive(server, late, late.payments, rules, maturity)
        received, insufficient = received + fresh[0], insufficient + fresh[1]
    return Booked(received, insufficient, spent=sum(len(late.spends) for late in blocks))


def _receive(
    server: Together,
    block: BlockShape | Late,
    payments: Sequence[Payment],
    rules: Rules,
    maturity: int,
) -> tuple[int, int]:
    """Place the receipts and say so; how many there are, and how many of them are too small."""
    if not payments:
        return 0, 0
    known = chain_blocks.creditings_known(server, [(each.txid, each.vout) for each in payments])()
    standings = []
    for payment in payments:
        crediting = known.get((payment.txid, payment.vout), _UNCREDITED)
        asked = asked_of(
            payment.amount,
            payment.amount,
            rules,
            coinbase=payment.coinbase,
            maturity=maturity,
            credited_once=crediting.creditings > 0,
        )
        standings.append(Standing(asked.sufficient, asked.confirmations, crediting))
    placed = chain_blocks.place_receipts(server, block.hash, block.height, payments, standings)
    above = block.height - exposed_blocks(rules.confirmations)
    exposures = chain_blocks.exposures(server, [each.user_id for each in payments], above)
    receipts = placed()
    required = {
        user_id: confirmations_asked(exposure, rules.confirmations)
        for user_id, exposure in exposures().items()
    }
    chain_blocks.raise_required(server, required, above)
    news = [each for each in sorted(receipts) if not _is_credited(each, known)]
    enqueue(server.cursor(), WATCHER_OUTBOX, [orders.detect(receipt) for receipt in news])
    return len(receipts), sum(not standing.sufficient for standing in standings)


def _is_credited(receipt: Receipt, known: Mapping[tuple[str, int], Crediting]) -> bool:
    """Whether the ledger has it already, and would only refuse to hear of it again."""
    return known.get((receipt.txid, receipt.vout), _UNCREDITED).credited


def _credit(
    server: Together, tip_height: int, rules: Rules, blocks: Sequence[str] | None = None
) -> int:
    credited = chain_blocks.credit_due(server, tip_height, rules.deposit_minimum, blocks)()
    enqueue(server.cursor(), WATCHER_OUTBOX, [orders.process(receipt) for receipt in credited])
    return len(credited)


def credit_agreed(
    connection: Connection, tip_height: int, agrees: Callable[[str, int], bool]
) -> tuple[int, int]:
    """Credit what is due in blocks on which ``agrees(block_hash, confirmations)`` says yes.

    How many were credited, and in how many blocks something waits for an agreement.
    """
    with connection.transaction(), connection.cursor() as cursor:
        minimum = read_rules(cursor).deposit_minimum
        due = chain_blocks.due_blocks(cursor, tip_height, minimum)
    # Asked outside of any transaction, since a node may be slow to answer.
    agreed = [block.block_hash for block in due if agrees(block.block_hash, block.required)]
    if not agreed:
        return 0, len(due)
    with connection.transaction(), together(connection) as server:
        credited = _credit(server, tip_height, read_rules(server.cursor()), agreed)
    return credited, len(due) - len(agreed)


def unbook_tip(
    connection: Connection,
    height: int,
    block_hash: str,
    *,
    step: Callable[[str], None] = lambda name: None,
) -> Booked:
    """Take the tip off; whatever was credited by it is reversed."""
    with connection.transaction(), connection.cursor() as cursor:
        fallen = chain_blocks.unplace(cursor, height)
        chain.deactivate(cursor, block_hash)
        step("unplaced")
        enqueue(cursor, WATCHER_OUTBOX, [orders.reverse(receipt) for receipt in fallen])
        step("before-undo-commit")
    return Booked(reversed=tuple(fallen))
