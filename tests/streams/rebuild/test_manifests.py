"""Manifests come in any order, some late and some twice; what they lack or contradict is named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import msgspec
import pytest

from db.ledger import rebuilding
from schemas.publications import Manifest
from schemas.settings import Settings
from schemas.topics import BATCHES, topic_name
from streams.kafka.admin import create_topics
from streams.kafka.produce import Producer
from streams.rebuild import ManifestsContradict, ManifestsMissing, Rebuild, replay
from streams.rebuild.manifests import Manifests
from tests.support.played import with_account

MANIFEST = Manifest(
    batch_id=1,
    logic_version=1,
    rules_version=1,
    topic=0,
    partition=0,
    generation=1,
    first_offset=0,
    last_offset=4,
    commands=5,
    entries=10,
    digest="00" * 32,
    chain="11" * 32,
    slices=((0, 0, 0, 4),),
)


class Told:
    """Manifests as they were written."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._producer = Producer(settings)
        self.manifests = Manifests(settings)

    def tell(self, partition: int, **changes: object) -> None:
        """Write one."""
        manifest = msgspec.structs.replace(MANIFEST, partition=partition, **changes)
        name = topic_name(self.settings, BATCHES)
        self._producer.send(name, b"", msgspec.json.encode(manifest), partition=partition)
        assert self._producer.flush() == 0

    def close(self) -> None:
        self._producer.close()
        self.manifests.close()


@pytest.fixture
def told(settings: Settings) -> Iterator[Told]:
    """No manifests yet."""
    create_topics(settings)
    with closing(Told(settings)) as told:
        yield told


def test_batches_come_by_number_and_slices_by_place_whatever_the_order_told(told: Told) -> None:
    both = ((0, 0, 0, 4), (0, 1, 0, 4))
    told.tell(1, batch_id=3)
    told.tell(1, batch_id=2, slices=both)
    told.tell(0, batch_id=1)
    assert told.manifests.gather() == 3
    assert told.manifests.incomplete() == 2
    assert told.manifests.lacks(2) == "topic 0, partition 0, offsets 0–4"
    told.tell(0, batch_id=2, slices=both)
    told.tell(0, batch_id=2, slices=both, rules=msgspec.Raw(b"{}"))
    assert told.manifests.gather() == 2
    assert told.manifests.incomplete() is None
    batches = [[(m.batch_id, m.partition) for m in batch] for batch in told.manifests.batches()]
    assert batches == [[(1, 0)], [(2, 0), (2, 1)], [(3, 1)]]
    assert told.manifests.count() == (3, 20)


def test_two_stories_of_one_batch_are_a_contradiction(told: Told) -> None:
    told.tell(0)
    told.tell(0, digest="22" * 32)
    with pytest.raises(ManifestsContradict, match="Batch 1 of topic 0, partition 0"):
        told.manifests.gather()


def test_a_stretch_ends_where_the_logic_changes(told: Told) -> None:
    for number, logic in enumerate((1, 1, 2, 2, 1), 1):
        told.tell(0, batch_id=number, logic_version=logic)
    told.manifests.gather()
    assert told.manifests.stretch(1, 1)[1:] == (1, 2)
    assert told.manifests.stretch(3, 2)[1:] == (3, 4)
    assert told.manifests.stretch(5, 1)[1:] == (5, 5)


def test_a_rebuild_does_not_step_over_a_batch_that_lacks_a_slice(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    told.tell(0, slices=((0, 0, 0, 4), (0, 1, 7, 9)))
    monkeypatch.setattr(replay, "_PATIENCE_SECONDS", 0.3)
    settings = with_account(told.settings)
    with (
        rebuilding.target(settings.database_url) as target,
        closing(Rebuild(settings, target)) as rebuild,
        pytest.raises(ManifestsMissing, match=r"Batch 1 lacks .* partition 1, offsets 7–9"),
    ):
        rebuild.run()


def test_a_topic_that_lost_its_beginning_cannot_be_rebuilt_from(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    told.tell(0)
    monkeypatch.setattr(told.manifests._admin, "starts", lambda topic, numbers: {0: 1, 1: 0})
    with pytest.raises(ManifestsMissing, match=r"retention\.ms"):
        told.manifests.gather()
