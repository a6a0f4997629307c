"""The edges: TLS to broker, database and API, SCRAM users, and ACLs that hold.

One broker and one database of the file's own, as a deployment has them.
"""

from __future__ import annotations

import secrets
import ssl
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import aiohttp
import msgspec
import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from api.auth import INTERNAL, mint
from api.cli import group
from schemas.settings import Settings
from schemas.topics import COMMAND_TOPIC_NAMES, TOPICS, CommandTopic, Party, topic_name
from streams.kafka.config import KafkaUnavailable, client_config
from streams.local.process import free_port
from tests.crash.wallet import bare_environment
from tests.support.authority import Authority
from tests.support.event_bus import MoodyBus, serving
from tests.support.eventually import eventually
from tests.support.running import environment_of, prepared
from tests.support.secured import (
    Secured,
    refusal_of,
    secured_servers,
    sessions,
    told_of_writing,
    with_database,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

BASE: Final = "/api/v1/wallet"
TREASURY: Final = COMMAND_TOPIC_NAMES[CommandTopic.TREASURY]
USERS: Final = COMMAND_TOPIC_NAMES[CommandTopic.USERS]
CREDENTIALS: Final = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}
DENIED: Final = ("TOPIC_AUTHORIZATION_FAILED", "Topic authorization failed")


@pytest.fixture(scope="module")
def servers(servers_home: Path) -> Iterator[Secured]:
    """The broker and the database."""
    with secured_servers(servers_home / "edges") as made:
        yield made


@pytest.fixture(scope="module")
def wallet(servers: Secured) -> Settings:
    """A wallet on them: tables, rules, topics, and ACLs as `wallet topics acls --apply` makes."""
    prefix = f"t{secrets.token_hex(4)}."
    settings = msgspec.structs.replace(
        servers.superuser(),
        topic_prefix=prefix,
        group=f"{prefix}worker",
        partitions=2,
        jwt_secret="a secret of the tests, long enough for HS256",
    )
    settings = with_database(settings, servers, servers.database("edges"))
    whole = prepared(settings)
    done = run_command(whole, "topics", "acls", "--apply", "--check")
    assert done.exit_code == 0, done.output
    return whole


def run_command(settings: Settings, *arguments: str) -> Result:
    """A command of `wallet`, in this process."""
    environment: dict[str, str | None] = {**environment_of(settings)}
    return CliRunner(env=environment).invoke(group, arguments)


def as_party(wallet: Settings, servers: Secured, party: Party | str, **changes: str) -> Settings:
    """The wallet's settings for one party, by the broker's secured listener."""
    kafka = servers.kafka(f"wallet-{party}", **changes)
    return msgspec.structs.replace(wallet, kafka=kafka)


# ---------------------------------------------------------------------- who may write and read


@pytest.mark.parametrize("party", [*Party, "stranger"])
def test_each_party_writes_where_the_table_says_and_nowhere_else(
    wallet: Settings, servers: Secured, party: Party | str
) -> None:
    ours = as_party(wallet, servers, party)
    told = {topic.name: told_of_writing(ours, topic.name).error for topic in TOPICS}
    written = {name for name, error in told.items() if error is None}
    assert written == {topic.name for topic in TOPICS if party in topic.writers}
    for error in told.values():
        assert error is None or any(word in error for word in DENIED), error


def test_a_marketplace_service_cannot_create_money_and_nor_can_the_api(
    wallet: Settings, servers: Secured
) -> None:
    for party in (Party.SERVICES, Party.API):
        delivery = told_of_writing(as_party(wallet, servers, party), TREASURY)
        assert delivery.error is not None
        # Certain, not unknown: whoever is refused need not wonder whether it is there.
        assert not delivery.unknown


