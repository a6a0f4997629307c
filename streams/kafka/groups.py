"""What operators do with the workers' consumer group: look at its offsets, and set them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Final

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient

from schemas.settings import Settings
from schemas.topics import CommandTopic, topic_name
from streams.kafka.committed import CommittedView
from streams.kafka.config import KafkaUnavailable, client_config, finished, words_of

Place = tuple[CommandTopic, int]

_TIMEOUT_SECONDS: Final = 10.0
_AGAIN_SECONDS: Final = 0.2
#: What a broker says that coordinates the group in a moment.
_NOT_YET: Final = frozenset(
    {
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
    }
)


class Group:
    """The consumer group of the workers, seen from outside of it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._name = settings.group
        self._admin = AdminClient(client_config(settings))
        self._names = {code: topic_name(settings, code) for code in CommandTopic}
        self._codes = {name: code for code, name in self._names.items()}

    def committed(self, places: Sequence[Place]) -> dict[Place, int | None]:
        """The committed offsets as they stand, without waiting for an open transaction.

        None where there is none. Raises ``KafkaUnavailable``.
        """
        with closing(CommittedView(self._settings, self._name)) as view:
            found = view.of([(self._names[code], number) for code, number in places])
        return {(self._codes[topic], number): offset for (topic, number), offset in found.items()}

    def members(self) -> int:
        """How many workers are in the group at present."""
        future = self._admin.describe_consumer_groups(
            [self._name], request_timeout=_TIMEOUT_SECONDS
        )[self._name]
        return len(finished(future).members)

    def commit(self, offsets: Mapping[Place, int]) -> None:
        """Set offsets; the broker refuses it while the group has members.

        A broker that has just started coordinates no group for some moments: it is asked again.
        """
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        while (error := self._refusal(offsets)) is not None:
            if error.code() not in _NOT_YET or time.monotonic() > deadline:
                raise KafkaUnavailable(f"the group's offsets cannot be set: {words_of(error)}")
            time.sleep(_AGAIN_SECONDS)

    def _refusal(self, offsets: Mapping[Place, int]) -> KafkaError | None:
        wanted = ConsumerGroupTopicPartitions(
            self._name,
            [
                TopicPartition(self._names[code], number, offset)
                for (code, number), offset in offsets.items()
            ],
        )
        future = self._admin.alter_consumer_group_offsets(
            [wanted], request_timeout=_TIMEOUT_SECONDS
        )[self._name]
        for position in finished(future).topic_partitions:
            if position.error is not None:
                error: KafkaError = position.error
                return error
        return None
