"""The operator's commands against a real broker, database and worker, through the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from confluent_kafka import TopicPartition

from api.cli import group
from db.engine import connect
from schemas.commands import AssignAddress, OpenWallet
from schemas.ids import Place, number_of, text_of
from schemas.ledger import HOUSE
from schemas.settings import Settings
from schemas.topics import EVENTS, CommandTopic, topic_name
from streams.alarms import Alarms
from streams.doctor import examine
from streams.kafka.admin import Admin
from streams.kafka.config import partition_of
from streams.kafka.produce import Producer
from tests.conftest import Databases
from tests.streams.doctor.looking import ONCHAIN
from tests.support.eventually import eventually
from tests.support.line import Line, settings_on
from tests.support.played import seed
from tests.support.running import environment_of, prepared, worker_on
from tests.support.story import ANN, BOB, CAT, KEYRING, txid

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def line(databases: Databases, kafka_server: str) -> Iterator[Line]:
    """A wallet at work, with two users who have addresses."""
    made = Line(prepared(settings_on(databases.fresh(), kafka_server, 4)))
    result = made.run("operator", "fund", "1", "--yes", "--key", "early", "--wait", "0")
    # Nobody decides it yet.
    assert result.exit_code == 3, result.output
    assert "--key early" in result.output
    for user in (ANN, BOB):
        made.story.do(user, OpenWallet())
        made.story.do(user, AssignAddress())
    with worker_on(made.settings):
        made.teller.tell(made.story.close())
        made.teller.settle()
        yield made
    made.teller.close()


def test_a_command_is_shown_asked_for_and_decided_once(line: Line) -> None:
    refused = line.run("operator", "fund", "250", text="n\n")
    assert refused.exit_code == 1
    assert '{"amount":"250.00000000"}' in refused.output
    first = line.answer("fund", "250", "--key", "capital-1")
    assert first["outcome"] == "accepted"
    assert first["document"]["result"]["amount"] == "250.00000000"
    again = line.answer("fund", "250", "--key", "capital-1")
    assert again["outcome"] == "replayed"
    other = line.answer("fund", "251", "--key", "capital-1", code=1)
    assert other["code"] == "key_reused"
    # What was sent before there was a worker was decided once one came.
    assert line.answer("fund", "1", "--key", "early")["outcome"] == "replayed"
    house = line.must("operator", "house")
    assert "251.00000000" in house


def test_custody_fees_and_revenue_are_booked(line: Line) -> None:
    line.answer("move-custody", "20", "--to", "cold")
    line.answer("move-custody", "5", "--to", "chain")
    line.answer("network-fee", txid(7), "0.02")
    assert line.answer("network-fee", txid(7), "0.02")["outcome"] == "replayed"
    line.answer("network-fee", txid(7), "0.02", "--reverse")
    line.answer("network-fee", txid(7), "0.02", "--ordinal", "2")
    wrong = line.answer("network-fee", txid(8), "0.02", "--ordinal", "5", code=1)
    assert wrong["code"] == "wrong_ordinal"
    output = line.must("operator", "withdraw-revenue", "1", "--yes", code=1)
    assert "0.00000000 DOGE of fees stand there" in output
    assert "15.00000000" in line.must("operator", "house")


def test_what_cannot_be_read_is_not_sent(line: Line) -> None:
    assert "bad_id" in line.must("operator", "network-fee", "x", "1", "--yes", code=1)
    assert "not an amount" in line.must("operator", "fund", "1.123456789", code=2)
    assert "canonical" in line.must("operator", "freeze", ANN.upper(), "--reason", "x", code=2)
    assert "unknown_field" in line.must(
        "operator", "send", "fund", "--data", '{"amount":"1","much":true}', "--yes", code=1
    )
    assert "needs a --user" in line.must("operator", "send", "claim_withdrawal", code=2)


def test_alerts_are_shown_by_kind_as_json_and_as_lines(line: Line) -> None:
    alarms = Alarms(line.settings, source="payer")
    alarms.sound("node-away", "the node", "it does not answer\x1b[2J")
    alarms.sound("coins-taken", "a coin", "somebody else has it")
    alarms.close()
    past = ("alerts", "tail", "--from-beginning", "--no-follow")
    told = [json.loads(each) for each in line.must(*past).splitlines()]
    assert [each["kind"] for each in told][-2:] == ["node-away", "coins-taken"]
    lines = line.must(*past, "--pretty", "--kind", "node-*").splitlines()
    assert lines[-1].endswith(" payer node-away the node: it does not answer\ufffd[2J")
    assert not any("coins-taken" in each for each in lines)


def test_nobody_is_frozen_by_a_letter_wrong(line: Line) -> None:
    nobody = f"{BOB[:-1]}{'0' if BOB[-1] != '0' else '1'}"
    refused = line.must("operator", "freeze", nobody, "--reason", "a look", "--yes", code=1)
    assert f"nobody has the id {nobody}" in refused


def test_a_wallet_is_frozen_and_released(line: Line) -> None:
    frozen = line.answer("freeze", BOB, "--reason", "a look")
    assert frozen["document"]["balance"]["frozen"] is True
    line.answer("unfreeze", BOB)
    assert line.answer("unfreeze", BOB, code=1)["code"] == "not_frozen"


def test_deposits_are_seen_credited_and_taken_back(line: Line) -> None:
    line.answer("deposit", "detect", ANN, "40", "--txid", txid(1), "--block", txid(99))
    credited = line.answer("deposit", "process", ANN, "40", "--txid", txid(1))
    assert credited["document"]["balance"]["available"] == "40.00000000"
    again = line.answer("deposit", "process", ANN, "40", "--txid", txid(1), code=1)
    # Its block was made up anew, so it is another request under the deposit's own key.
    assert again["code"] == "key_reused"
    line.answer("deposit", "reverse", ANN, txid(1))
    made_up = line.answer("deposit", "process", ANN, "7.5")
    assert made_up["document"]["balance"]["available"] == "7.50000000"
    assert "no deposit address" in line.must(
        "operator", "deposit", "process", CAT, "1", "--yes", code=1
    )


def test_no_deposit_is_made_up_on_mainnet(databases: Databases) -> None:
    database = databases.fresh()
    settings = Settings(database_url=database.owner_url, api_database_url=database.api_url)
    seed(settings)
    with connect(database.superuser_url, application_name="test") as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            'UPDATE rules SET data = (data::jsonb || \'{"network": "mainnet"}\')::json'
        )
    for arguments in (("--address", "D"), ("--txid", txid(1), "--block", txid(2))):
        result = CliRunner().invoke(
            group,
            ["operator", "deposit", "process", ANN, "1", "--yes", *arguments],
            env=environment_of(settings),
        )
        assert result.exit_code == 1
        assert "--on-chain" in result.output
    databases.drop(database.name)


def test_rules_are_changed_after_their_difference_was_shown(line: Line, tmp_path: Path) -> None:
    assert "version 1" in line.must("rules")
    assert "nothing" not in line.must("operator", "set-rules", code=2)
    output = line.must("operator", "set-rules", "--withdrawal-fee", "1", "--yes", code=1)
    assert "version 1 of the rules says all of that" in output
    output = line.must(
        "operator", "set-rules", "--withdrawal-fee", "3", "--confirmations", "6,12@5000", "--yes"
    )
    difference = output.partition("set_rules for")[0]
    assert "withdrawal_fee" in difference
    assert "escrow_fee" not in difference
    assert '"version": 2' in output
    wrong = line.must("operator", "set-rules", "--withdrawal-fee", "much", "--yes", code=1)
    assert "amount_malformed" in wrong
    document = {
        "escrow_fee_basis_points": 100,
        "withdrawal_fee": "3",
        "withdrawal_minimum": "10",
        "withdrawal_maximum": "5",
        "deposit_minimum": "1",
        "confirmations": [{"exposure": "0", "confirmations": 6}],
    }
    file = tmp_path / "rules.json"
    file.write_text(json.dumps(document))
    assert line.answer("set-rules", "--file", str(file), code=1)["code"] == "rules_invalid"
    file.write_text(json.dumps({**document, "withdrawal_maximum": "500"}))
    line.answer("set-rules", "--file", str(file))
    history = line.must("rules", "--history")
    assert "version 3" in history
    assert "12@5000" in history
    told = [json.loads(text) for text in line.must("rules", "--history", "--json").splitlines()]
    assert [version["in_force"] for version in told] == ["yes", "no", "no"]
    assert json.loads(line.must("rules", "--version", "1", "--json"))["command_id"] is None
    assert "no version 9" in line.must("rules", "--version", "9", code=1)


def test_any_treasury_command_can_be_sent(line: Line) -> None:
    answer = line.answer(
        "send", "claim_withdrawal", "--user", ANN, "--data", f'{{"withdrawal_id":"{ANN}"}}', code=1
    )
    assert answer["code"] == "withdrawal_not_found"


def test_dead_letters_are_listed_shown_and_replayed(line: Line) -> None:
    producer = Producer(line.settings)
    name = topic_name(line.settings, CommandTopic.USERS)
    right = partition_of(BOB.encode(), 4)
    line.story.do(BOB, OpenWallet(), key="astray")
    (record,) = line.story.close()
    producer.send(name, BOB.encode(), record.value, partition=(right + 1) % 4)
    producer.send(name, BOB.encode(), b'{"type":"\x1b[2Jbad"}')
    producer.close()

    def listed(*arguments: str) -> list[dict[str, Any]]:
        lines = line.must("dead-letters", "list", "--json", *arguments).splitlines()
        return [json.loads(text) for text in lines]

    eventually(lambda: len(listed("--user", BOB)) == 2, "both are dead letters")
    (astray,) = listed("--code", "misplaced", "--topic", "users", "--since", "1h", "--waiting")
    (broken,) = listed("--code", "not_json")
    table = line.must("dead-letters", "list")
    assert "2 of 2 dead letters" in table
    shown = line.must("dead-letters", "show", broken["id"])
    assert "\x1b" not in shown
    assert "\\x1b[2Jbad" in shown
    assert "would be read" in line.must("dead-letters", "show", astray["id"])

    dry = line.must("dead-letters", "replay", "--all", "--dry-run", code=1)
    assert f"{astray['id']}: would be sent" in dry
    assert f"{broken['id']}: left, not_json" in dry
    done = line.must("dead-letters", "replay", astray["id"], "--yes")
    assert "accepted as" in done
    assert [letter["id"] for letter in listed("--replayed")] == [astray["id"]]
    again = line.must("dead-letters", "replay", astray["id"], "--yes", code=1)
    assert "replayed already" in again
    repeated = line.must("dead-letters", "replay", astray["id"], "--yes", "--again")
    assert "replayed as" in repeated
    assert "is not an id; `list` shows" in line.must("dead-letters", "show", "x" * 36, code=1)
    nobody = text_of(number_of(Place(CommandTopic.USERS, 1, 0, 999)))
    assert "no dead letter" in line.must("dead-letters", "show", nobody, code=1)


def test_events_are_followed_by_user_and_type(line: Line) -> None:
    everything = line.must("events", "tail", "--from-beginning", "--no-follow", "--json")
    events = [json.loads(text) for text in everything.splitlines()]
    assert {event["subject"] for event in events} >= {ANN, BOB, HOUSE}
    some = line.must(
        "events",
        "tail",
        "--since",
        "1h",
        "--user",
        ANN,
        "--type",
        "deposit.*",
        "--count",
        "2",
        "--json",
    )
    types = [json.loads(text)["type"] for text in some.splitlines()]
    assert types == ["deposit.detected", "deposit.confirmed"]
    pretty = line.must(
        "events", "tail", "--from-beginning", "--no-follow", "--pretty", "--type", "wallet.opened"
    )
    assert f"{ANN} #1 wallet.opened: user_id={ANN} created=True" in pretty
    assert "ends at once" in line.must("events", "tail", "--no-follow", code=2)


def test_lost_events_are_found_and_published_again_byte_for_byte(line: Line) -> None:
    assert "nothing is missing" in line.must("events", "repair")
    before = line.must("events", "tail", "--from-beginning", "--no-follow", "--json", "--user", ANN)
    lose(line.settings, partition_of(ANN.encode(), 4))
    found = line.must("events", "repair", code=1)
    assert f"missing on {topic_name(line.settings, EVENTS)}" in found
    assert ANN in found
    assert "published on" in line.must("events", "repair", "--publish", "--yes")
    after = line.must("events", "tail", "--from-beginning", "--no-follow", "--json", "--user", ANN)
    assert sorted(after.splitlines()) == sorted(before.splitlines())
    assert "nothing is missing" in line.must("events", "repair")


def lose(settings: Settings, number: int) -> None:
    """Let the broker forget all events of a partition."""
    admin = Admin(settings)
    topic = topic_name(settings, EVENTS)
    end = admin.ends(topic, [number])[number]
    (future,) = admin._admin.delete_records([TopicPartition(topic, number, end)]).values()
    future.result()


def test_the_doctor_tells_by_table_by_json_and_by_its_exit_code(line: Line) -> None:
    assert examine(line.settings) == []
    output = line.must("doctor", "--log")
    assert "nothing was found" in output
    # No chain is followed here, and no node is set: all else is looked at.
    left_out = {line.partition(":")[0] for line in output.splitlines() if "not checked" in line}
    assert left_out <= ONCHAIN | {"node"}
    with connect(line.settings.database_url, application_name="thief") as connection:
        connection.execute("UPDATE wallets SET pending = 5 WHERE user_id = %s", (ANN,))
    report = json.loads(line.must("doctor", "--json", code=1))
    wrong = {check["check"] for check in report["checks"] if check["wrong"]}
    assert wrong == {"balances", "holds"}
    with connect(line.settings.database_url, application_name="thief") as connection:
        connection.execute("UPDATE wallets SET pending = 0 WHERE user_id = %s", (ANN,))
    assert "nothing was found" in line.must("doctor", "--quick")


def test_a_wallet_of_another_release_is_refused_in_one_line(databases: Databases) -> None:
    bare = databases.fresh(migrated=False)
    settings = Settings(worker_database_url=bare.owner_url)
    for arguments in (["doctor"], ["rules"], ["operator", "house"], ["dead-letters", "list"]):
        result = CliRunner().invoke(group, arguments, env=environment_of(settings))
        assert result.exit_code == 1, (arguments, result.exception)
        assert "wallet migrate" in result.output
    databases.drop(bare.name)


def test_the_account_is_rotated_after_both_were_shown_and_back(line: Line) -> None:
    first, second = KEYRING
    refused = line.run("operator", "rotate-account", second.fingerprint, text="n\n")
    assert refused.exit_code == 1
    for keychain in (first, second):
        assert keychain.fingerprint in refused.output
        assert keychain.address(0, 0) in refused.output
    answer = line.answer("rotate-account", second.fingerprint)
    assert answer["document"]["result"]["first_address"] == second.address(0, 0)
    same = line.must("operator", "rotate-account", second.fingerprint, "--yes", code=1)
    assert "already" in same
    unknown = line.must("operator", "rotate-account", "0" * 16, "--yes", code=1)
    assert "WALLET_ACCOUNT_XPUB names" in unknown
    line.answer("rotate-account", first.fingerprint)
    data = json.dumps({"account_key": first.fingerprint})
    again = line.answer("send", "rotate_account", "--data", data, code=1)
    assert again["code"] == "account_in_force"