@pytest.mark.parametrize("party", [Party.BRIDGE, Party.SERVICES, Party.WORKER, Party.OPERATORS])
def test_each_party_reads_what_the_table_says_and_nothing_else(
    wallet: Settings, servers: Secured, party: Party
) -> None:
    ours = as_party(wallet, servers, party)
    read = {topic.name for topic in TOPICS if _is_readable(ours, topic.name)}
    assert read == {topic.name for topic in TOPICS if party in topic.readers}


def _is_readable(settings: Settings, topic: str) -> bool:
    consumer = Consumer(
        client_config(settings, **{"group.id": "wallet-view", "enable.partition.eof": True})
    )
    consumer.assign([TopicPartition(topic_name(settings, topic), 0, 0)])
    try:
        while True:
            message = consumer.poll(10.0)
            assert message is not None, topic
            error: KafkaError | None = message.error()
            if error is None or error.code() == KafkaError._PARTITION_EOF:
                return True
            if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                return False
            # Whoever has no right to the group is told so first; its topics are still asked for.
            assert error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED, error
    finally:
        consumer.close()


@pytest.mark.parametrize("party", [Party.BRIDGE, Party.CONSUMERS, Party.API])
def test_nobody_else_moves_the_workers_offsets(
    wallet: Settings, servers: Secured, party: Party
) -> None:
    ours = as_party(wallet, servers, party)
    consumer = Consumer(client_config(ours, **{"group.id": wallet.group}))
    place = TopicPartition(topic_name(wallet, USERS), 0, 1)
    with pytest.raises(KafkaException, match=r"GROUP_AUTHORIZATION_FAILED|Group authorization"):
        consumer.commit(offsets=[place], asynchronous=False)
    consumer.close()


def test_what_the_broker_allows_beyond_the_table_is_told(
    wallet: Settings, servers: Secured
) -> None:
    admin = AdminClient(dict(wallet.kafka))
    intruder = AclBinding(
        ResourceType.TOPIC,
        wallet.topic_prefix,
        ResourcePatternType.PREFIXED,
        "User:intruder",
        "*",
        AclOperation.WRITE,
        AclPermissionType.ALLOW,
    )
    for future in admin.create_acls([intruder]).values():
        future.result()
    try:
        found = run_command(wallet, "topics", "acls", "--check")
        assert found.exit_code == 1
        assert f"beyond:  User:intruder Write topic {wallet.topic_prefix}* from *" in found.output
    finally:
        for deleted in admin.delete_acls([_filter_of(intruder)]).values():
            deleted.result()
    renamed = run_command(wallet, "topics", "acls", "--check", "--principal", "payer=till")
    assert renamed.exit_code == 1
    assert f"missing: till Write topic {topic_name(wallet, TREASURY)}" in renamed.output


def _filter_of(binding: AclBinding) -> AclBindingFilter:
    return AclBindingFilter(
        binding.restype,
        binding.name,
        binding.resource_pattern_type,
        binding.principal,
        binding.host,
        binding.operation,
        binding.permission_type,
    )


# ---------------------------------------------------------------------- the whole way, encrypted


