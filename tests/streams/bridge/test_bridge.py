"""The bridge on a real broker: whatever AWS does, each event arrives, in order for its user."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
import pytest
from click.testing import CliRunner
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from api.commands.bridge import command
from schemas.settings import Settings
from schemas.topics import EVENTS, topic_name
from streams import metrics
from streams.bridge import bridge as bridge_module
from streams.bridge.bridge import STEPS, Bridge
from streams.bridge.letters import kept
from streams.bridge.tap import Tap
from streams.kafka.admin import create_topics
from streams.kafka.config import client_config, partition_of
from streams.kafka.follow import Followed, RecordsGone
from streams.kafka.produce import Outgoing, Producer, TransactionalProducer
from streams.local.aws import REGION, EmbeddedAws
from streams.local.process import free_port
from tests.crash.wallet import bare_environment
from tests.support.event_bus import MoodyBus, serving
from tests.support.eventually import eventually
from tests.support.running import environment_of

pytestmark = pytest.mark.timeout(300)

ROOT: Final = Path(__file__).parent.parent.parent.parent
SEED: Final = 20261124
PATIENCE_SECONDS: Final = 120.0
CREDENTIALS: Final = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}
#: Another EventBridge than the emulator's, with the credentials that the environment has; "aws" is
#: AWS itself.
ENDPOINT: Final = os.environ.get("TEST_AWS_ENDPOINT_URL", "")
OWN_REGION: Final = os.environ.get("TEST_AWS_REGION", REGION)


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the emulator, and no others that this machine may have."""
    if ENDPOINT:
        return
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)


@pytest.fixture
def wallet(settings: Settings) -> Settings:
    """The test's own topics."""
    create_topics(settings)
    return settings


def on_bus(settings: Settings, address: str) -> Settings:
    return msgspec.structs.replace(settings, aws_endpoint_url=address, aws_region=REGION)


@contextmanager
def bridging(settings: Settings, *, skip_gone: bool = False) -> Iterator[Bridge]:
    """A bridge in a thread, stopped in the end."""
    bridge = Bridge(settings, skip_gone=skip_gone)
    thread = threading.Thread(target=bridge.run, name="bridge")
    thread.start()
    try:
        yield bridge
    finally:
        bridge.stop()
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()


def publish(settings: Settings, events: list[tuple[str, bytes]]) -> None:
    """Put records on the topic of events, by user and value."""
    producer = Producer(settings)
    for user, value in events:
        producer.send(topic_name(settings, EVENTS), user.encode(), value)
    assert producer.flush() == 0
    producer.close()


def event(user: str, number: int, **more: object) -> tuple[str, bytes]:
    document = {
        "specversion": "1.0",
        "id": f"{user}-{number}",
        "type": "deposit.confirmed",
        "subject": user,
        "time": "2026-11-24T12:00:00.000Z",
        "sequence": number,
        **more,
    }
    return user, json.dumps(document).encode()


def events(users: int, each: int, first: int = 0) -> list[tuple[str, bytes]]:
    return [event(f"user-{u}", n) for n in range(first, first + each) for u in range(users)]


def wanted(users: int, each: int) -> dict[str, list[str]]:
    return {f"user-{u}": [f"user-{u}-{n}" for n in range(each)] for u in range(users)}


def await_all(bus: MoodyBus, users: int, each: int) -> None:
    eventually(
        lambda: sum(map(len, bus.first_ids().values())) == users * each,
        "every event is on the bus",
        PATIENCE_SECONDS,
    )
    assert bus.first_ids() == wanted(users, each)
    assert not bus.crossed


def test_events_arrive_as_consumers_expect_them(wallet: Settings) -> None:
    bus = MoodyBus()
    publish(wallet, events(3, 20))
    with serving(bus) as address, bridging(on_bus(wallet, address)) as bridge:
        await_all(bus, 3, 20)
        assert bridge.fault() is None
    entry = bus.arrived[0]
    user = entry["Resources"][0]
    assert (entry["Source"], entry["DetailType"]) == ("wallet", "deposit.confirmed")
    assert entry["EventBusName"] == "default"
    assert entry["Detail"].encode() == event(user, 0)[1]


