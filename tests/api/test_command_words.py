"""What the command line answers to what a newcomer types wrongly, or asks too early."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from confluent_kafka import KafkaError, KafkaException

from api.cli import group, main
from api.commands.arguments import counted
from api.commands.payer_desk import explained
from streams.kafka.complaints import Complaints
from streams.kafka.config import words_of
from streams.local import jars
from streams.local.errors import StackError
from streams.local.progress import Silent
from streams.payer.housework import NothingToDo


def said(*arguments: str) -> str:
    """What a command prints that must not get anywhere."""
    done = CliRunner().invoke(group, arguments)
    assert done.exit_code != 0, done.output
    return done.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("faucet", "mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn", "-5"),
        ("operator", "fund", "-12.5"),
        ("chain", "mine", "-3"),
    ],
)
def test_a_negative_number_is_told_as_one_and_not_as_an_unknown_option(
    arguments: tuple[str, ...],
) -> None:
    told = said(*arguments)
    assert "a negative number is given" in told
    assert "No such option" not in told


def test_an_option_that_there_is_not_is_still_told_as_such() -> None:
    assert "No such option: --deep" in said("chain", "reorg", "--deep")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("chain", "reorg", "99999"), "'99999' is no whole number from 1 to 10,000"),
        (("chain", "reorg", "--length", "99999"), "no whole number from 1 to 10,001"),
        (("chain", "mine", "many"), "'many' is no whole number from 1 to 10,000"),
        (("loadgen", "--duration", "0"), "'0' is no number above 0"),
    ],
)
def test_a_number_out_of_bounds_is_told_with_the_bounds(
    arguments: tuple[str, ...], words: str
) -> None:
    assert words in said(*arguments)


def test_a_users_id_in_capitals_is_told_to_be_written_in_lower_case() -> None:
    user = "3F0F6B1E-6A49-4B58-9A52-0C6A3F9F2C11"
    assert f"write it in lower case, {user.lower()}" in said("operator", "unfreeze", user)
    token = CliRunner().invoke(
        group, ["token", user], env={"WALLET_JWT_SECRET": "x" * 32, "WALLET_DATABASE_URL": "x"}
    )
    assert "write it in lower case" in token.stderr


def test_a_known_fault_begins_as_clicks_own_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: object) -> None:
        raise StackError("the disk is away")

    monkeypatch.setattr(group, "main", fail)
    with pytest.raises(SystemExit):
        main(["up"])
    assert capsys.readouterr().err == "Error: the disk is away\n"


@pytest.mark.parametrize(
    "arguments", [("rules",), ("doctor",), ("migrate",), ("operator", "house"), ("api",)]
)
def test_an_address_of_no_database_is_told_in_one_line(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("DATABASE", "WORKER_DATABASE", "API_DATABASE"):
        monkeypatch.setenv(f"WALLET_{name}_URL", "mysql://u:hush@h/db")
    if arguments == ("api",):
        monkeypatch.setenv("WALLET_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 1
    told = capsys.readouterr().err
    assert told.startswith("Error: A database address starts with postgresql://, not 'mysql'")
    assert told.count("\n") == 1


# ---------------------------------------------------------------------- the broker is away


COMPLAINT = (
    "FAIL [rdkafka#producer-1] [thrd:127.0.0.1:1/bootstrap]: 127.0.0.1:1/bootstrap: Connect "
    "failed: Connection refused"
)


def test_an_error_of_the_broker_is_told_in_words() -> None:
    away = KafkaException(KafkaError(KafkaError._TIMED_OUT, "Local: Timed out"))
    assert words_of(away, Complaints()) == "the broker does not answer: Local: Timed out"
    refused = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "you may not")
    assert words_of(refused) == "you may not (TOPIC_AUTHORIZATION_FAILED)"


def test_what_its_client_complained_of_stands_in_the_error() -> None:
    complaints = Complaints()
    complaints.handle(logging.makeLogRecord({"msg": COMPLAINT, "created": time.time()}))
    away = KafkaError(KafkaError._TRANSPORT, "Local: Broker transport failure")
    assert words_of(away, complaints) == (
        "the broker does not answer: 127.0.0.1:1/bootstrap: Connect failed: Connection refused"
    )


def test_what_a_client_complains_of_does_not_stand_on_a_commands_screen() -> None:
    complain = f"from streams.kafka import complaints; complaints.LIBRARY.error({COMPLAINT!r})"
    done = subprocess.run([sys.executable, "-c", complain], capture_output=True, check=True)
    assert done.stderr == b""


def test_a_bus_without_a_region_is_told_as_that(tmp_path: Path) -> None:
    nowhere = {"AWS_DEFAULT_REGION": None, "AWS_CONFIG_FILE": str(tmp_path / "none")}
    wallet = {"WALLET_AWS_REGION": None, "WALLET_HOME": str(tmp_path)}
    done = CliRunner().invoke(group, ["bridge", "tail"], env=nowhere | wallet)
    assert done.output.startswith("Error: the AWS region is not set: set WALLET_AWS_REGION")


def test_nothing_to_do_is_told_and_is_no_fault(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(click.exceptions.Exit) as ended, explained():
        raise NothingToDo("nothing to join")
    assert ended.value.exit_code == 0
    assert capsys.readouterr().out == "nothing to join\n"


@pytest.mark.parametrize(("count", "words"), [(1, "1 withdrawal"), (1200, "1,200 withdrawals")])
def test_one_is_not_counted_as_many(count: int, words: str) -> None:
    assert counted(count, "withdrawal") == words


def test_of_mavens_failure_its_first_error_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mvn").write_text(
        "#!/bin/sh\necho '[ERROR] Unknown host repo.example'\necho '[ERROR] -> [Help 1]'\nexit 1\n"
    )
    (tmp_path / "mvn").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(StackError) as refused:
        jars.fetch(Silent())
    assert str(refused.value).endswith("It said: Unknown host repo.example")


# ---------------------------------------------------------------------- help


def groups(command: click.Command, *path: str) -> Iterator[tuple[str, ...]]:
    """The path of each group below a command."""
    if isinstance(command, click.Group):
        yield path
        for name in command.list_commands(click.Context(command)):
            if (below := command.get_command(click.Context(command), name)) is not None:
                yield from groups(below, *path, name)


def test_no_groups_help_cuts_a_command_short() -> None:
    cut = [
        f"{' '.join(path)}: {line.strip()}"
        for path in groups(group)
        for line in CliRunner().invoke(group, [*path, "-h"], terminal_width=80).output.splitlines()
        if line.endswith("...") and not line.startswith("Usage:")
    ]
    assert ("operator", "deposit") in [*groups(group)]
    assert not cut
