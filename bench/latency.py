"""How long somebody waits, at a steady rate: for the answer to a POST, and for an event.

Both generators are open loops: what is due is sent, whether the one before was answered or not,
and a wait counts from the moment a command was due. So a stall is seen by all who wait in it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Final, NamedTuple

import aiohttp
import msgspec

from api.auth import INTERNAL, mint
from api.routes import PREFIX
from bench.plans import Plan
from bench.stage import BenchFailed, Stage, Told, event_ends
from schemas.settings import Settings
from schemas.topics import EVENTS, topic_name
from streams.kafka.produce import Producer
from streams.kafka.view import LogView

RATE: Final = 100.0
#: Not counted: connections are made, statements prepared, and code is loaded.
WARM_UP_SECONDS: Final = 3.0
#: Longer than the API waits, so that it is the API which says that an outcome is missing.
_PATIENCE_SECONDS: Final = 30.0


class Waits(NamedTuple):
    """Percentiles of what was waited, in milliseconds."""

    p50: float
    p99: float
    counted: int


def commands_for(seconds: float) -> int:
    """How many commands a run of that length sends, its warm-up with it."""
    return round((WARM_UP_SECONDS + seconds) * RATE)


def waits_of(samples: dict[int, float]) -> Waits:
    """Percentiles over the samples (number of the command to seconds), the warm-up left out."""
    first = round(WARM_UP_SECONDS * RATE)
    counted = sorted(value * 1000 for number, value in samples.items() if number >= first)
    if not counted:
        raise BenchFailed("nothing was measured: the run is all warm-up")
    return Waits(
        counted[len(counted) // 2],
        counted[min(int(len(counted) * 0.99), len(counted) - 1)],
        len(counted),
    )


# ---------------------------------------------------------------------- POST


def post_and_wait(stage: Stage, plan: Plan, told: Told) -> Waits:
    """POST each of the plan's locks to the real API, and wait for its answer.

    Whoever applies the commands runs already.
    """
    token = mint(stage.settings, "bench", (INTERNAL,))
    with stage.api() as url:
        samples = asyncio.run(_post_all(url, token, plan, told))
    stage.expect(plan.measured)
    return waits_of(samples)


async def _post_all(url: str, token: str, plan: Plan, told: Told) -> dict[int, float]:
    samples: dict[int, float] = {}
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=_PATIENCE_SECONDS)
    async with aiohttp.ClientSession(
        url, headers=headers, connector=connector, timeout=timeout
    ) as session:
        started = asyncio.get_running_loop().time()
        tasks = []
        for number, record in enumerate(plan.measured):
            due = started + number / RATE
            await asyncio.sleep(due - asyncio.get_running_loop().time())
            if number % RATE == 0:
                told(f"{number:,} of {len(plan.measured):,}")
            key, body = _body_of(record.value)
            tasks.append(asyncio.create_task(_post(session, key, body, number, due, samples)))
        await asyncio.gather(*tasks)
    return samples


def _body_of(value: bytes) -> tuple[str, bytes]:
    """Idempotency key and body of the request that stands for a planned ``lock_funds``."""
    planned = msgspec.json.decode(value)
    data = planned["data"]
    return planned["idempotency_key"], msgspec.json.encode(data | {"user_id": planned["user_id"]})


async def _post(
    session: aiohttp.ClientSession,
    key: str,
    body: bytes,
    number: int,
    due: float,
    samples: dict[int, float],
) -> None:
    async with session.post(
        f"{PREFIX}/internal/lock", data=body, headers={"Idempotency-Key": key}
    ) as answer:
        said = await answer.read()
    samples[number] = asyncio.get_running_loop().time() - due
    if answer.status != 200:
        raise BenchFailed(f"a POST was answered with {answer.status}: {said[:300]!r}")


# ---------------------------------------------------------------------- events


class _Seen(msgspec.Struct):
    """What an event tells of the command that caused it."""

    idempotencykey: str = ""


def send_and_see(stage: Stage, plan: Plan, told: Told) -> Waits:
    """Put each of the plan's locks on the topic, and wait for its event as a consumer sees it.

    The consumer reads committed. Whoever applies the commands runs already.
    """
    keys = [msgspec.json.decode(record.value)["idempotency_key"] for record in plan.measured]
    reader = _EventReader(stage.settings, {key: number for number, key in enumerate(keys)})
    producer = Producer(stage.settings)
    topics = {record.topic: topic_name(stage.settings, record.topic) for record in plan.measured}
    reader.start()
    started = time.monotonic()
    for number, record in enumerate(plan.measured):
        time.sleep(max(started + number / RATE - time.monotonic(), 0))
        if number % RATE == 0:
            told(f"{number:,} of {len(plan.measured):,}")
        producer.send(topics[record.topic], record.key, record.value)
    seen = reader.result(_PATIENCE_SECONDS)
    producer.close()
    stage.expect(plan.measured)
    return waits_of({number: at - started - number / RATE for number, at in seen.items()})


class _EventReader:
    """Notes when each awaited event could be read."""

    def __init__(self, settings: Settings, awaited: dict[str, int]) -> None:
        self._settings = settings
        self._awaited = awaited
        self._positions = event_ends(settings, EVENTS)
        self._seen: dict[int, float] = {}
        self._complete = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._read, name="events", daemon=True)

    def start(self) -> None:
        """Read what comes from here on."""
        self._thread.start()

    def result(self, patience_seconds: float) -> dict[int, float]:
        """When each was seen (monotonic); raises ``BenchFailed`` if one is not."""
        self._complete.wait(patience_seconds)
        self._closing.set()
        self._thread.join(patience_seconds)
        if len(self._seen) < len(self._awaited):
            raise BenchFailed(f"{len(self._awaited) - len(self._seen)} events were not seen")
        return self._seen

    def _read(self) -> None:
        decode = msgspec.json.Decoder(_Seen).decode
        view = LogView(self._settings)
        for message in view.follow(topic_name(self._settings, EVENTS), self._positions):
            now = time.monotonic()
            if self._closing.is_set():
                break
            if message is None:
                continue
            number = self._awaited.get(decode(message.value() or b"{}").idempotencykey)
            if number is not None:
                self._seen.setdefault(number, now)
            if len(self._seen) == len(self._awaited):
                self._complete.set()
        view.close()