def test_nothing_is_left_to_send_where_only_a_transactions_marker_is_left(
    wallet: Settings,
) -> None:
    bus = MoodyBus()
    producer = TransactionalProducer(wallet, f"{wallet.topic_prefix}test")
    name = topic_name(wallet, EVENTS)
    producer.begin([Outgoing(name, u.encode(), value) for u, value in events(3, 2)])
    producer.commit((), None)
    producer.close()
    with serving(bus) as address, bridging(on_bus(wallet, address)):
        await_all(bus, 3, 2)
        eventually(lambda: _left(wallet) == 0, "the group is at the end", PATIENCE_SECONDS)


def _left(settings: Settings) -> int:
    """Records behind what the group has committed, as a broker's own tools count them."""
    group = settings.topic_prefix + settings.bridge_group
    consumer = Consumer(client_config(settings, **{"group.id": group}))
    try:
        places = [
            TopicPartition(topic_name(settings, EVENTS), number)
            for number in range(settings.partitions)
        ]
        committed = consumer.committed(places, timeout=30.0)
        return sum(
            consumer.get_watermark_offsets(place, timeout=30.0)[1] - max(place.offset, 0)
            for place in committed
        )
    finally:
        consumer.close()


def test_whatever_the_bus_does_each_event_arrives_in_order(wallet: Settings) -> None:
    print(f"seed {SEED}")
    bus = MoodyBus(SEED, trouble=0.4)
    publish(wallet, events(20, 10))
    with serving(bus) as address, bridging(on_bus(wallet, address)):
        await_all(bus, 20, 10)
    for kind in ("throttled", "silent", "garbage", "broken", "taken"):
        assert bus.calls[kind], kind


def test_the_next_bridge_goes_on_where_the_last_one_ended(wallet: Settings) -> None:
    bus = MoodyBus()
    with serving(bus) as address:
        for first in (0, 10):
            publish(wallet, events(4, 10, first))
            with bridging(on_bus(wallet, address)):
                await_all(bus, 4, first + 10)
    assert len(bus.arrived) == 80, "nothing was sent twice"


def test_while_the_bus_is_away_memory_is_bounded_and_afterwards_all_arrives(
    wallet: Settings,
) -> None:
    bus = MoodyBus()
    bus.away = True
    publish(wallet, events(30, 8))
    with serving(bus) as address:
        small = msgspec.structs.replace(on_bus(wallet, address), bridge_buffer=50)
        held: list[int] = []
        with bridging(small) as bridge:

            def tried(times: int) -> bool:
                held.append(len(bridge._schedule))
                return bus.calls["away"] > times and held[-1] == 50

            eventually(lambda: tried(3), "it is tried, and full", PATIENCE_SECONDS)
            publish(wallet, events(30, 4, 8))
            eventually(lambda: tried(6), "it is tried further", PATIENCE_SECONDS)
            eventually(lambda: "EventBridge" in (bridge.fault() or ""), "it says so")
            assert max(held) == 50, "it never holds more, however much waits"
            bus.away = False
            await_all(bus, 30, 12)
            eventually(lambda: bridge.fault() is None, "all is well again")


def test_expired_credentials_are_told_and_renewed_ones_are_used(wallet: Settings) -> None:
    bus = MoodyBus()
    bus.refusal = "ExpiredTokenException"
    publish(wallet, events(1, 3))
    with serving(bus) as address, bridging(on_bus(wallet, address)) as bridge:
        eventually(lambda: "renew them" in (bridge.fault() or ""), "they are complained of")
        bus.refusal = ""
        await_all(bus, 1, 3)
        eventually(lambda: bridge.fault() is None, "all is well again")


