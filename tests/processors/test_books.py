"""The books of a batch in memory: what was read and what was put, in whichever order it came."""

from __future__ import annotations

from itertools import permutations

import msgspec

from processors.books import BatchBooks
from schemas.records import DepositAddress
from tests.support.books import ANN, BOB, RULES, address_of


def address(index: int, user: str = ANN, *, active: bool = False) -> DepositAddress:
    return DepositAddress(
        address=address_of(index),
        user_id=user,
        account_key=RULES.account_key,
        derivation_index=index,
        assigned_at=index,
        active=active,
    )


def test_the_active_address_is_found_among_older_ones_in_whichever_order_they_were_read() -> None:
    active, of_another = address(2, active=True), address(3, BOB, active=True)
    for records in permutations((address(0), address(1), active, of_another)):
        books = BatchBooks(rules=RULES, wallets={})
        books.load(records)
        assert books.active_address(ANN) == active
        assert books.active_address(BOB) == of_another


def test_an_address_that_is_retired_is_shown_no_more() -> None:
    books = BatchBooks(rules=RULES, wallets={})
    active = address(0, active=True)
    books.load([active])
    books.put(msgspec.structs.replace(active, active=False))
    assert books.active_address(ANN) is None
    assert books.address(ANN, active.address) is not None
