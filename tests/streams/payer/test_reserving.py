"""Which withdrawals share a transaction, and that one which cannot be paid holds up nobody."""

from __future__ import annotations

import pytest

from processors.dogecoin.selection import COINS_READY
from streams.payer import reserving
from tests.conftest import Database
from tests.streams.doctor.looking import found_in, report_on
from tests.streams.payer.world import world_on


def test_one_that_needs_more_coins_than_a_transaction_holds_waits_alone(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reserving, "COINS_MAX", 5)
    with world_on(database) as world:
        for _ in range(8):
            world.deposit(20)
        large = world.request(110)
        small = world.request(15)
        world.work(6)
        world.mine(8)
        world.work(6)
        status = dict(world.till.rows("SELECT id::text, status::text FROM withdrawals"))
        assert status == {large: "PROCESSING", small: "CONFIRMED"}
        assert "cannot-pay" in world.bells.kinds


def test_after_a_large_coin_is_broken_the_next_payments_do_not_wait_for_one_another(
    database: Database,
) -> None:
    with world_on(database) as world:
        world.deposit(1000)
        world.request(20)
        world.work(3)
        world.mine()
        amounts = world.till.rows("SELECT amount FROM coins WHERE spent_height IS NULL")
        assert len(amounts) == COINS_READY
        for amount in (30, 40, 50, 60):
            world.request(amount)
            world.work(3)
        # No block came between them.
        assert len(world.node.pool.entries) == COINS_READY
        assert world.till.value("SELECT count(*) FROM payouts WHERE status = 'broadcast'") == 5
        world.settle_all()
        assert found_in(report_on(world.database)) == {}
        world.till.audit()
