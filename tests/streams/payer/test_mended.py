"""What the payer looks at once more before it pays, and the ways on where it must not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from db.treasury.claims import owed_in_claims
from db.treasury.payouts import read_tip
from processors.dogecoin.derivation import CHANGE_CHAIN
from processors.dogecoin.fees import DUST_HARD
from processors.dogecoin.keyring import Keyring
from processors.seed import first_rules
from schemas.amounts import Share
from schemas.commands import ConfirmationTier, FailWithdrawal, SetRules
from schemas.envelope import encode_data
from schemas.ledger import HOUSE
from schemas.rejections import Malformed
from schemas.settings import Settings, SettingsError
from streams.node.answers import Answer, Verdict
from streams.node.client import NodeAway
from streams.node.shapes import BlockShape
from streams.operator import rules as wording
from streams.payer import process
from streams.payer.claiming import claim
from streams.payer.housework import NotOrdered, abandon
from streams.payer.judging import Depths, Spend, Threatened, Try, Waiting, judge
from streams.payer.office import SILENT_MAX_SECONDS, blindness
from streams.payer.reserving import reserve_coins
from streams.payer.sealing import seal
from streams.payer.settling import settle
from tests.conftest import Database
from tests.streams.payer.world import NETWORK, XPUB, World, world_on
from tests.support.books import BOB, doge


@pytest.fixture
def world(database: Database) -> Iterator[World]:
    """A world in which two users have 1,000 DOGE each."""
    with world_on(database) as made:
        made.deposit(1000)
        made.deposit(1000, BOB)
        yield made


def _reserved(world: World) -> None:
    office = world.payer.office
    claim(office)
    world.deliver()
    settle(office)
    reserve_coins(office)


def _fail(world: World, withdrawal: str) -> None:
    world.till.do(FailWithdrawal(withdrawal_id=withdrawal, reason="by hand"))


def _payouts(world: World) -> list[tuple[str]]:
    return world.till.rows("SELECT status::text FROM payouts ORDER BY id")


def test_a_withdrawal_that_failed_after_its_coins_were_reserved_is_not_signed(
    world: World,
) -> None:
    failed, other = world.request(10), world.request(20, BOB)
    _reserved(world)
    _fail(world, failed)
    assert seal(world.payer.office) == 0
    assert _payouts(world) == [("failed",)]
    world.work(3)
    assert world.withdrawal(other)[0] == "BROADCAST"
    assert world.till.rows("SELECT payout_id IS NULL FROM claims ORDER BY amount") == [
        (True,),
        (False,),
    ]


def test_what_an_operator_failed_is_not_set_aside_for(world: World) -> None:
    withdrawal = world.request(10)
    claim(world.payer.office)
    world.deliver()
    settle(world.payer.office)
    with world.paying.cursor() as cursor:
        assert owed_in_claims(cursor) == doge(10)
        _fail(world, withdrawal)
        assert owed_in_claims(cursor) == 0


def test_many_that_are_too_large_hold_up_no_small_one_that_came_later(world: World) -> None:
    world.deposit(3000)
    world.deposit(3000, BOB)
    world.hurry(withdrawals_max=2)
    with world.owning() as connection:
        # Coins that the books count on, and that are in cold storage.
        connection.execute("DELETE FROM coins WHERE amount > %s", (doge(500),))
    for _ in range(3):
        world.request(900)
    world.deposit(60, BOB)
    small = world.request(50, BOB)
    world.work(3)
    assert world.withdrawal(small)[0] == "BROADCAST"


def test_a_template_that_must_not_be_signed_is_given_up_by_an_operator_and_paid_anew(
    world: World,
) -> None:
    withdrawal = world.request(10)
    _reserved(world)
    world.paying.execute(
        "UPDATE payout_versions SET template ="
        " replace(template::text, '\"amount\":1000000000', '\"amount\":1000000001')::json"
    )
    assert seal(world.payer.office) == 0
    assert "not-signed" in world.bells.kinds
    abandon(world.payer.office, 1)
    world.work(3)
    assert world.withdrawal(withdrawal)[0] == "BROADCAST"
    with pytest.raises(NotOrdered, match="is signed"):
        abandon(world.payer.office, 2)


def test_a_later_version_that_must_not_be_signed_holds_up_no_other(world: World) -> None:
    withdrawal = world.request(10)
    world.work(3)
    world.paying.execute(
        "INSERT INTO payout_versions (payout_id, version, template, fee, created_at)"
        " SELECT payout_id, 2, replace(template::text, '\"fee\":', '\"fee\":1')::json, fee,"
        " now() - interval '2 hours' FROM payout_versions"
    )
    world.work(2)
    signed = "SELECT version FROM payout_versions WHERE raw IS NOT NULL ORDER BY version"
    assert world.till.rows(signed) == [(1,), (3,)]
    world.settle_all()
    assert world.withdrawal(withdrawal)[0] == "CONFIRMED"


def test_a_conflict_with_an_older_version_alone_is_no_threat_to_the_newest() -> None:
    coin, other, living = ("a" * 64, 0), ("b" * 64, 0), ("c" * 64, 0)
    tries = [
        Try(1, frozenset({coin, living}), "1" * 64, b"1"),
        Try(2, frozenset({other, living}), "2" * 64, b"2"),
    ]
    theft = Spend(coin, "f" * 64, b"f", 10)
    deep = Depths(tip=500, paid=6, conflict=60)
    assert judge(tries, [theft], (), (), deep) == Waiting()
    assert isinstance(judge(tries[:1], [theft], (), (), Depths(12, 6, 60)), Threatened)
    assert isinstance(
        judge(tries, [theft._replace(outpoint=other)], (), (), Depths(12, 6, 60)), Threatened
    )


def test_coins_are_not_chosen_by_a_watcher_that_has_long_been_silent(world: World) -> None:
    assert world.payer.blindness() is None
    with world.owning() as connection:
        connection.execute(
            "UPDATE chain_state SET updated_at = now() - make_interval(secs => %s)",
            (SILENT_MAX_SECONDS + 60,),
        )
    assert "no answer of its node" in str(world.payer.blindness())
    world.request(10)
    world.work(3)
    assert _payouts(world) == []
    with world.paying.cursor() as cursor:
        tip = read_tip(cursor)
    assert tip is not None
    assert blindness(tip._replace(silent_seconds=10)) is None


#: As a log may hold it from before they were refused.
_TOO_LOW = SetRules(
    escrow_fee_basis_points=0,
    withdrawal_fee=Share(0),
    withdrawal_minimum=doge(0.0005),
    withdrawal_maximum=doge(1000),
    deposit_minimum=Share(0),
    confirmations=(ConfirmationTier(exposure=Share(0), confirmations=2),),
)


def test_rules_that_no_node_would_relay_are_refused_at_the_operators_door() -> None:
    with pytest.raises(Malformed, match=r"0\.00050000 DOGE is under 0\.00100000"):
        wording.require_payable(_TOO_LOW)
    with pytest.raises(Malformed, match="no node relays"):
        wording.from_document(encode_data(_TOO_LOW))
    keyring = Keyring(XPUB, NETWORK)
    with pytest.raises(SettingsError, match="WITHDRAWAL_MINIMUM"):
        first_rules(Settings(rules_withdrawal_minimum="0.0009"), keyring)
    least = first_rules(Settings(rules_withdrawal_minimum="0.001"), keyring)
    assert least.withdrawal_minimum == DUST_HARD


def test_the_ledger_decides_such_rules_as_ever_and_what_they_let_in_is_told_and_not_claimed(
    world: World,
) -> None:
    world.till.do(_TOO_LOW, HOUSE)
    withdrawal = world.request(0.0005)
    world.work(3)
    assert world.withdrawal(withdrawal)[0] == "PENDING"
    assert [(kind, subject) for kind, subject, _ in world.bells.rung] == [("cannot-pay", "dust")]
    assert world.cancel(withdrawal) == "accepted"


def test_the_alarm_for_missing_coins_names_an_address_that_is_watched_and_no_users(
    world: World,
) -> None:
    with world.owning() as connection:
        # Coins that the books count on, and that are in cold storage.
        connection.execute("DELETE FROM coins")
    for _ in range(2):
        world.request(10)
        world.work(2)
    ((kind, _, detail),) = world.bells.rung
    address = world.keyring.first.address(CHANGE_CHAIN, 0)
    assert kind == "out-of-coins"
    assert address in detail
    watched = "SELECT chain, derivation_index FROM watched_scripts WHERE address = %s"
    assert world.till.rows(watched, address) == [(1, 0)]
    assert world.payer.office.refill_address() == address


def test_a_call_that_waits_for_its_node_is_told_while_it_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "_HANGS_SECONDS", 0.0)
    told: list[str | None] = []

    class Slow:
        """Looks at what is told while it is asked."""

        def send(self, raw: bytes) -> Answer:
            told.append(timed.hangs())
            return Answer(Verdict.UNKNOWN, None, "timed out")

        def fee_rate(self, blocks: int) -> int | None:
            told.append(timed.hangs())
            raise NodeAway("gone")

        def block(self, block_hash: str) -> BlockShape:
            raise NodeAway("gone")

    timed = process.Timed(Slow())
    assert timed.hangs() is None
    timed.send(b"")
    with pytest.raises(NodeAway):
        timed.fee_rate(6)
    assert [str(each)[:33] for each in told] == ["node is away: it has not answered"] * 2
    assert timed.hangs() is None
