"""What start-up and operators do with topics: create, describe, find their ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from confluent_kafka import (
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from schemas.settings import Settings, SettingsError
from schemas.topics import (
    COMMAND_TOPIC_NAMES,
    SINGLE_COPY,
    TOPICS,
    TopicDefinition,
    topic_name,
)
from streams.kafka.config import KafkaUnavailable, client_config, finished, words_of

_FORBIDDEN: Final = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
)


class TopicFacts(NamedTuple):
    """A topic as the broker has it."""

    topic_id: str
    partitions: int


class TopicsAsked:
    """A question for the facts of topics that is on its way."""

    def __init__(self, futures: Mapping[str, Any]) -> None:
        self._futures = futures

    def answer(self) -> dict[str, TopicFacts] | None:
        """The facts by name once they are there, else None; a topic that is gone is left out.

        Raises ``KafkaUnavailable`` where the broker does not answer.
        """
        if not all(future.done() for future in self._futures.values()):
            return None
        return {
            name: facts
            for name, future in self._futures.items()
            if (facts := _described(future)) is not None
        }


class EndsAsked:
    """A question for the ends of a topic's partitions that is on its way."""

    def __init__(self, futures: Mapping[TopicPartition, Any]) -> None:
        self._futures = futures

    def answer(self) -> dict[int, int] | None:
        """The ends by partition once they are there, else None.

        Raises ``KafkaUnavailable`` where the broker does not answer.
        """
        if not all(future.done() for future in self._futures.values()):
            return None
        return _offsets_of(self._futures)


def _offsets_of(futures: Mapping[TopicPartition, Any]) -> dict[int, int]:
    return {place.partition: finished(future).offset for place, future in futures.items()}


def _described(future: Any) -> TopicFacts | None:
    """What is known of a topic; None where there is no such topic."""
    try:
        described = future.result()
        return TopicFacts(str(described.topic_id), len(described.partitions))
    except KafkaException as error:
        if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return None
        raise KafkaUnavailable(words_of(error)) from error


def _settings_of(future: Any) -> dict[str, str] | None:
    try:
        return {name: entry.value for name, entry in future.result().items()}
    except KafkaException as error:
        if error.args[0].code() in _FORBIDDEN:
            return None
        raise KafkaUnavailable(words_of(error)) from error


class Admin:
    """What operators and start-up do with topics and groups."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._admin = AdminClient(client_config(settings))

    def topics(self, names: Sequence[str]) -> dict[str, TopicFacts]:
        """Id and partition count of each topic that exists."""
        futures = self._admin.describe_topics(TopicCollection(list(names)), request_timeout=10.0)
        facts = {}
        for name, future in futures.items():
            try:
                found = _described(future)
            except KafkaUnavailable:
                self._tell()
                raise
            if found is not None:
                facts[name] = found
        return facts

    def configurations(self, names: Sequence[str]) -> dict[str, dict[str, str] | None]:
        """The settings of each topic; None where this principal may not ask."""
        asked = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        futures = self._admin.describe_configs(asked, request_timeout=10.0) if asked else {}
        return {resource.name: _settings_of(future) for resource, future in futures.items()}

    def ask_topics(self, names: Sequence[str]) -> TopicsAsked:
        """Ask the same without waiting for the answer."""
        return TopicsAsked(
            self._admin.describe_topics(TopicCollection(list(names)), request_timeout=5.0)
        )

    def create_topics(
        self, topics: Sequence[TopicDefinition] = TOPICS, *, wait_seconds: float = 20.0
    ) -> list[str]:
        """Create what is missing; returns the names made. Raises on a wrong partition count."""
        wanted = {topic_name(self._settings, topic.name): topic for topic in topics}
        present = self.topics(list(wanted))
        for name, facts in present.items():
            count = wanted[name].partitions or self._settings.partitions
            if facts.partitions != count:
                raise SettingsError(
                    f"{name} has {facts.partitions} partitions, WALLET_PARTITIONS says {count}. "
                    "The count is fixed for a topic's life: set it back."
                )
        missing = [
            NewTopic(
                name,
                num_partitions=topic.partitions or self._settings.partitions,
                replication_factor=self._settings.replication,
                config=self._config(topic),
            )
            for name, topic in wanted.items()
            if name not in present
        ]
        if missing:
            for future in self._admin.create_topics(missing, operation_timeout=10.0).values():
                finished(future)
            self._await_topics(list(wanted), wait_seconds)
        return [topic.topic for topic in missing]

    def _config(self, topic: TopicDefinition) -> dict[str, str]:
        alone = self._settings.replication == 1 and topic.name in COMMAND_TOPIC_NAMES.values()
        return {**topic.config, **(SINGLE_COPY if alone else {})}

    def _await_topics(self, names: list[str], wait_seconds: float) -> None:
        deadline = time.monotonic() + wait_seconds
        pause = threading.Event()
        while not self._led(names):
            if time.monotonic() > deadline:
                raise KafkaUnavailable("the new topics do not show up; look at the broker's log")
            pause.wait(0.1)

    def _led(self, names: list[str]) -> bool:
        """Whether every partition has a leader that answers."""
        present = self.topics(names)
        if len(present) < len(names):
            return False
        try:
            for name, facts in present.items():
                self.ends(name, range(facts.partitions))
        except KafkaUnavailable:
            return False
        return True

    def delete_topics(self, names: Sequence[str]) -> None:
        """Delete topics; for tests and for operators who mean it."""
        for future in self._admin.delete_topics(list(names), operation_timeout=10.0).values():
            finished(future)

    def members(self, group: str) -> int:
        """How many members a consumer group has at present."""
        future = self._admin.describe_consumer_groups([group], request_timeout=10.0)[group]
        return len(finished(future).members)

    def ends(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """The end of the log of each partition, as a read-committed reader sees it."""
        return _offsets_of(self._ask(topic, partitions, OffsetSpec.latest()))  # type: ignore[no-untyped-call]

    def ask_ends(self, topic: str, partitions: Iterable[int]) -> EndsAsked:
        """Ask for the same without waiting for the answer."""
        return EndsAsked(self._ask(topic, partitions, OffsetSpec.latest()))  # type: ignore[no-untyped-call]

    def starts(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """The first offset that each partition still keeps."""
        return _offsets_of(self._ask(topic, partitions, OffsetSpec.earliest()))  # type: ignore[no-untyped-call]

    def _ask(
        self, topic: str, partitions: Iterable[int], spec: OffsetSpec
    ) -> Mapping[TopicPartition, Any]:
        request = {TopicPartition(topic, number): spec for number in partitions}
        if not request:
            return {}
        futures: Mapping[TopicPartition, Any] = self._admin.list_offsets(
            request, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=10.0
        )
        return futures

    def reachable(self, timeout_seconds: float = 2.0) -> bool:
        """Whether a broker answers."""
        try:
            self._admin.list_topics(timeout=timeout_seconds)
        except KafkaException:
            self._tell()
            return False
        return True

    def _tell(self) -> None:
        """Let the library log what it has to say: that a password is wrong, for one.

        It hands its complaints over when it is polled, which nothing else does to this client.
        """
        self._admin.poll(0)


def create_topics(settings: Settings) -> list[str]:
    """Create the wallet's topics where they are missing; returns the names made."""
    return Admin(settings).create_topics()
