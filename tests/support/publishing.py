"""A whole Kafka transaction in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from streams.kafka.produce import Outgoing, TransactionalProducer


def publish(
    producer: TransactionalProducer,
    records: Iterable[Outgoing],
    offsets: Sequence[tuple[str, int, int]],
    group_metadata: object,
    *,
    before_commit: Callable[[str], None] = lambda step: None,
) -> None:
    """Begin it and wait for its commit, as the publisher does in two threads."""
    producer.begin(records)
    producer.commit(offsets, group_metadata, before_commit=before_commit)