def test_what_aws_can_never_take_becomes_a_dead_letter_and_holds_nobody_up(
    wallet: Settings,
) -> None:
    bus = MoodyBus()
    before = _bridged()
    publish(
        wallet,
        [
            event("user-0", 0),
            event("user-0", 99, data="x" * 300_000),
            ("user-0", b"no event at all"),
            event("user-0", 1),
        ],
    )
    with serving(bus) as address:
        with bridging(on_bus(wallet, address)):
            await_all(bus, 1, 2)
        assert [now - then for now, then in zip(_bridged(), before, strict=True)] == [2, 2]
        reasons = [each.letter.reason for each in kept(wallet)]
        assert len(reasons) == 2
        assert "AWS takes 262143" in reasons[0]
        assert "no event of the wallet" in reasons[1]
        environment = environment_of(on_bus(wallet, address))
    shown = CliRunner(env=environment).invoke(command, ["dead-letters", "list"])
    assert "2 events were never sent" in shown.output
    place = shown.output.split()[0].split("/")
    replayed = CliRunner(env=environment).invoke(command, ["dead-letters", "replay", *place])
    assert "not taken: 3" in replayed.output
    assert replayed.exit_code == 1


def _bridged() -> list[float]:
    """Events that were delivered, and that became dead letters."""
    name = "wallet_bridge_events_total"
    return [
        metrics.registry.get_sample_value(name, {"outcome": outcome}) or 0.0
        for outcome in ("delivered", "dead_letters")
    ]


def test_events_that_the_topic_dropped_are_named_and_stop_it(wallet: Settings) -> None:
    bus = MoodyBus()
    with serving(bus) as address:
        settings = on_bus(wallet, address)
        publish(wallet, events(1, 3))
        with bridging(settings):
            await_all(bus, 1, 3)
        publish(wallet, events(1, 5, 3))
        _drop(wallet, "user-0", 6)
        with pytest.raises(RecordsGone, match="3 to 5"):
            Bridge(settings).run()
        with bridging(settings, skip_gone=True):
            eventually(lambda: len(bus.arrived) == 5, "the rest arrives", PATIENCE_SECONDS)
    assert [d["sequence"] for d in bus.details()] == [0, 1, 2, 6, 7]


def test_events_that_are_dropped_under_a_running_bridge_stop_it_once_what_it_holds_is_sent(
    wallet: Settings,
) -> None:
    bus = MoodyBus()
    bus.away = True
    told: list[RecordsGone] = []
    with serving(bus) as address:
        bridge = Bridge(msgspec.structs.replace(on_bus(wallet, address), bridge_buffer=3))

        def run() -> None:
            try:
                bridge.run()
            except RecordsGone as gone:
                told.append(gone)

        publish(wallet, events(1, 3))
        thread = threading.Thread(target=run)
        thread.start()
        eventually(lambda: bridge._member.paused, "its buffer is full", PATIENCE_SECONDS)
        publish(wallet, events(1, 5, 3))
        _drop(wallet, "user-0", 6)
        eventually(
            lambda: _lag() == 8, "its lag is known though it reads nothing", PATIENCE_SECONDS
        )
        bus.away = False
        thread.join(PATIENCE_SECONDS)
    assert "3 to 5" in str(told[0])
    assert [d["sequence"] for d in bus.details()] == [0, 1, 2]


def _lag() -> float:
    return metrics.registry.get_sample_value("wallet_bridge_lag_records") or 0.0


