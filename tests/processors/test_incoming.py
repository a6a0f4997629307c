"""Records read into slices: in the log's own order, and known again by what they hold."""

from __future__ import annotations

import pytest

from processors import incoming
from processors.incoming import Item, Record, Undecidable, read_batch
from schemas.commands import LockFunds, OpenWallet
from schemas.rejections import Malformed, Rejection
from tests.support.books import doge
from tests.support.commands import MemoryLog, wire

RECORD = Record(0, 1, 2, 3, b"key", b"value")


def test_a_slice_stands_by_offset_though_the_brokers_clock_went_back() -> None:
    log = MemoryLog(1)
    first, second = log.append(wire(OpenWallet())), log.append(wire(OpenWallet()))
    later = first._replace(time=second.time + 5000)
    (part,) = read_batch([second, later])
    assert [item.record for item in part.items] == [later, second]


def test_what_could_not_be_applied_is_buried_and_its_neighbours_are_read() -> None:
    log = MemoryLog(1)
    data = LockFunds(amount=doge(1), reference_type="auction", reference_id="7")
    records = [log.append(wire(data)) for _ in range(3)]
    (part,) = read_batch(records, {records[1][:3]})
    assert [_code_of(item) for item in part.items] == [None, Rejection.UNPROCESSABLE, None]


def test_a_fault_of_the_program_names_the_record_that_could_not_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(incoming, "read_command")
    with pytest.raises(Undecidable) as failure:
        read_batch([RECORD])
    assert failure.value.record == RECORD
    assert isinstance(failure.value.__cause__, NameError)


def _code_of(item: Item) -> Rejection | None:
    return item.command.code if isinstance(item.command, Malformed) else None


@pytest.mark.parametrize(
    "other",
    [
        RECORD._replace(time=4),
        RECORD._replace(key=b"another"),
        RECORD._replace(key=None),
        RECORD._replace(value=b"another"),
        RECORD._replace(value=None),
    ],
    ids=["another_time", "another_key", "no_key", "another_value", "no_value"],
)
def test_a_record_that_stands_in_anothers_place_has_another_digest(other: Record) -> None:
    assert other.digest() != RECORD.digest()
