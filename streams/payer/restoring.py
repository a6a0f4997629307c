"""What an operator orders after the chain's tables were lost: the addresses that change came to."""

from __future__ import annotations

from processors.dogecoin.building import Change
from processors.dogecoin.derivation import CHANGE_CHAIN
from streams.payer.office import Desk


def watch_change(desk: Desk, count: int) -> tuple[int, int]:
    """Watch change addresses up to index ``count``, as if each had been used.

    Deposit addresses come back from the log, change is known to the lost tables alone; it is
    derived again, and found where the watcher follows the chain afterwards. The first and the
    last index that are new; the same twice where all were watched already.
    """
    with desk.work("watching change") as cursor:
        _, first = desk.next_change(cursor)
        for index in range(first, count):
            address = desk.keychain.address(CHANGE_CHAIN, index)
            desk.use_change(cursor, Change(address, index))
    return first, max(count, first)