@contextmanager
def process(name: str, settings: Settings, log: Path) -> Iterator[str]:
    """A process of the wallet's; what it announces itself as."""
    with log.open("ab") as errors:
        running = subprocess.Popen(
            [sys.executable, "-m", "api.cli", name],
            env={**bare_environment(), **environment_of(settings), **CREDENTIALS},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    assert running.stdout is not None
    with running.stdout:
        try:
            said = running.stdout.readline()
            assert said, log.read_text()
            yield said.rpartition(" on ")[2].strip()
        finally:
            running.terminate()
            assert running.wait(20) == 0


async def test_a_command_goes_the_whole_way_by_tls_each_process_with_its_own_rights(
    wallet: Settings, servers: Secured, tmp_path: Path
) -> None:
    files = Authority(tmp_path, "of the api").server("api")
    api = msgspec.structs.replace(
        as_party(wallet, servers, Party.API),
        api_port=free_port(),
        api_tls_certificate=str(files.certificate),
        api_tls_key=str(files.key),
    )
    user = str(uuid.uuid4())
    bus = MoodyBus()
    with ExitStack() as stack:
        bridge = msgspec.structs.replace(
            as_party(wallet, servers, Party.BRIDGE),
            aws_endpoint_url=stack.enter_context(serving(bus)),
            aws_region="eu-central-1",
        )
        worker = as_party(wallet, servers, Party.WORKER)
        addresses = {
            name: stack.enter_context(process(name, settings, tmp_path / f"{name}.log"))
            for name, settings in (("worker", worker), ("bridge", bridge), ("api", api))
        }
        trusted = ssl.create_default_context(cafile=tmp_path / "of-the-api.crt")
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trusted), base_url=addresses["api"]
        ) as session:
            await _use(session, wallet, user)
        eventually(lambda: len(_kinds(bus, user)) >= 3, "the events are on the bus")
        _operate(as_party(wallet, servers, Party.OPERATORS), user)
        eventually(lambda: len(_kinds(bus, user)) >= 4, "the operators' too")
        encrypted = sessions(wallet.database_url)
    assert _kinds(bus, user) == [
        "wallet.opened",
        "address.assigned",
        "command.rejected",
        "wallet.frozen",
    ]
    assert encrypted.keys() >= {"wallet-api", "wallet-worker"}
    assert all(encrypted.values()), encrypted


async def _use(session: aiohttp.ClientSession, wallet: Settings, user: str) -> None:
    """What a user and a service do."""
    own = {"Authorization": f"Bearer {mint(wallet, user)}"}
    async with session.get(f"{BASE}/deposit-address", headers=own) as answer:
        assert answer.status == 200, await answer.text()
    service = {
        "Authorization": f"Bearer {mint(wallet, 'auctions', (INTERNAL,))}",
        "Idempotency-Key": "bid-1",
    }
    body = {"user_id": user, "amount": "1", "reference_type": "bid", "reference_id": "b"}
    async with session.post(f"{BASE}/internal/lock", headers=service, json=body) as answer:
        assert answer.status == 402, await answer.text()


def _operate(settings: Settings, user: str) -> None:
    """What operators do needs no more than their ACLs."""
    for words in (
        ("operator", "freeze", user, "--reason", "a closer look", "--yes"),
        ("topics",),
        ("doctor", "--log"),
        ("events", "tail", "--user", user, "--from-beginning", "--no-follow"),
        ("events", "repair", "--dry-run"),
        ("bridge", "dead-letters", "list"),
    ):
        done = run_command(settings, *words)
        assert done.exit_code == 0, (words, done.output, done.exception)


def _kinds(bus: MoodyBus, user: str) -> list[str]:
    return [event["type"] for event in bus.details() if event["subject"] == user]


# ---------------------------------------------------------------------- what is refused


def test_a_wrong_password_is_told_as_one(wallet: Settings, servers: Secured) -> None:
    wrong = as_party(wallet, servers, Party.OPERATORS, sasl_password="hush")
    done = run_command(wrong, "topics")
    assert isinstance(done.exception, KafkaUnavailable)
    assert "hush" not in f"{done.output} {done.exception}"


def test_a_broker_with_anothers_certificate_is_not_talked_to(
    wallet: Settings, servers: Secured, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "a stranger")
    ours = as_party(wallet, servers, Party.API, ssl_ca_location=str(stranger.file))
    delivery = told_of_writing(ours, USERS)
    assert delivery.error is not None


def test_a_database_is_not_talked_to_by_anothers_certificate_or_by_another_name(
    wallet: Settings, servers: Secured, tmp_path: Path
) -> None:
    plain = wallet.api_database_url.partition("?")[0]
    stranger = Authority(tmp_path, "a stranger")
    assert "certificate verify failed" in refusal_of(servers.by_tls(plain, stranger))
    other = servers.by_tls(plain.replace("127.0.0.1", "127.0.0.2"))
    assert refusal_of(other)
    assert not refusal_of(servers.by_tls(plain))
