"""A producer in Java and a consumer in Node agree with the wallet on partitions and schemas."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from confluent_kafka import Producer

from schemas.ids import Place
from schemas.topics import CommandTopic
from tests.clients import languages
from tests.clients.station import Station
from tests.clients.written import Written
from tests.docs.pages import ROOT
from tests.support.eventually import eventually
from tests.support.station import outcomes_of, partition_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]

USERS: Final = 40
RUN_SECONDS: Final = 60
NO_JAVA: Final = languages.missing("java", "javac", "mvn")
NO_NODE: Final = languages.missing("node", "npm")


def lines_of(argv: Sequence[str], folder: Path, given: str = "") -> list[dict[str, Any]]:
    """Run a program that prints a line of JSON for each thing it tells."""
    done = subprocess.run(
        argv,
        cwd=folder,
        input=given,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def users(station: Station) -> list[str]:
    """Users with money."""
    return station.users(USERS, "10")


@pytest.fixture(scope="module")
def told(station: Station, users: list[str]) -> list[dict[str, Any]]:
    """What the producer in Java says of its commands."""
    if NO_JAVA:
        pytest.skip(NO_JAVA)
    classpath = f"{languages.jars()}/*"
    argv = ["java", "-cp", classpath, "WalletProducer.java", station.broker]
    return lines_of([*argv, station.settings.topic_prefix], languages.JAVA, "\n".join(users) + "\n")


def test_the_worker_accepts_each_command_that_java_sends(
    station: Station, users: list[str], told: list[dict[str, Any]]
) -> None:
    assert [line["user_id"] for line in told] == users
    for line in told:
        assert line["partition"] == partition_for(station.settings, line["user_id"])
    assert len({line["partition"] for line in told}) == station.settings.partitions
    places = [Place(CommandTopic.SERVICES, 1, line["partition"], line["offset"]) for line in told]

    def decided() -> list[tuple[str, str | None]]:
        found = outcomes_of(station.settings, places)
        return [] if ("none", None) in found else found

    assert eventually(decided, "all are decided") == [("accepted", None)] * USERS


def abort_one(station: Station, user: str) -> None:
    """Put an event on the topic that no reader of committed records may see."""
    topic = f"{station.settings.topic_prefix}wallet.events"
    producer = Producer({"bootstrap.servers": station.broker, "transactional.id": topic})
    producer.init_transactions()
    producer.begin_transaction()
    producer.produce(topic, b"taken back", user.encode())
    producer.flush()
    producer.abort_transaction()


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """The example as it lies in the project, with its modules beside it."""
    if NO_NODE:
        pytest.skip(NO_NODE)
    folder = tmp_path / "examples/node-consumer"
    folder.mkdir(parents=True)
    shutil.copy(languages.NODE / "consumer.js", folder)
    (folder / "node_modules").symlink_to(languages.modules())
    (tmp_path / "schemas").symlink_to(ROOT / "schemas")
    return folder


@pytest.mark.usefixtures("told")
def test_node_reads_events_that_fit_their_schemas_each_once_and_in_order(
    station: Station, users: list[str], node: Path
) -> None:
    abort_one(station, users[0])
    # An address, a deposit and a bid of each.
    count = 3 * USERS
    argv = ["node", "consumer.js", station.broker, str(count), station.settings.topic_prefix]
    read = lines_of(argv, node)
    assert len({line["id"] for line in read}) == count
    types = ["address.assigned", "deposit.confirmed", "funds.locked"]
    for user in users:
        assert [line["type"] for line in read if line["subject"] == user] == types
        assert [line["sequence"] for line in read if line["subject"] == user] == [1, 2, 3]
    for line in read:
        assert line["partition"] == partition_for(station.settings, line["subject"])


def test_node_stops_at_an_event_that_is_not_as_its_schema_says(
    kafka_server: str, node: Path
) -> None:
    written = Written(kafka_server)
    written.write(str(uuid.uuid4()), [1], kind="funds.locked")
    with pytest.raises(AssertionError, match="must have required property"):
        lines_of(["node", "consumer.js", written.broker, "1", written.prefix], node)


def test_the_node_lock_has_digests_and_no_addresses_of_packages() -> None:
    packages = json.loads((languages.NODE / "package-lock.json").read_text())["packages"]
    for name, facts in packages.items():
        assert "resolved" not in facts
        assert not name or facts["integrity"].startswith("sha512-")


@pytest.mark.parametrize("folder", [languages.JAVA, languages.NODE])
def test_the_example_is_told_about(folder: Path) -> None:
    text = (folder / "README.md").read_text()
    for program in re.findall(r"(WalletProducer\.java|consumer\.js|pom\.xml)", text):
        assert (folder / program).is_file()
    assert "```sh" in text
