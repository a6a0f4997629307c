"""The story told to a real broker and a real worker."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from processors.incoming import Record
from schemas.settings import KAFKA_PREFIX, PREFIX, Settings
from schemas.topics import CommandTopic, topic_name
from streams.kafka.admin import create_topics
from streams.kafka.groups import Group
from streams.kafka.produce import Delivery, Producer
from streams.worker.worker import Worker
from tests.conftest import Database
from tests.support.eventually import eventually
from tests.support.played import address_in, seed, with_account
from tests.support.story import KEYRING, Story


@contextmanager
def worker_on(settings: Settings) -> Iterator[Worker]:
    """A worker in a thread, drained at the end."""
    worker = Worker(settings, derive=KEYRING.deposit_address)
    thread = threading.Thread(target=worker.run, name="worker")
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join(timeout=30.0)
        assert not thread.is_alive()


def prepared(settings: Settings) -> Settings:
    """Settings with the story's account, its rules seeded and the topics made."""
    whole = with_account(settings)
    seed(whole)
    create_topics(whole)
    return whole


def environment_of(settings: Settings) -> dict[str, str]:
    """The variables that say the same as the settings, for the command line."""
    default = Settings()
    return {
        **{
            f"{PREFIX}{field.upper()}": str(getattr(settings, field))
            for field in settings.__struct_fields__
            if field != "kafka" and getattr(settings, field) != getattr(default, field)
        },
        **{
            KAFKA_PREFIX + name.upper().replace(".", "_"): value
            for name, value in settings.kafka.items()
        },
        "COLUMNS": "250",
    }


class Teller:
    """Writes records to the topics, and waits until they are decided and published."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer = Producer(settings)
        self._group = Group(settings)
        self._ends: dict[tuple[CommandTopic, int], int] = {}

    def close(self) -> None:
        """Let go of the broker."""
        self._producer.close()

    def tell(self, records: Sequence[Record]) -> None:
        """Write records; each must land where the story says."""
        places: list[tuple[int, int, int]] = []

        def note(topic: int, delivery: Delivery) -> None:
            assert delivery.error is None, delivery
            places.append((topic, delivery.partition, delivery.offset))

        for record in records:
            assert record.key is not None
            code = CommandTopic(record.topic)
            self._producer.send(
                topic_name(self._settings, code),
                record.key,
                record.value,
                partial(note, record.topic),
            )
        self._producer.flush()
        eventually(lambda: len(places) == len(records), "all records are delivered")
        assert sorted(places) == sorted(record[:3] for record in records)
        for topic, partition, offset in places:
            place = (CommandTopic(topic), partition)
            self._ends[place] = max(self._ends.get(place, 0), offset + 1)

    def settle(self) -> None:
        """Wait until the group has published all that was written."""
        eventually(self._published, "everything written is applied and published")

    def _published(self) -> bool:
        committed = self._group.committed(list(self._ends))
        return all((committed[place] or 0) >= end for place, end in self._ends.items())


def tell_story(settings: Settings, database: Database, story: Story) -> None:
    """Tell the whole story to the worker that runs."""
    teller = Teller(settings)
    try:
        for chapter in story.chapters(lambda user: address_in(database, user)):
            teller.tell(chapter)
            teller.settle()
    finally:
        teller.close()
