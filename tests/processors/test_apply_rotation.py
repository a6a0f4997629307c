"""A rotation to another account, applied: each account's counter, and workers that lack its key."""

from __future__ import annotations

import pytest

from processors.apply import Applier
from processors.dogecoin.keyring import AccountUnknown
from processors.incoming import Undecidable
from schemas.commands import AssignAddress, OpenWallet, ProcessDeposit, RotateAccount
from schemas.ledger import HOUSE
from tests.support.books import BOB, CAT, RULES, derived, doge
from tests.support.commands import id_of
from tests.support.till import Till

#: An account to rotate to.
OTHER = "00000000000000aa"


def test_after_a_rotation_each_account_has_a_counter_of_its_own(till: Till) -> None:
    till.do(AssignAddress())
    till.do(AssignAddress(), BOB)
    # In one batch: the users' topic is decided first, still by the former account.
    till.apply(till.put(AssignAddress(), CAT), till.put(RotateAccount(account_key=OTHER), HOUSE))
    till.do(AssignAddress(), BOB)
    assert till.rows("SELECT account_key, next_index FROM address_counters ORDER BY 1") == [
        (OTHER, 1),
        (RULES.account_key, 3),
    ]
    assert till.rows(
        "SELECT account_key, derivation_index, active FROM deposit_addresses"
        " WHERE user_id = %s ORDER BY active",
        BOB,
    ) == [(RULES.account_key, 1, False), (OTHER, 0, True)]


def test_a_deposit_to_an_address_of_a_former_account_is_credited(till: Till) -> None:
    till.do(AssignAddress())
    former = str(till.value("SELECT address FROM deposit_addresses"))
    till.do(RotateAccount(account_key=OTHER), HOUSE)
    till.do(AssignAddress())
    till.do(
        ProcessDeposit(
            txid="7" * 64,
            vout=0,
            address=former,
            amount=doge(20),
            block_hash="b" * 64,
            height=100,
            ordinal=1,
        )
    )
    assert till.balance() == (doge(20), 0, 0, 0)


def test_a_rotation_to_an_account_that_the_worker_does_not_know_can_be_set_apart(
    till: Till,
) -> None:
    till.applier = knowing_one_account(till)
    record = till.put(RotateAccount(account_key=OTHER), HOUSE)
    with pytest.raises(Undecidable) as failure:
        till.apply(record)
    assert isinstance(failure.value.__cause__, AccountUnknown)
    till.told += till.applier.apply([record], till.claims, unprocessable={record[:3]}).slices
    assert till.outcome(record) == ("dead", "unprocessable")
    assert till.rows("SELECT version FROM rules") == [(1,)]


def test_a_worker_that_does_not_know_the_account_in_force_applies_nothing(till: Till) -> None:
    till.do(RotateAccount(account_key=OTHER), HOUSE)
    till.applier = knowing_one_account(till)
    record = till.put(OpenWallet())
    for _ in range(2):
        with pytest.raises(AccountUnknown, match=OTHER):
            till.apply(record)
    assert till.rows("SELECT 1 FROM commands WHERE id = %s", id_of(record)) == []


def knowing_one_account(till: Till) -> Applier:
    """Another release's applier, or one whose settings lack the new account."""

    def derive(account_key: str, index: int) -> str:
        if account_key != RULES.account_key:
            raise AccountUnknown(account_key, RULES.account_key)
        return derived(account_key, index)

    return Applier(till.connection, owner="till", derive=derive)
