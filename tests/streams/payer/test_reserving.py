"""Which withdrawals share a transaction, and that one which cannot be paid holds up nobody."""

from __future__ import annotations

import pytest

from streams.payer import reserving
from tests.conftest import Database
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
