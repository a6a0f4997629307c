"""How many events a second the bridge brings to a bus, and how many the bus takes at all."""

from __future__ import annotations

import http.client
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from bench.kafka import Gate
from bench.stage import BenchFailed, Stage, Told, metric_of
from schemas.events import EventType
from schemas.sample_events import event_value
from schemas.topics import EVENTS, topic_name
from streams.bridge.entries import COUNT_MAX, entry_of
from streams.local.aws import CREDENTIALS, REGION, EmbeddedAws
from streams.local.process import free_port, stop

ROOT: Final = Path(__file__).parent.parent
USERS: Final = 1_000

_GLANCE_SECONDS: Final = 0.025
_STALL_SECONDS: Final = 60.0
_DELIVERED: Final = 'wallet_bridge_events_total{outcome="delivered"}'
#: What a client of AWS sends along; the emulator does not look at the signature.
_HEADERS: Final = {
    "Content-Type": "application/x-amz-json-1.1",
    "X-Amz-Target": "AWSEvents.PutEvents",
    "Authorization": (
        f"AWS4-HMAC-SHA256 Credential={CREDENTIALS[0]}/20260101/{REGION}/events/aws4_request, "
        "SignedHeaders=host, Signature=none"
    ),
}

#: User and value of a record.
Event = tuple[bytes, bytes]


def events(count: int) -> list[Event]:
    """So many ``deposit.confirmed`` of a thousand users, each user's in order."""
    document = msgspec.json.decode(event_value(EventType.DEPOSIT_CONFIRMED))
    made = []
    for number in range(count):
        user = f"00000000-0000-4000-8000-{number % USERS:012d}"
        own = {"id": f"event-{number}", "subject": user, "sequence": number // USERS + 1}
        made.append((user.encode(), msgspec.json.encode(document | own)))
    return made


@contextmanager
def emulator(stage: Stage) -> Iterator[str]:
    """The AWS emulator of `wallet up`; its address."""
    server = EmbeddedAws(stage.home / "aws", port=free_port(), network="regtest")
    server.start()
    try:
        yield server.address
    finally:
        server.stop()


@contextmanager
def yes_bus(_: Stage) -> Iterator[str]:
    """A bus that takes everything and keeps nothing; its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.bus"], stdout=subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().decode().strip()
    finally:
        stop(process, patience_seconds=5.0)
        process.stdout.close()


def bring(stage: Stage, address: str, made: Sequence[Event], told: Told) -> float:
    """Events a second by a real ``wallet bridge``: from a full topic to the last acknowledgement.

    The clock starts when the records may be read; the bridge has joined its group by then.
    """
    topic = topic_name(stage.settings, EVENTS)
    environment = {
        "WALLET_AWS_ENDPOINT_URL": address,
        "WALLET_AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": CREDENTIALS[0],
        "AWS_SECRET_ACCESS_KEY": CREDENTIALS[1],
    }
    with stage.bridge(environment) as port:
        before = metric_of(port, _DELIVERED)
        gate = Gate(stage.settings)
        gate.fill((topic, user, value) for user, value in made)
        started = gate.open()
        ended = _await(port, before + len(made), told)
    return len(made) / (ended - started)


def _await(port: int, wanted: float, told: Told) -> float:
    seen, moved = -1.0, time.monotonic()
    while True:
        delivered = metric_of(port, _DELIVERED)
        now = time.monotonic()
        if delivered >= wanted:
            return now
        if delivered != seen:
            seen, moved = delivered, now
            told(f"{wanted - delivered:,.0f} events to go")
        elif now - moved > _STALL_SECONDS:
            raise BenchFailed(f"{wanted - delivered:.0f} events do not reach the bus")
        time.sleep(_GLANCE_SECONDS)


def ceiling(stage: Stage, address: str, made: Sequence[Event]) -> float:
    """Events a second that the bus takes from whoever does nothing but call it.

    As many calls at a time as the bridge makes, of as many events; their bodies lie ready.
    """
    bodies = [_body(made[at : at + COUNT_MAX]) for at in range(0, len(made), COUNT_MAX)]
    calls = stage.settings.bridge_calls
    started = time.monotonic()
    with ThreadPoolExecutor(calls) as threads:
        list(threads.map(_call_all, [address] * calls, [bodies[n::calls] for n in range(calls)]))
    return len(made) / (time.monotonic() - started)


def _body(made: Sequence[Event]) -> bytes:
    entries = []
    for _, value in made:
        parameters = entry_of(value, "wallet").parameters("default")
        entries.append(parameters | {"Time": 1_767_225_600})
    return msgspec.json.encode({"Entries": entries})


def _call_all(address: str, bodies: Sequence[bytes]) -> None:
    place = urlsplit(address)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=30.0)
    for body in bodies:
        connection.request("POST", "/", body, _HEADERS)
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != 200 or msgspec.json.decode(said)["FailedEntryCount"] != 0:
            raise BenchFailed(f"the bus answered {answer.status}: {said[:300]!r}")
    connection.close()
