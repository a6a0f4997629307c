"""What an operator orders after the chain's tables were lost: the addresses that change came to."""

from __future__ import annotations

from db.treasury.purse import lock_change_index
from streams.payer.office import Desk, change_at, use_change_of


def watch_change(desk: Desk, count: int, account_key: str | None = None) -> tuple[int, int]:
    """Watch an account's change addresses up to index ``count``, as if each had been used.

    Deposit addresses come back from the log, change is known to the lost tables alone; it is
    derived again, and found where the watcher follows the chain afterwards. The first and the
    last index that are new; the same twice where all were watched already. The present account's
    unless another is named; raises ``AccountUnknown`` for one that the settings lack.
    """
    with desk.work("watching change") as cursor:
        keychain = desk.present(cursor) if account_key is None else desk.keyring.of(account_key)
        first = lock_change_index(cursor, keychain.fingerprint)
        for index in range(first, count):
            use_change_of(cursor, keychain.fingerprint, change_at(keychain, index))
    return first, max(count, first)
