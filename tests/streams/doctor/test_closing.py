"""The books against our coins: what was booked by hand is taken off, and hides no loss."""

from __future__ import annotations

from processors.dogecoin.scripts import script_of_address
from schemas.commands import Fund
from schemas.ledger import HOUSE
from streams.doctor import Report
from tests.streams.doctor.looking import damage, found_in, report_on
from tests.streams.payer.world import NETWORK, World
from tests.support.books import BOB, doge


def note_of(report: Report) -> str | None:
    """What is told of the closing, which must have been made."""
    (check,) = [each for each in report.checks if each.check == "books and coins"]
    assert check.subjects == 1
    return check.note


def invent(world: World, amount: float) -> None:
    """A deposit by hand, of a payment that there never was."""
    world.address_of(BOB)
    world.till.fund_assigned(amount, BOB)


def pay_to_change(world: World, amount: float) -> None:
    """Coins from outside on an address for change."""
    world.request(100)
    world.work(3)
    change = world.till.value("SELECT address FROM watched_scripts WHERE chain = 1")
    world.node.pay(script_of_address(change, NETWORK), doge(amount))
    world.mine()


def test_what_was_booked_by_hand_on_a_test_network_is_taken_off_and_told(world: World) -> None:
    world.till.do(Fund(amount=doge(250)), HOUSE)
    invent(world, 40)
    report = report_on(world.database)
    assert found_in(report) == {}
    assert (note_of(report) or "").startswith("290.00000000 DOGE were booked by hand")


def test_what_was_booked_by_hand_hides_no_loss(world: World) -> None:
    world.till.do(Fund(amount=doge(250)), HOUSE)
    world.deposit(30, BOB)
    lost = f"SELECT txid FROM receipts WHERE user_id = '{BOB}'"
    damage(
        world.database,
        f"DELETE FROM coins WHERE txid IN ({lost})",
        f"DELETE FROM receipts WHERE txid IN ({lost})",
    )
    (told,) = found_in(report_on(world.database))["books and coins"]
    assert "30.00000000 DOGE of the books are without coins" in told


def test_a_payment_that_was_signed_is_not_taken_for_one_booked_by_hand(world: World) -> None:
    world.till.do(Fund(amount=doge(250)), HOUSE)
    world.request(100)
    world.settle_all()
    damage(
        world.database,
        "UPDATE coins SET spent_height = NULL WHERE spent_height IS NOT NULL",
        "DELETE FROM spends",
        "DELETE FROM spenders",
    )
    (told,) = found_in(report_on(world.database))["books and coins"]
    assert "DOGE of coins are not in the books" in told


def test_capital_that_came_with_its_coins_needs_no_word(world: World) -> None:
    pay_to_change(world, 3)
    world.till.do(Fund(amount=doge(3)), HOUSE)
    report = report_on(world.database)
    assert found_in(report) == {}
    assert note_of(report) is None


def test_coins_that_nobody_booked_are_found_though_others_were_booked_without(
    world: World,
) -> None:
    pay_to_change(world, 3)
    invent(world, 40)
    (told,) = found_in(report_on(world.database))["books and coins"]
    assert "3.00000000 DOGE of coins are not in the books" in told


def test_capital_without_coins_is_found_where_coins_are_worth_something(world: World) -> None:
    world.till.do(Fund(amount=doge(250)), HOUSE)
    found = found_in(report_on(world.database, network="mainnet", account_xpub=""))
    (told,) = found["books and coins"]
    assert "250.00000000 DOGE of the books are without coins" in told
    assert "booked by hand 250.00000000" in told


def test_coins_that_nobody_booked_are_found(world: World) -> None:
    pay_to_change(world, 3)
    (told,) = found_in(report_on(world.database))["books and coins"]
    assert "3.00000000 DOGE of coins are not in the books" in told
