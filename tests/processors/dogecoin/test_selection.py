"""The choice of coins: nothing is left over, nothing is given away, no rule of relay is broken."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.dogecoin.fees import (
    CHANGE_BYTES,
    CHANGE_MIN,
    DUST_SOFT,
    INPUT_BYTES,
    RATE_RELAYED,
    SIZE_END,
    FeePolicy,
    FeesImpossible,
    fee_for,
)
from processors.dogecoin.scripts import p2pkh_script, p2sh_script
from processors.dogecoin.selection import (
    Bill,
    CannotPay,
    Coin,
    FeeTooHigh,
    NotEnough,
    Payment,
    TooLarge,
    by_size,
    parts_of,
    select,
)
from tests.processors.dogecoin.account import DOGE, FEE_MAX, coin

SCRIPT = p2pkh_script(bytes(20))
RATE = 1_000_000

AMOUNTS = st.one_of(
    st.integers(1, 300_000), st.integers(300_000, 5 * DOGE), st.integers(DOGE, 10_000 * DOGE)
)
COINS = st.lists(AMOUNTS, max_size=30).map(
    lambda amounts: [coin(number, amount) for number, amount in enumerate(amounts)]
)
PAYMENTS = st.lists(
    st.builds(
        Payment,
        amount=st.one_of(st.integers(100_000, 2 * DUST_SOFT), st.integers(DOGE, 5_000 * DOGE)),
        script=st.sampled_from([SCRIPT, p2sh_script(bytes(20))]),
    ),
    min_size=1,
    max_size=8,
)
RATES = st.integers(100_000, 100 * RATE)


@given(coins=COINS, payments=PAYMENTS, rate=RATES)
def test_coins_pay_the_payments_the_fee_and_the_change_and_nothing_else(
    coins: list[Coin], payments: list[Payment], rate: int
) -> None:
    bill = Bill(payments, rate)
    try:
        chosen = select(coins, payments, rate, fee_max=FEE_MAX)
    except NotEnough as short:
        assert short.missing > 0
        return
    except FeeTooHigh as costly:
        assert costly.fee > FEE_MAX
        return
    paid_in = sum(each.amount for each in chosen.coins)
    assert paid_in == bill.total + chosen.fee + chosen.change
    assert len({each.outpoint for each in chosen.coins}) == len(chosen.coins)
    assert set(chosen.coins) <= set(coins)
    assert chosen.fee <= FEE_MAX
    assert sum(chosen.changes) == chosen.change
    assert bill.size(len(chosen.coins), change=len(chosen.changes)) < SIZE_END
    least = bill.fee(len(chosen.coins), change=len(chosen.changes))
    if chosen.change:
        assert min(chosen.changes) >= CHANGE_MIN
        assert chosen.fee == least
    else:
        # What is given away is less than change would have been, with its own bytes.
        assert least <= chosen.fee < least + CHANGE_MIN + fee_for(CHANGE_BYTES, rate)
        assert paid_in - bill.total - bill.fee(len(chosen.coins), change=1) < CHANGE_MIN
    dust = sum(DUST_SOFT for each in payments if each.amount < DUST_SOFT)
    size = bill.size(len(chosen.coins), change=len(chosen.changes))
    assert 1000 * (chosen.fee - dust) >= size * rate


@given(coins=COINS, payments=PAYMENTS, rate=RATES, seed=st.integers())
def test_the_order_in_which_coins_come_does_not_matter(
    coins: list[Coin], payments: list[Payment], rate: int, seed: int
) -> None:
    def outcome(given_coins: list[Coin]) -> object:
        try:
            return select(given_coins, payments, rate, fee_max=FEE_MAX)
        except CannotPay as error:
            return type(error), str(error)

    shuffled = coins.copy()
    random.Random(seed).shuffle(shuffled)
    assert outcome(coins) == outcome(shuffled)


@given(
    amounts=st.lists(st.integers(2 * DOGE, 40 * DOGE), min_size=1, max_size=8),
    mask=st.integers(1, 255),
    given_away=st.floats(0, 1, exclude_max=True),
    rate=RATES,
)
def test_a_set_without_change_is_found_where_there_is_one(
    amounts: list[int], mask: int, given_away: float, rate: int
) -> None:
    coins = [coin(number, amount) for number, amount in enumerate(amounts)]
    some = [each.amount for place, each in enumerate(coins) if mask >> place & 1] or amounts[:1]
    fee = Bill([Payment(DOGE, SCRIPT)], rate).fee(len(some), change=False)
    most = min(fee_for(CHANGE_BYTES + INPUT_BYTES, rate), CHANGE_MIN)
    payment = Payment(sum(some) - fee - int(given_away * most), SCRIPT)
    chosen = select(coins, [payment], rate, fee_max=1_000 * DOGE)
    assert chosen.change == 0


@given(coins=COINS, payments=PAYMENTS, rate=RATES)
def test_only_what_does_not_reach_is_called_missing(
    coins: list[Coin], payments: list[Payment], rate: int
) -> None:
    bill = Bill(payments, rate)
    usable = by_size(coins, rate)
    reaches = bill.settle(len(usable), sum(each.amount for each in usable)) is not None
    try:
        select(coins, payments, rate, fee_max=10**18)
    except NotEnough as short:
        assert not reaches
        # One coin more of so much, at the price of its input, would have done.
        more = coin(99, short.missing + fee_for(INPUT_BYTES + 2, rate) + 1)
        select([*coins, more], payments, rate, fee_max=10**18)
    else:
        assert reaches


def test_an_exact_coin_is_taken_before_a_larger_one() -> None:
    payment = Payment(5 * DOGE, SCRIPT)
    exact = 5 * DOGE + Bill([payment], RATE).fee(1, change=False)
    coins = [coin(1, 900 * DOGE), coin(2, exact), coin(3, 6 * DOGE)]
    chosen = select(coins, [payment], RATE, fee_max=FEE_MAX)
    assert chosen.coins == (coins[1],)
    assert (chosen.fee, chosen.change) == (192_000, 0)


@pytest.mark.parametrize(
    ("rate", "most"),
    # What change costs now and later; at a high rate, what is not yet change that is made.
    [(RATE, 34_000 + 148_000), (10 * RATE, 340_000 + CHANGE_MIN - 1)],
)
def test_as_much_is_given_away_as_change_would_cost_and_not_a_koinu_more(
    rate: int, most: int
) -> None:
    payment = Payment(5 * DOGE, SCRIPT)
    exact = 5 * DOGE + Bill([payment], rate).fee(1, change=False)
    large, fits, over = coin(1, 900 * DOGE), coin(2, exact + most), coin(3, exact + most + 1)
    assert select([large, fits], [payment], rate, fee_max=FEE_MAX).coins == (fits,)
    assert select([large, over], [payment], rate, fee_max=FEE_MAX).coins == (large,)


def test_the_largest_coins_come_first_where_change_cannot_be_helped() -> None:
    coins = [coin(number, (number + 1) * DOGE) for number in range(6)]
    chosen = select(coins, [Payment(8 * DOGE + DOGE // 2, SCRIPT)], RATE, fee_max=FEE_MAX)
    assert [each.amount for each in chosen.coins] == [6 * DOGE, 5 * DOGE]
    assert chosen.fee == fee_for(10 + 2 * 148 + 2 * 34, RATE)
    assert chosen.change == 2 * DOGE + DOGE // 2 - chosen.fee


@pytest.mark.parametrize(("over", "change"), [(CHANGE_MIN - 1, 0), (CHANGE_MIN, CHANGE_MIN)])
def test_change_under_a_hundredth_goes_to_the_fee(over: int, change: int) -> None:
    payment = Payment(3 * DOGE, SCRIPT)
    fee = Bill([payment], RATE).fee(1, change=True)
    chosen = select([coin(1, 3 * DOGE + fee + over)], [payment], RATE, fee_max=FEE_MAX)
    assert chosen.change == change
    assert chosen.fee == fee + over - change


@pytest.mark.parametrize(
    ("change", "paid", "ready", "parts"),
    [
        # In DOGE: what comes back, what was paid, and other coins that could each pay it again.
        (0, 10, 0, 1),
        (199, 10, 0, 1),
        (200, 10, 0, 2),
        (399, 10, 0, 3),
        (400, 10, 0, 4),
        (1_000_000, 10, 0, 4),
        (1_000_000, 10, 1, 3),
        (1_000_000, 10, 3, 1),
        (1_000_000, 10, 40, 1),
        (1_000_000, 600_000, 0, 1),
        (1_000_000, 500_000, 0, 2),
        (1_000_000, 250_000, 2, 2),
    ],
)
def test_change_comes_back_in_as_many_coins_as_are_lacking(
    change: int, paid: int, ready: int, parts: int
) -> None:
    assert parts_of(change * DOGE, paid * DOGE, ready) == parts


def test_large_change_of_the_only_coin_comes_back_in_parts_that_are_paid_for() -> None:
    chosen = select([coin(1, 10_000 * DOGE)], [Payment(10 * DOGE, SCRIPT)], RATE, fee_max=FEE_MAX)
    assert chosen.parts == 4
    assert chosen.fee == fee_for(10 + 148 + 5 * 34, RATE)
    assert sum(chosen.changes) == 9_990 * DOGE - chosen.fee
    assert max(chosen.changes) - min(chosen.changes) < 4


def test_change_is_not_parted_where_other_coins_are_at_hand() -> None:
    coins = [coin(1, 10_000 * DOGE), *(coin(number, 200 * DOGE) for number in range(2, 5))]
    chosen = select(coins, [Payment(150 * DOGE, SCRIPT)], RATE, fee_max=FEE_MAX)
    assert len(chosen.changes) == 1
    fewer = select(coins[:2], [Payment(150 * DOGE, SCRIPT)], RATE, fee_max=FEE_MAX)
    assert len(fewer.changes) == 3


@pytest.mark.parametrize(
    ("paid", "other"),
    [
        (150 * DOGE, coin(2, 149 * DOGE)),
        (10 * DOGE, coin(2, 99 * DOGE)),
    ],
    ids=["of_less_than_is_paid", "of_less_than_a_part"],
)
def test_a_coin_is_not_at_hand(paid: int, other: Coin) -> None:
    chosen = select([coin(1, 9_000 * DOGE), other], [Payment(paid, SCRIPT)], RATE, fee_max=FEE_MAX)
    assert [each.amount for each in chosen.coins] == [9_000 * DOGE]
    assert len(chosen.changes) == 4


def test_parts_never_pass_the_cap_on_the_fee() -> None:
    one = fee_for(10 + 148 + 2 * 34, RATE)
    coins = [coin(1, 10_000 * DOGE)]
    chosen = select(coins, [Payment(10 * DOGE, SCRIPT)], RATE, fee_max=one)
    assert (chosen.fee, len(chosen.changes)) == (one, 1)


def test_each_payment_under_a_hundredth_costs_a_hundredth_more() -> None:
    payments = [Payment(DUST_SOFT - 1, SCRIPT), Payment(DUST_SOFT, SCRIPT)]
    chosen = select([coin(1, DOGE)], payments, RATE, fee_max=FEE_MAX)
    assert chosen.fee == fee_for(10 + 148 + 3 * 34, RATE) + DUST_SOFT


def test_coins_that_cost_more_than_they_are_worth_are_left() -> None:
    dust = [coin(number, 148_000) for number in range(1, 9)]
    chosen = select([*dust, coin(20, 2 * DOGE)], [Payment(DOGE, SCRIPT)], RATE, fee_max=FEE_MAX)
    assert [each.amount for each in chosen.coins] == [2 * DOGE]
    with pytest.raises(NotEnough):
        select(dust, [Payment(DUST_SOFT, SCRIPT)], RATE, fee_max=FEE_MAX)


def test_what_is_missing_is_told_in_koinu() -> None:
    with pytest.raises(NotEnough, match=r"at least 3\.00192000 DOGE are missing") as raised:
        select([coin(1, 2 * DOGE)], [Payment(5 * DOGE, SCRIPT)], RATE, fee_max=FEE_MAX)
    assert raised.value.missing == 3 * DOGE + 192_000
    with pytest.raises(NotEnough) as raised:
        select([], [Payment(5 * DOGE, SCRIPT)], RATE, fee_max=FEE_MAX)
    assert raised.value.missing == 5 * DOGE + 192_000


def test_a_transaction_stays_under_a_hundred_kilobytes() -> None:
    coins = [coin(number, DOGE) for number in range(700)]
    chosen = select(coins, [Payment(600 * DOGE, SCRIPT)], RATE, fee_max=FEE_MAX)
    assert 600 < len(chosen.coins) <= 675
    with pytest.raises(TooLarge, match="join small coins first"):
        select(coins, [Payment(680 * DOGE, SCRIPT)], RATE, fee_max=FEE_MAX)
    with pytest.raises(TooLarge):
        select(coins, [Payment(DUST_SOFT, SCRIPT)] * 2_950, RATE, fee_max=FEE_MAX)
    with pytest.raises(NotEnough):
        select(coins, [Payment(800 * DOGE, SCRIPT)], RATE, fee_max=FEE_MAX)


def test_a_set_without_change_that_is_too_large_is_not_taken() -> None:
    coins = [coin(number, DOGE) for number in range(700)]
    fee = Bill([Payment(DOGE, SCRIPT)], RATE).fee(680, change=False)
    with pytest.raises(TooLarge):
        select(coins, [Payment(680 * DOGE - fee, SCRIPT)], RATE, fee_max=FEE_MAX)


def test_the_last_size_that_is_relayed_is_a_byte_under_a_hundred_kilobytes() -> None:
    # 10 bytes with the count of inputs, 148 for one, 2 more for the count of so many outputs.
    payments = [Payment(DOGE, p2sh_script(bytes(20)))] * 3_120
    assert Bill(payments, RATE).size(1, change=False) == SIZE_END
    fee = Bill(payments[1:], RATE).fee(1, change=False)
    exact = coin(1, 3_119 * DOGE + fee)
    assert select([exact], payments[1:], RATE, fee_max=FEE_MAX).coins == (exact,)
    with pytest.raises(TooLarge):
        select([coin(1, 4_000 * DOGE)], payments, RATE, fee_max=FEE_MAX)


def test_a_fee_over_the_cap_is_refused() -> None:
    coins = [coin(number, DOGE) for number in range(600)]
    with pytest.raises(FeeTooHigh, match="pay fewer at once"):
        select(coins, [Payment(400 * DOGE, SCRIPT)], 20 * RATE, fee_max=FEE_MAX)


def test_a_dear_set_without_change_gives_way_to_a_cheap_one_with_it() -> None:
    payment = Payment(100 * DOGE, SCRIPT)
    many = [coin(number, DOGE) for number in range(120)]
    chosen = select([*many, coin(200, 99 * DOGE)], [payment], RATE, fee_max=DOGE // 50)
    assert len(chosen.coins) < 10


def test_the_search_ends_where_no_set_fits() -> None:
    draw = random.Random(7)
    coins = [coin(number, draw.randrange(DOGE, 50 * DOGE) * 2) for number in range(2_000)]
    chosen = select(coins, [Payment(30_001 * DOGE + 1, SCRIPT)], RATE, fee_max=FEE_MAX)
    assert len(chosen.coins) <= 675


@pytest.mark.parametrize(
    ("estimate", "rate"),
    [
        (None, 1_000_000),
        (-100_000_000, 1_000_000),
        (0, 1_000_000),
        (999_999, 1_000_000),
        (5_000_000, 5_000_000),
        (200_000_000, 100_000_000),
    ],
)
def test_the_nodes_estimate_is_held_between_floor_and_ceiling(
    estimate: int | None, rate: int
) -> None:
    assert FeePolicy().rate_for(estimate) == rate


def test_a_policy_is_read_from_amounts_of_doge() -> None:
    policy = FeePolicy.of(rate="0.01", rate_max="1.00000000", fee_max="10")
    assert policy == FeePolicy()


@pytest.mark.parametrize(
    ("rate", "rate_max", "fee_max"),
    [("0.00099999", "1", "10"), ("2", "1", "10"), ("0.01", "1", "0.00999999")],
)
def test_settings_that_contradict_each_other_are_told(
    rate: str, rate_max: str, fee_max: str
) -> None:
    with pytest.raises(FeesImpossible, match="DOGE"):
        FeePolicy.of(rate=rate, rate_max=rate_max, fee_max=fee_max)


def test_settings_at_their_limits_are_taken() -> None:
    assert FeePolicy.of(rate="0.001", rate_max="0.001", fee_max="0.001").rate == RATE_RELAYED
