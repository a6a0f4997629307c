"""The picture that a member answers from is never an old one that passes for a new one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from schemas.settings import Settings
from streams.views import replica as under_test
from streams.views.replica import Replica
from tests.support.eventually import eventually


class Strange:
    """A record of another release."""

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 0

    def key(self) -> bytes:
        return b"0/user/somebody"

    def value(self) -> bytes:
        return b"what nobody can read"


class View:
    """A log with one record."""

    def __init__(self, settings: Settings) -> None:
        pass

    def watermarks(self, topic: str, partition: int) -> tuple[int, int]:
        return 0, 1

    def follow(self, topic: str, positions: dict[int, int]) -> Iterator[Strange | None]:
        yield Strange()

    def close(self) -> None:
        pass


def test_what_cannot_be_read_is_told_and_does_not_end_the_reading(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(under_test, "LogView", View)
    replica = Replica(Settings(partitions=1))
    replica.start()
    try:
        eventually(lambda: "cannot be read" in (replica.fault or ""), "the fault is told")
        assert replica._thread.is_alive()
    finally:
        replica.stop()
