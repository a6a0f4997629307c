"""``wallet withdrawals`` tells the whole story of one, in the order of time."""

from __future__ import annotations

import msgspec
import pytest
from click.testing import CliRunner

from api.commands.operator import command as operator
from api.commands.withdrawals import command
from tests.conftest import Database
from tests.streams.payer.world import world_on
from tests.support.books import ANN


def test_the_story_of_a_withdrawal_is_told_in_order(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WALLET_API_DATABASE_URL", database.api_url)
    with world_on(database) as world:
        world.deposit(100)
        withdrawal = world.request(10)
        world.work(3)
        world.settle_all()
    shown = CliRunner().invoke(command, ["show", withdrawal, "--json"])
    assert shown.exit_code == 0, shown.output
    told = msgspec.json.decode(shown.output)
    times = [event["time"] for event in told["story"]]
    assert times == sorted(times)
    order = [event["text"] for event in told["story"]]
    first, last = (
        next(text for text in order if words in text) for words in ("the first time", "last answer")
    )
    assert order.index(first) < order.index(last)
    text = "\n".join(event["text"] for event in told["story"])
    for part in (
        "request_withdrawal: accepted",
        "claimed, attempt 1",
        "claim was accepted",
        "coins reserved in payout",
        "version 1 with a fee of",
        "version 1 signed as",
        "sent once, last answer accepted",
        "spent by",
        "confirm_withdrawal: accepted",
        "WITHDRAWAL pending debit 10.00000000",
        # The house's half of what was booked.
        "WITHDRAWAL chain credit 10.00000000",
    ):
        assert part in text, text
    plain = CliRunner().invoke(command, ["show", withdrawal])
    assert "status:               CONFIRMED" in plain.output
    listed = CliRunner().invoke(command, ["list", "--status", "confirmed"])
    assert withdrawal in listed.output
    assert CliRunner().invoke(command, ["show", "x"]).exit_code == 1


def test_a_withdrawal_that_signed_bytes_pay_is_not_made_to_fail_by_hand(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WALLET_API_DATABASE_URL", database.api_url)
    with world_on(database) as world:
        world.deposit(100)
        signed = world.request(10)
        world.work(3)
        waiting = world.request(10)
        ((txid,),) = world.till.rows("SELECT txid FROM payout_versions")

    def fail(withdrawal: str, *options: str) -> str:
        data = msgspec.json.encode({"withdrawal_id": withdrawal, "reason": "by hand"}).decode()
        arguments = ["send", "fail_withdrawal", "--user", ANN, "--data", data, "--yes", *options]
        result = CliRunner().invoke(operator, arguments)
        assert result.exit_code != 0
        return f"{result.output} {result.exception}"

    assert f"as transaction {txid}: they may be mined" in fail(signed)
    # Both of these would be sent, if there were a broker.
    assert "WALLET_KAFKA_BOOTSTRAP_SERVERS" in fail(signed, "--although-signed")
    assert "WALLET_KAFKA_BOOTSTRAP_SERVERS" in fail(waiting)
