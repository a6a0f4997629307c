"""Who may do what on the broker, as it follows from the table of topics."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner

from api.cli import group
from schemas.access import (
    OUTCOMES_GROUP,
    AccessError,
    Grant,
    Kind,
    Operation,
    grants,
    script,
)
from schemas.settings import Settings
from schemas.topics import (
    ALERTS,
    COMMAND_TOPIC_NAMES,
    DEAD_LETTERS,
    EVENTS,
    VIEWS_STATE,
    CommandTopic,
    Party,
)

DEFAULT: Final = Settings()
TREASURY: Final = COMMAND_TOPIC_NAMES[CommandTopic.TREASURY]


def may(principal: str, settings: Settings = DEFAULT) -> set[tuple[str, str, str]]:
    """What a principal may do."""
    return {
        (str(grant.operation), str(grant.kind), grant.name)
        for grant in grants(settings)
        if grant.principal == principal
    }


def test_only_the_treasurys_own_parties_write_its_topic() -> None:
    writers = {
        grant.principal
        for grant in grants(Settings())
        if (grant.operation, grant.name) == (Operation.WRITE, TREASURY)
    }
    assert writers == {"wallet-watcher", "wallet-payer", "wallet-operators"}


def test_a_service_may_do_one_thing() -> None:
    assert may("wallet-services") == {("Write", "topic", "wallet.commands")}


def test_a_service_that_waits_for_outcomes_reads_what_tells_them_and_writes_nothing_more() -> None:
    assert may("wallet-outcomes") == {
        ("Read", "topic", EVENTS),
        ("Read", "topic", DEAD_LETTERS),
        ("Describe", "group", OUTCOMES_GROUP),
    }


def test_the_bridge_reads_events_and_writes_its_dead_letters() -> None:
    assert may("wallet-bridge", Settings(topic_prefix="p.", bridge_group="b")) == {
        ("Read", "topic", "p.wallet.events"),
        ("Write", "topic", "p.wallet.events.dead-letter"),
        ("Read", "group", "p.b"),
    }


def test_the_views_write_alerts_and_what_they_keep_and_see_how_far_others_are() -> None:
    rights = may("wallet-views")
    assert {name for operation, _, name in rights if operation == "Write"} == {
        ALERTS,
        VIEWS_STATE.name,
    }
    assert {name for operation, kind, name in rights if (operation, kind) == ("Read", "group")} == {
        DEFAULT.views_group
    }
    assert {("Describe", "group", name) for name in (DEFAULT.group, DEFAULT.bridge_group)} < rights


def test_the_worker_writes_no_command() -> None:
    written = {name for operation, _, name in may("wallet-worker") if operation == "Write"}
    assert written.isdisjoint(COMMAND_TOPIC_NAMES.values())


def test_each_named_principal_gets_what_its_party_may() -> None:
    named = {Party.SERVICES: ["auctions", "orders"], Party.CONSUMERS: ["mails"]}
    found = grants(Settings(), named)
    commands = COMMAND_TOPIC_NAMES[CommandTopic.SERVICES]
    for service in ("auctions", "orders"):
        assert Grant(service, Operation.WRITE, Kind.TOPIC, commands) in found
    assert Grant("mails", Operation.READ, Kind.TOPIC, EVENTS) in found
    assert Grant("mails", Operation.READ, Kind.GROUP, "mails", prefixed=True) in found
    assert not [grant for grant in found if grant.principal == "wallet-services"]


def test_no_principal_is_two_parties_but_a_service_that_consumes() -> None:
    parties_of_a_service = (Party.SERVICES, Party.CONSUMERS, Party.OUTCOMES)
    grants(Settings(), {party: ["shop"] for party in parties_of_a_service})
    with pytest.raises(AccessError, match="both services and payer"):
        grants(Settings(), {Party.SERVICES: ["shop"], Party.PAYER: ["shop"]})


@pytest.mark.parametrize("name", ["wallet", "wallet-w", "wallet-work", "wallet-view"])
def test_no_consumers_name_reaches_our_groups(name: str) -> None:
    with pytest.raises(AccessError, match="could move the offsets"):
        grants(Settings(), {Party.CONSUMERS: [name]})


def test_the_script_is_one_that_a_shell_runs(tmp_path: Path) -> None:
    shell = shutil.which("sh")
    assert shell is not None
    tool = tmp_path / "kafka-acls.sh"
    tool.write_text('#!/bin/sh\necho "$@"\n')
    tool.chmod(0o755)
    named = {Party.SERVICES: ["CN=the shop's, O=us"]}
    wanted = grants(Settings(), named)
    done = subprocess.run(
        [shell, "-s"],
        input=script(wanted),
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": str(tmp_path), "BOOTSTRAP": "b:1", "ADMIN": "admin"},
    )
    lines = done.stdout.splitlines()
    assert len(lines) == len(wanted)
    assert lines[0] == (
        "--bootstrap-server b:1 --command-config admin --add --allow-principal"
        " User:CN=the shop's, O=us --operation Write --topic wallet.commands"
    )


def test_the_command_prints_it_and_refuses_what_is_no_party() -> None:
    shown = CliRunner().invoke(group, ["topics", "acls", "--principal", "services=User:shop"])
    assert shown.exit_code == 0
    assert "'User:shop'" not in shown.output
    assert "--allow-principal User:shop --operation Write" in shown.output
    wrong = CliRunner().invoke(group, ["topics", "acls", "--principal", "shops=shop"])
    assert wrong.exit_code == 2
    shared = CliRunner().invoke(group, ["topics", "acls", "--principal", "consumers=wallet"])
    assert shared.exit_code == 1