def test_a_bridge_that_stands_still_without_a_fault_is_not_ready(
    wallet: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = MoodyBus()
    with serving(bus) as address, bridging(on_bus(wallet, address)) as bridge:
        publish(wallet, events(1, 1))
        await_all(bus, 1, 1)
        # Behind the loop's back, yet in its thread: the library is slow to listen to another.
        consumer, poll = bridge._member._consumer, bridge._member.poll
        orders: queue.SimpleQueue[Callable[[list[TopicPartition]], object]] = queue.SimpleQueue()

        def polled(most: int, timeout_seconds: float) -> list[Followed]:
            if not orders.empty():
                orders.get()(consumer.assignment())
            return poll(most, timeout_seconds)

        monkeypatch.setattr(bridge._member, "poll", polled)
        orders.put(consumer.pause)
        eventually(orders.empty, "it is paused")
        monkeypatch.setattr(bridge_module, "STALL_SECONDS", 1.0)
        publish(wallet, events(1, 1, 1))
        eventually(
            lambda: "stalled: 1 records wait" in (bridge.fault() or ""),
            "it is told",
            PATIENCE_SECONDS,
        )
        orders.put(consumer.resume)
        await_all(bus, 1, 2)
        eventually(lambda: bridge.fault() is None, "all is well again")


def _drop(settings: Settings, user: str, before: int) -> None:
    """Let the broker forget a user's partition up to an offset, as its retention would."""
    place = TopicPartition(
        topic_name(settings, EVENTS), partition_of(user.encode(), settings.partitions), before
    )
    # Kept until it has answered: the client's end would be the question's, too.
    client = AdminClient(client_config(settings))
    (future,) = client.delete_records([place]).values()
    future.result(30.0)


def test_a_bridge_killed_at_any_step_loses_nothing_and_says_it_again_under_the_same_ids(
    wallet: Settings, tmp_path: Path
) -> None:
    # Side by side, since each successor waits for the group to notice that a member is dead.
    with ThreadPoolExecutor(len(STEPS)) as threads:
        list(threads.map(lambda step: _kill_at(wallet, tmp_path, step), STEPS))


def _kill_at(wallet: Settings, folder: Path, step: str) -> None:
    own = msgspec.structs.replace(wallet, topic_prefix=f"{wallet.topic_prefix}{step}.")
    create_topics(own)
    bus = MoodyBus(SEED, trouble=0.1)
    log = folder / f"{step}.log"
    with serving(bus) as address, log.open("w") as file:
        settings = on_bus(own, address)
        publish(settings, events(10, 10))
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.streams.bridge.killed", step, "1"],
            cwd=ROOT,
            env=bare_environment() | environment_of(settings) | CREDENTIALS,
            stdout=file,
            stderr=file,
        )
        # Some steps are come to again only while there is something new.
        code = None
        for first in range(10, 500, 2):
            try:
                code = process.wait(0.5)
                break
            except subprocess.TimeoutExpired:
                publish(settings, events(10, 2, first))
        assert code == -signal.SIGKILL, log.read_text()
        with bridging(settings):
            await_all(bus, 10, first)


def test_told_to_stop_it_ends_and_the_next_one_sends_nothing_again(
    wallet: Settings, tmp_path: Path
) -> None:
    bus = MoodyBus()
    publish(wallet, events(10, 5))
    with serving(bus) as address, (tmp_path / "bridge.log").open("w") as log:
        settings = on_bus(wallet, address)
        process = subprocess.Popen(
            [sys.executable, "-m", "api.cli", "bridge"],
            cwd=ROOT,
            env=bare_environment() | environment_of(settings) | CREDENTIALS,
            stdout=log,
            stderr=log,
        )
        await_all(bus, 10, 5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0
        with bridging(settings) as bridge:
            eventually(lambda: bridge.fault() is None, "the next one has joined", PATIENCE_SECONDS)
            publish(wallet, events(10, 1, 5))
            await_all(bus, 10, 6)
    assert len(bus.arrived) == 60


@contextmanager
def real_bus(settings: Settings, folder: Path) -> Iterator[Settings]:
    """A bus that somebody else has made: the emulator's, or the one of the environment."""
    if ENDPOINT:
        url = "" if ENDPOINT == "aws" else ENDPOINT
        yield msgspec.structs.replace(settings, aws_endpoint_url=url, aws_region=OWN_REGION)
        return
    emulator = EmbeddedAws(folder / "aws", port=free_port(), network="regtest")
    emulator.start()
    try:
        yield on_bus(settings, emulator.address)
    finally:
        emulator.stop()


def test_what_arrives_on_a_real_bus_can_be_watched(wallet: Settings, tmp_path: Path) -> None:
    # A source of the test's own, since others may use the same bus.
    own = msgspec.structs.replace(wallet, event_source=f"wallet-test-{uuid.uuid4().hex[:8]}")
    with real_bus(own, tmp_path) as settings, Tap(settings) as tap, bridging(settings):
        publish(wallet, events(3, 5))
        seen: list[str] = []

        def all_seen() -> bool:
            seen.extend(json.loads(body)["detail"]["id"] for body in tap.receive())
            return len(set(seen)) == 15

        eventually(all_seen, "all has gone over the bus", PATIENCE_SECONDS)
