"""A member of the views in a thread or a process of its own, and events to show it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from schemas.publications import Alert
from schemas.settings import Settings
from schemas.times import format_time
from schemas.topics import ALERTS, EVENTS, topic_name
from streams.kafka.config import partition_of
from streams.kafka.produce import Outgoing, Producer, TransactionalProducer
from streams.kafka.view import LogView
from streams.local.process import free_port
from streams.views.process import Views, prepare
from tests.crash.wallet import bare_environment
from tests.support.eventually import eventually
from tests.support.running import environment_of

PATIENCE_SECONDS: Final = 120.0

#: A record to be: user and value.
Record = tuple[str, bytes]


class Member:
    """A member's address, and what it answers there."""

    def __init__(self, port: int) -> None:
        self.port = port

    def answer(self, path: str) -> tuple[int, Any]:
        """Status and JSON, or text, of a page; 0 where nobody answers."""
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.port}{path}", timeout=10
            ) as response:
                status, body = response.status, response.read()
        except urllib.error.HTTPError as refused:
            with refused:
                status, body = refused.code, refused.read()
        except OSError as away:
            return 0, str(away)
        return status, json.loads(body) if body.startswith(b"{") else body.decode()

    def get(self, path: str) -> Any:
        """The JSON of a page that answers 200."""
        status, document = self.answer(path)
        assert status == 200, (path, status, document)
        return document

    def ready(self) -> None:
        """Wait until it is."""
        eventually(
            lambda: self.answer("/readyz")[0] == 200 or print_once(self.answer("/readyz")),
            "the views are ready",
            PATIENCE_SECONDS,
        )

    def await_total(self, wanted: dict[str, int], path: str = "/flows?minutes=1440") -> None:
        """Wait until the flows count these events by type, and no others."""
        eventually(
            lambda: counts(self.answer(path)[1]) == wanted or print_once(self.answer(path)),
            f"flows count {wanted}",
            PATIENCE_SECONDS,
        )


_printed: list[object] = []


def print_once(what: object) -> bool:
    """Leave what was seen in the test's output, each state once."""
    if what not in _printed[-1:]:
        _printed.append(what)
        print("seen:", what)
    return False


def counts(flows: Any) -> dict[str, int]:
    """How many events of each type an answer of /flows counts."""
    if not isinstance(flows, dict) or "total" not in flows:
        return {}
    return {kind: total["count"] for kind, total in flows["total"].items()}


@contextmanager
def viewing(settings: Settings) -> Iterator[Member]:
    """A member in a thread."""
    prepare(settings)
    port = free_port()
    told: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
    faults: list[BaseException] = []

    async def serve() -> None:
        ending = asyncio.Event()
        told.append((asyncio.get_running_loop(), ending))
        await Views(settings, port).run(ending)

    def run() -> None:
        try:
            asyncio.run(serve())
        except Exception as fault:  # noqa: BLE001 - told to the test
            faults.append(fault)

    thread = threading.Thread(target=run, name="views")
    thread.start()
    member = Member(port)
    try:
        yield member
    finally:
        for loop, ending in told:
            if not loop.is_closed():
                loop.call_soon_threadsafe(ending.set)
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()
        assert not faults, faults


@contextmanager
def process(settings: Settings, log: Path) -> Iterator[tuple[Member, subprocess.Popen[bytes]]]:
    """A member as a process of its own, killed in the end if it still runs."""
    port = free_port()
    environment = {**bare_environment(), **environment_of(settings)}
    with log.open("ab") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "api.cli", "views", "--port", str(port)],
            env=environment,
            stdout=output,
            stderr=output,
        )
    try:
        yield Member(port), child
    except BaseException:
        # What failed is seldom seen twice.
        print(log.read_text())
        raise
    finally:
        child.kill()
        child.wait()


def event(
    user: str,
    sequence: int,
    kind: str,
    time_ms: int,
    *,
    version: int | None = None,
    shortfall: str = "0.00000000",
    code: str = "",
    **result: object,
) -> Record:
    """An event of the wallet's, as far as the views read it."""
    data: dict[str, object] = {"code": code} if code else {"result": result}
    if not code and kind != "command.replayed":
        data["balance"] = {
            "version": sequence if version is None else version,
            "shortfall": shortfall,
        }
    document = {
        "specversion": "1.0",
        "id": f"{user}/{sequence}",
        "type": kind,
        "subject": user,
        "time": format_time(time_ms),
        "sequence": sequence,
        "data": data,
    }
    return user, json.dumps(document).encode()


def publish(settings: Settings, records: Iterable[Record]) -> None:
    """Put records on the topic of events, each in its user's partition."""
    with closing(Producer(settings)) as producer:
        for user, value in records:
            producer.send(topic_name(settings, EVENTS), user.encode(), value)
        assert producer.flush() == 0


def publish_in_transactions(
    settings: Settings, batches: Iterable[tuple[list[Record], bool]]
) -> None:
    """Put batches on the topic of events, each in a transaction, committed or aborted."""
    producer = TransactionalProducer(settings, f"{settings.topic_prefix}stage")
    topic = topic_name(settings, EVENTS)
    for records, committed in batches:
        producer.begin(Outgoing(topic, user.encode(), value) for user, value in records)
        if committed:
            producer.commit()
        else:
            abort(producer)
    producer.close()


def abort(producer: TransactionalProducer) -> None:
    """Send what was begun, then abort: the records are on the topic, and were never there."""
    library = producer._producer
    assert library.flush(10.0) == 0
    library.abort_transaction(10.0)


def partition_for(settings: Settings, user: str) -> int:
    """Where a user's events lie."""
    return partition_of(user.encode(), settings.partitions)


def alerts(settings: Settings) -> list[Alert]:
    """All that stands on the topic of alerts."""
    view = LogView(settings)
    try:
        return [
            msgspec.json.decode(message.value() or b"", type=Alert)
            for message in view.records(topic_name(settings, ALERTS), 0, 0)
        ]
    finally:
        view.close()


def told(settings: Settings, kind: str) -> list[tuple[str, str]]:
    """Subject and state of each record of a rule, in order."""
    return [(each.subject, str(each.state)) for each in alerts(settings) if each.kind == kind]
