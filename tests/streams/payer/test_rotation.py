"""A rotation to a new account: change goes there, former coins are brought, old addresses count."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from db.treasury.purse import Holding
from processors.dogecoin.derivation import Keychain, account_keys
from processors.dogecoin.fees import FeePolicy
from schemas.commands import AssignAddress, RotateAccount
from schemas.ledger import HOUSE
from streams.payer.housework import NotOrdered, former_holdings, gather, sweep
from streams.payer.restoring import watch_change
from tests.conftest import Database
from tests.streams.doctor.looking import found_in, report_on
from tests.streams.payer.world import NETWORK, XPRV, XPUB, World, world_on
from tests.support.books import ANN, BOB, doge

RATE = 1_000_000
OTHER_XPRV, OTHER_XPUB = account_keys(bytes(range(64, 128)), NETWORK)
FORMER, PRESENT = (Keychain(xpub, NETWORK).fingerprint for xpub in (XPUB, OTHER_XPUB))


@pytest.fixture
def world(database: Database) -> Iterator[World]:
    """A world with coins of two users, which then knows another account and rotates to it."""
    with world_on(database) as made:
        made.deposit(1000)
        made.deposit(500, BOB)
        rotate(made)
        yield made


def rotate(world: World) -> None:
    """From here on the other account is known too, and in force."""
    world.know((XPRV, XPUB), (OTHER_XPRV, OTHER_XPUB))
    world.till.do(RotateAccount(account_key=PRESENT), HOUSE)


def coins_of(world: World, account_key: str) -> list[int]:
    """Koinu of each coin that is not spent, the largest first."""
    rows = world.till.rows(
        "SELECT c.amount FROM coins c JOIN watched_scripts s USING (public_key_hash)"
        " WHERE s.account_key = %s AND c.height IS NOT NULL AND NOT EXISTS"
        " (SELECT FROM spends x WHERE x.txid = c.txid AND x.vout = c.vout) ORDER BY 1 DESC",
        account_key,
    )
    return [amount for (amount,) in rows]


def gathered(world: World) -> int:
    """Bring what can be brought; how many transactions it took."""
    orders = 0
    while gather(world.payer.office, rate=RATE, dry_run=False) is not None:
        orders += 1
    world.settle_all()
    return orders


def test_a_payment_from_former_coins_has_its_change_on_the_new_account(world: World) -> None:
    withdrawal = world.request(100)
    world.settle_all()
    assert world.withdrawal(withdrawal)[0] == "CONFIRMED"
    assert coins_of(world, FORMER) == [doge(500)]
    assert doge(899) < sum(coins_of(world, PRESENT)) < doge(900)


def test_former_coins_are_brought_to_the_new_account_less_the_fee(world: World) -> None:
    told = gather(world.payer.office, rate=RATE, dry_run=True)
    assert told is not None
    assert (told.coins, told.total) == (2, doge(1500))
    assert coins_of(world, FORMER) == [doge(1000), doge(500)]
    assert gathered(world) == 1
    assert coins_of(world, FORMER) == []
    assert coins_of(world, PRESENT) == [told.returned]
    assert world.till.balance(ANN) == (doge(1000), 0, 0, 0)
    assert found_in(report_on(world.database, account_xpub=f"{XPUB},{OTHER_XPUB}")) == {}


def test_it_takes_as_many_transactions_as_one_cannot_hold(world: World) -> None:
    office = world.payer.office
    orders = 0
    while gather(office, rate=RATE, inputs_max=1, dry_run=False) is not None:
        orders += 1
    world.settle_all()
    assert orders == 2
    assert (coins_of(world, FORMER), len(coins_of(world, PRESENT))) == ([], 2)


def test_a_later_deposit_to_an_old_address_is_credited_and_brought_too(world: World) -> None:
    gathered(world)
    world.deposit(30)  # Nobody has asked for a new address: it is the old one still.
    assert world.till.balance(ANN) == (doge(1030), 0, 0, 0)
    assert coins_of(world, FORMER) == [doge(30)]
    assert gathered(world) == 1
    assert coins_of(world, FORMER) == []


def test_a_deposit_that_is_not_credited_yet_is_not_touched(world: World) -> None:
    gathered(world)
    world.deposit(30, credited=False)
    assert former_holdings(world.payer.office) == [Holding(FORMER, 1, 0, 0, doge(30))]
    assert gather(world.payer.office, rate=RATE, dry_run=False) is None


def test_the_new_accounts_deposits_are_no_former_coins(world: World) -> None:
    gathered(world)
    world.till.do(AssignAddress())
    world.follower.watch()
    world.deposit(30)
    assert len(coins_of(world, PRESENT)) == 2
    assert gather(world.payer.office, rate=RATE, dry_run=False) is None


def test_a_coin_that_is_worth_less_than_its_fee_stays(world: World) -> None:
    policy = FeePolicy(rate_max=3_000_000_000)
    world.hurry(policy=policy)
    gathered(world)
    world.deposit(1)
    assert former_holdings(world.payer.office) == [Holding(FORMER, 1, doge(1), 0, 0)]
    assert gather(world.payer.office, rate=policy.rate_max, dry_run=False) is None


def test_change_of_a_former_account_is_watched_again_after_its_table_was_lost(
    world: World,
) -> None:
    assert watch_change(world.payer.office, 3, FORMER) == (0, 3)
    assert watch_change(world.payer.office, 2) == (0, 2)
    watched = "SELECT account_key, count(*) FROM watched_scripts WHERE chain = 1 GROUP BY 1"
    assert dict(world.till.rows(watched)) == {FORMER: 3, PRESENT: 2}


def test_coins_that_are_on_their_way_are_told_until_they_have_left(world: World) -> None:
    office = world.payer.office
    assert former_holdings(office) == [Holding(FORMER, 2, doge(1500), 0, 0)]
    assert gather(office, rate=RATE, dry_run=False) is not None
    assert former_holdings(office) == [Holding(FORMER, 2, 0, doge(1500), 0)]
    world.settle_all()
    assert former_holdings(office) == []


def test_coins_of_an_account_that_the_settings_lack_are_told(world: World) -> None:
    world.know((OTHER_XPRV, OTHER_XPUB), applier=False)
    assert former_holdings(world.payer.office) == [Holding(FORMER, 2, doge(1500), 0, 0)]


def test_where_the_fee_would_pass_its_cap_fewer_coins_are_brought_at_once(world: World) -> None:
    world.hurry(policy=FeePolicy(rate=100_000, fee_max=300_000))
    told = gather(world.payer.office, rate=RATE, dry_run=True)
    assert told is not None
    assert told.coins == 1


@pytest.mark.parametrize("chain", [0, 1])
@pytest.mark.parametrize("index", [0, 5, 999])
def test_nothing_is_swept_to_an_address_that_a_user_or_change_may_get(
    world: World, chain: int, index: int
) -> None:
    address = Keychain(OTHER_XPUB, NETWORK).address(chain, index)
    with pytest.raises(NotOrdered, match="of this wallet itself"):
        sweep(world.payer.office, address=address, keep=0, rate=RATE, dry_run=True)


def test_a_template_from_before_the_rotation_is_not_signed_and_its_withdrawal_paid_by_another(
    database: Database,
) -> None:
    with world_on(database) as world:
        world.deposit(1000)
        withdrawal = world.request(100)
        world.step = _die_at("signed")
        with pytest.raises(_Died):
            world.work(3)
        world.step = lambda name: None
        rotate(world)
        world.settle_all()
        assert world.withdrawal(withdrawal)[0] == "CONFIRMED"
        assert coins_of(world, FORMER) == []
        failures = "SELECT failure FROM payouts WHERE status = 'failed'"
        assert world.till.rows(failures) == [("its change would go to a former account",)]


class _Died(Exception):
    """The process ended at a step."""


def _die_at(step: str) -> Callable[[str], None]:
    def die(name: str) -> None:
        if name == step:
            raise _Died

    return die


def test_a_payment_that_was_under_way_is_replaced_with_its_change_on_the_new_account(
    database: Database,
) -> None:
    with world_on(database) as world:
        world.deposit(1000)
        withdrawal = world.request(100)
        world.work(3)
        rotate(world)
        world.hurry(bump_seconds=0.0)
        world.work(2)
        versions = "SELECT count(*) FROM payout_versions"
        assert world.till.value(versions) >= 2
        world.hurry(bump_seconds=3600.0)
        world.settle_all()
        assert world.withdrawal(withdrawal)[0] == "CONFIRMED"
        assert coins_of(world, FORMER) == []
        assert doge(899) < sum(coins_of(world, PRESENT)) < doge(900)
        assert world.till.rows("SELECT account_key, next_index FROM change_counters") == [
            (FORMER, 1),
            (PRESENT, 1),
        ]
        assert found_in(report_on(database, account_xpub=f"{XPUB},{OTHER_XPUB}")) == {}


def test_a_payer_that_does_not_know_the_new_account_pays_nothing(database: Database) -> None:
    with world_on(database) as world:
        world.deposit(1000)
        rotate(world)
        world.know((XPRV, XPUB), applier=False)
        world.request(100)
        world.payer.run_once()
        world.deliver()
        with pytest.raises(Exception, match=PRESENT) as refused:
            world.payer.run_once()
        assert type(refused.value).__name__ == "AccountUnknown"
        assert world.till.rows("SELECT 1 FROM payouts") == []


def test_an_address_of_an_account_that_is_not_named_is_found_by_the_doctor(world: World) -> None:
    world.till.do(AssignAddress())
    found = found_in(report_on(world.database))
    assert list(found) == ["derivation"]
    assert f"it is of account {PRESENT}" in found["derivation"][0]
