"""Templates: what is paid in is paid out, and no two versions of a payment can both confirm."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.dogecoin.building import (
    DustPayment,
    NoCommonInput,
    Purpose,
    RateTooHigh,
    Template,
    TemplateOutput,
    build,
    bump,
    join,
    to_cold,
    unsigned,
    withdrawal,
)
from processors.dogecoin.checking import check
from processors.dogecoin.fees import CHANGE_MIN, RATE_INCREMENT, SIZE_END, FeePolicy
from processors.dogecoin.scripts import NotPayable
from processors.dogecoin.selection import CannotPay, Coin, FeeTooHigh, NotEnough, TooLarge
from processors.dogecoin.transactions import SEQUENCE_REPLACEABLE
from tests.processors.dogecoin.account import DOGE, FEE_MAX, change, coin, signer

RATE = 1_000_000
POLICY = FeePolicy()
PAYEE = "DAcDAtJRztxBHyA6D6h8du1HguyTR43Mas"

COINS = st.lists(st.integers(DOGE, 2_000 * DOGE), min_size=1, max_size=12).map(
    lambda amounts: [coin(number, amount) for number, amount in enumerate(amounts)]
)
PAYEES = st.lists(st.integers(100_000, 500 * DOGE), min_size=1, max_size=6).map(
    lambda amounts: [
        withdrawal(str(number), PAYEE, amount) for number, amount in enumerate(amounts)
    ]
)


def built(
    coins: list[Coin],
    payees: list[TemplateOutput],
    rate: int = RATE,
    policy: FeePolicy = POLICY,
) -> Template:
    """A template on mainnet with the first change address."""
    return build(coins, payees, change(), network="mainnet", rate=rate, policy=policy)


def assert_closed(template: Template) -> None:
    """It adds up, may be signed, and its change is worth having."""
    check(template, network="mainnet", fee_max=FEE_MAX)
    paid_in = sum(each.amount for each in template.inputs)
    assert paid_in == sum(each.amount for each in template.outputs) + template.fee
    assert template.size_max < SIZE_END
    if template.change is not None:
        assert template.change.amount >= CHANGE_MIN


@given(coins=COINS, payees=PAYEES, rate=st.integers(RATE, 100 * RATE))
def test_every_payee_is_paid_and_the_rest_is_change_or_fee(
    coins: list[Coin], payees: list[TemplateOutput], rate: int
) -> None:
    try:
        template = built(coins, payees, rate)
    except (NotEnough, FeeTooHigh):
        return
    assert_closed(template)
    assert template.payees == tuple(payees)
    assert 1000 * template.fee >= template.size_max * rate
    assert msgspec.json.decode(msgspec.json.encode(template), type=Template) == template
    assert all(each.sequence == SEQUENCE_REPLACEABLE for each in unsigned(template).inputs)


@given(coins=COINS, payees=PAYEES, data=st.data())
def test_each_version_pays_the_same_and_excludes_all_the_others(
    coins: list[Coin], payees: list[TemplateOutput], data: st.DataObject
) -> None:
    try:
        versions = [built(coins, payees)]
    except CannotPay:
        return
    extra = [coin(100 + number, 50 * DOGE) for number in range(4)]
    for _ in range(data.draw(st.integers(1, 6))):
        spent = sorted(versions[-1].outpoints)
        dead = set(data.draw(st.lists(st.sampled_from(spent), max_size=1)))
        rate = data.draw(st.integers(RATE, 100 * RATE))
        try:
            after = bump(versions, change(5), rate=rate, policy=POLICY, extra=extra, dead=dead)
        except CannotPay:
            break
        assert_closed(after)
        assert after.payees == tuple(payees)
        assert after.outpoints.isdisjoint(dead)
        assert after.outpoints >= versions[-1].outpoints - dead
        for before in versions:
            assert (after.outpoints & before.outpoints) - dead
            assert_replaces(before, after)
        versions.append(after)


def assert_replaces(before: Template, after: Template) -> None:
    """BIP 125's rules of fees, also if the earlier one's signatures came out short."""
    assert after.fee >= before.fee + after.size_max * RATE_INCREMENT // 1000
    shortest = before.size_max - 3 * len(before.inputs)
    assert after.fee * shortest > before.fee * after.size_max


def test_a_bump_takes_its_fee_from_change() -> None:
    first = built([coin(1, 20 * DOGE)], [withdrawal("w", PAYEE, 10 * DOGE)])
    second = bump([first], change(7), rate=5 * RATE, policy=POLICY)
    assert second.inputs == first.inputs
    assert second.fee == 5 * first.fee
    assert first.change is not None and second.change is not None
    assert second.change.amount == first.change.amount - 4 * first.fee
    assert second.change.address == first.change.address


def test_a_bump_without_change_takes_another_coin() -> None:
    first = built([coin(1, 10 * DOGE + 192_000)], [withdrawal("w", PAYEE, 10 * DOGE)])
    assert first.change is None
    # What it has spent already is no other coin.
    extra = [coin(1, 90 * DOGE), coin(3, 3 * DOGE), coin(4, 2 * DOGE)]
    with pytest.raises(NotEnough) as raised:
        bump([first], change(7), rate=RATE, policy=POLICY, extra=extra[:1])
    # Its 192 bytes at 1,100,000 koinu for 1,000 of them, less what was paid.
    assert raised.value.missing == 211_200 - 192_000
    second = bump([first], change(7), rate=RATE, policy=POLICY, extra=extra)
    assert [each.amount for each in second.inputs] == [10 * DOGE + 192_000, 3 * DOGE]
    assert second.change is not None
    assert second.change.derivation_index == 7
    signer().sign(second)


def test_a_bump_at_a_lower_rate_still_pays_more() -> None:
    first = built([coin(1, 20 * DOGE)], [withdrawal("w", PAYEE, 10 * DOGE)], 50 * RATE)
    assert_replaces(first, bump([first], change(), rate=RATE, policy=POLICY))


def test_change_that_becomes_too_small_goes_to_the_fee() -> None:
    payees = [withdrawal("w", PAYEE, 10 * DOGE)]
    first = built([coin(1, 10 * DOGE + 226_000 + CHANGE_MIN)], payees)
    assert first.change is not None and first.change.amount == CHANGE_MIN
    second = bump([first], change(), rate=2 * RATE, policy=POLICY)
    assert second.change is None
    assert second.fee == first.fee + CHANGE_MIN
    assert second.payees == tuple(payees)


def test_what_shares_no_living_input_with_a_version_is_not_built() -> None:
    payees = [withdrawal("w", PAYEE, 25 * DOGE)]
    first = built([coin(1, 20 * DOGE), coin(2, 10 * DOGE)], payees)
    with pytest.raises(NoCommonInput, match="both would pay"):
        bump([first], change(), rate=RATE, policy=POLICY, dead=first.outpoints)
    gone = first.inputs[0].outpoint
    extra = [coin(3, 90 * DOGE), coin(1, 20 * DOGE)]
    second = bump([first], change(), rate=RATE, policy=POLICY, extra=extra, dead={gone})
    assert second.outpoints == {first.inputs[1].outpoint, extra[0].outpoint}
    # The last coin in common dies: what would spend the third alone excludes only the second.
    with pytest.raises(NoCommonInput):
        bump(
            [first, second],
            change(),
            rate=RATE,
            policy=POLICY,
            extra=extra,
            dead={gone, first.inputs[1].outpoint},
        )


def test_small_coins_are_joined_into_one() -> None:
    coins = [coin(number, DOGE) for number in range(200)]
    template = join(coins, change(2), network="mainnet", rate=RATE, policy=POLICY)
    assert len(template.inputs) == 200
    assert [each.purpose for each in template.outputs] == [Purpose.CHANGE]
    assert_closed(template)
    assert_replaces(template, bump([template], change(), rate=2 * RATE, policy=POLICY))
    signer().sign(template)


def test_what_cannot_be_joined_is_told() -> None:
    with pytest.raises(NotEnough) as raised:
        join([coin(1, 200_000)], change(), network="mainnet", rate=RATE, policy=POLICY)
    assert raised.value.missing == CHANGE_MIN + 192_000 - 200_000
    least = coin(1, CHANGE_MIN + 192_000)
    joined = join([least], change(), network="mainnet", rate=RATE, policy=POLICY)
    assert (joined.fee, joined.returned) == (192_000, CHANGE_MIN)
    many = [coin(number, DOGE) for number in range(700)]
    with pytest.raises(TooLarge):
        join(many, change(), network="mainnet", rate=RATE, policy=POLICY)
    with pytest.raises(FeeTooHigh):
        join(many[:600], change(), network="mainnet", rate=20 * RATE, policy=POLICY)


def test_coins_go_to_cold_storage_with_change_to_us() -> None:
    template = built([coin(1, 900 * DOGE)], [to_cold(PAYEE, 500 * DOGE)])
    assert [each.purpose for each in template.outputs] == [Purpose.COLD, Purpose.CHANGE]
    assert_closed(template)


def test_a_rate_that_has_reached_its_ceiling_is_not_raised() -> None:
    policy = FeePolicy(rate_max=RATE)
    first = built([coin(1, 20 * DOGE)], [withdrawal("w", PAYEE, DOGE)], policy=policy)
    with pytest.raises(RateTooHigh):
        bump([first], change(), rate=RATE, policy=policy)


def test_a_fee_that_would_pass_the_cap_is_not_built() -> None:
    policy = FeePolicy(fee_max=2_000_000)
    first = built([coin(1, 20 * DOGE)], [withdrawal("w", PAYEE, DOGE)], policy=policy)
    with pytest.raises(FeeTooHigh):
        bump([first], change(), rate=50 * RATE, policy=policy)


def test_the_nodes_rate_is_cut_at_the_ceiling() -> None:
    dear = built([coin(1, 20 * DOGE)], [withdrawal("w", PAYEE, DOGE)], 10_000 * RATE)
    cut = built([coin(1, 20 * DOGE)], [withdrawal("w", PAYEE, DOGE)], POLICY.rate_max)
    assert dear == cut


def test_dust_and_foreign_addresses_are_not_paid() -> None:
    with pytest.raises(DustPayment, match="which no node relays"):
        built([coin(1, DOGE)], [withdrawal("w", PAYEE, 99_999)])
    with pytest.raises(NotPayable):
        built([coin(1, DOGE)], [withdrawal("w", "mkpZhYtJu2r87Js3pDiWJDmPte2NRZ8bJV", DOGE)])


def test_two_withdrawals_to_one_address_are_two_outputs() -> None:
    payees = [withdrawal("a", PAYEE, DOGE), withdrawal("b", PAYEE, DOGE)]
    template = built([coin(1, 20 * DOGE)], payees)
    assert [each.withdrawal_id for each in template.payees] == ["a", "b"]
