"""The journal of a batch: pure, so that a batch can be retried and a log replayed byte for byte."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final, NamedTuple

import msgspec
import pytest

from db.copy import entry_row, text_field
from db.ledger.reads import First
from processors.books import BatchBooks
from processors.incoming import Record, Undecidable, read_batch
from processors.journal import Counts, Journal
from processors.telling import EVENT_FRAME, Frame, Teller
from schemas.commands import LockFunds, OpenWallet, PayOrder, ReleaseEscrow
from schemas.events import CloudEvent
from schemas.ids import Place, bytes_of, number_of
from schemas.ledger import HOUSE
from schemas.records import DepositAddress, Wallet
from schemas.samples import BUYER, SELLER
from schemas.topics import CommandTopic
from streams.loadgen.pieces import Player, Shares
from streams.loadgen.plan import Layout, Script
from tests.support.books import ANN, BOB, COUNTERS, RULES, USERS, Ledger, derived, doge
from tests.support.commands import START_MS, MemoryLog, Wire, id_of, wire

_event: Final = msgspec.json.Decoder(CloudEvent)
PARTITIONS: Final = 3


class Written(NamedTuple):
    """What a log came to, batch after batch."""

    entries: list[bytes]
    outcomes: list[bytes]
    frames: list[Frame]
    counts: Counts


class Played(NamedTuple):
    """A marketplace's records, which come after those that fund it."""

    funding: list[Record]
    records: list[Record]
    players: list[Player]


def market(seed: int, size: int = 400) -> Played:
    log = MemoryLog(PARTITIONS)
    shares = Shares(duplicates=0.1, overdrafts=0.05, malformed=0.05)
    script = Script(seed, 5, Layout(PARTITIONS), shares)
    funding, records = (
        [log.append(Wire(planned.topic, planned.key, planned.value)) for planned in stage]
        for stage in (script.funding(), islice(script.marketplace(), size))
    )
    return Played(funding, records, script.players)


def journalled(played: Played, batches: list[list[Record]]) -> Written:
    """Decide batches one after another on the same books; batch numbers are all the same."""
    users = [HOUSE, BUYER, SELLER, *(player.user_id for player in played.players)]
    books = BatchBooks(
        rules=RULES,
        wallets={user: Wallet(user_id=user) for user in users},
        next_indices=COUNTERS,
        derive=derived,
    )
    books.load(
        DepositAddress(
            address=player.address,
            user_id=player.user_id,
            account_key="made up",
            derivation_index=player.number,
            assigned_at=0,
        )
        for player in played.players
    )
    firsts: dict[tuple[str, int, str], First] = {}
    written = Written([], [], [], Counts())
    for records in [played.funding, *batches]:
        journal, teller = Journal(books, firsts), Teller(1)
        for part in read_batch(records):
            done = journal.decide(part, 1)
            written.entries.extend(done.entries)
            told = teller.tell(done.decided)
            written.outcomes.extend(told.commands)
            written.frames.extend(told.frames)
        for name in Counts.__struct_fields__:
            total = getattr(written.counts, name) + getattr(journal.counts, name)
            setattr(written.counts, name, total)
    return written


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_same_records_give_the_same_bytes_whatever_order_they_come_in(seed: int) -> None:
    played = market(seed)
    shuffled = random.Random(seed).sample(played.records, len(played.records))
    assert journalled(played, [played.records]) == journalled(played, [shuffled])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_how_a_partition_is_cut_into_batches_changes_nothing(seed: int) -> None:
    played = market(seed)
    # Slice by slice, as a batch decides them; so only the cuts differ.
    ordered = [item.record for part in read_batch(played.records) for item in part.items]
    chance = random.Random(seed)
    cut: list[list[Record]] = [[]]
    for record in ordered:
        if chance.random() < 0.1:
            cut.append([])
        cut[-1].append(record)
    assert journalled(played, [ordered]) == journalled(played, cut)


def test_a_market_has_one_outcome_and_one_own_event_a_command() -> None:
    played = market(7)
    written = journalled(played, [played.records])
    counts = msgspec.structs.asdict(written.counts)
    assert sum(counts.values()) == len(played.funding) + len(played.records)
    assert len(written.outcomes) == sum(counts.values()) - counts["dead_letters"]
    events = [_event.decode(f.value) for f in written.frames if f.kind == EVENT_FRAME]
    own = {event.causationid for event in events if event.idempotencykey is not msgspec.UNSET}
    letters = len(written.frames) - len(events)
    assert (len(own), letters) == (len(written.outcomes), counts["dead_letters"])
    assert len({event.id for event in events}) == len(events)
    assert min(counts.values()) > 0, "the market has some of everything"


class Desk:
    """A journal on the books of a small ledger."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.log = MemoryLog()
        self.firsts: dict[tuple[str, int, str], First] = {}

    def decide(self, *records: Record) -> list[CloudEvent]:
        """Decide as one batch; its events."""
        journal, teller = Journal(self.ledger.books, self.firsts), Teller(1)
        return [
            _event.decode(frame.value)
            for part in read_batch(records)
            for frame in teller.tell(journal.decide(part, 1).decided).frames
            if frame.kind == EVENT_FRAME
        ]


def test_a_key_is_shown_to_its_own_user_alone() -> None:
    desk = Desk()
    desk.ledger.fund(100)
    pay = desk.log.append(wire(PayOrder(seller_id=BOB, order_id="o", amount=doge(10)), key="pay"))
    sell = desk.log.append(wire(ReleaseEscrow(escrow_id=id_of(pay)), key="release"))
    paid, released, credited = desk.decide(pay, sell)
    assert (paid.subject, paid.idempotencykey) == (ANN, "pay")
    assert (released.subject, released.idempotencykey) == (ANN, "release")
    assert (credited.subject, credited.idempotencykey) == (BOB, msgspec.UNSET)
    assert b"release" not in bytes(credited.data)


def test_sequence_counts_rejections_and_replays_and_version_counts_neither() -> None:
    desk = Desk()
    records = [desk.log.append(wire(OpenWallet(), key="open")) for _ in range(3)]
    records.append(
        desk.log.append(wire(LockFunds(amount=doge(1), reference_type="auction", reference_id="7")))
    )
    events = desk.decide(*records)
    assert sorted(event.sequence for event in events) == [1, 2, 3, 4]
    assert {event.type for event in events} == {
        "wallet.opened",
        "command.replayed",
        "command.rejected",
    }
    assert desk.ledger.wallet().version == 1


def test_a_wallet_is_opened_once_by_the_first_that_happens_to_it() -> None:
    desk = Desk()
    records = [desk.log.append(wire(OpenWallet())) for _ in range(2)]
    told = [msgspec.json.decode(event.data)["result"] for event in desk.decide(*records)]
    assert [each["created"] for each in told] == [True, False]
    assert desk.ledger.wallet().opened_at == records[0].time


def test_a_wallets_time_does_not_go_back_with_the_brokers_clock() -> None:
    desk = Desk()
    early, late = desk.log.append(wire(OpenWallet())), desk.log.append(wire(OpenWallet()))
    desk.decide(early._replace(time=late.time + 5000), late)
    assert desk.ledger.wallet().time == late.time + 5000


def test_whoever_is_paid_has_seen_the_time_of_the_payment() -> None:
    desk = Desk()
    desk.ledger.fund(100)
    pay = desk.log.append(wire(PayOrder(seller_id=BOB, order_id="o", amount=doge(40))))
    release = desk.log.append(wire(ReleaseEscrow(escrow_id=id_of(pay))))
    desk.decide(pay, release)
    assert (desk.ledger.wallet(BOB).time, desk.ledger.wallet(BOB).opened_at) == (release.time,) * 2


def test_an_entry_bears_its_leg_and_its_own_wallets_version_and_time() -> None:
    desk = Desk()
    desk.ledger.fund(100)
    desk.ledger.wallet(BOB).time = later = 2 * START_MS
    pay = desk.log.append(wire(PayOrder(seller_id=BOB, order_id="o", amount=doge(40))))
    release = desk.log.append(wire(ReleaseEscrow(escrow_id=id_of(pay))))
    (part,) = read_batch([pay, release])
    reference = text_field("escrow") + text_field(id_of(pay))

    def row(record: Record, leg: int, user: str, *told: Any, version: int, time: int) -> bytes:
        number = number_of(Place(record.topic, 1, record.partition, record.offset))
        entry_id, command_id = ((number + each).to_bytes(16, "big") for each in (leg, 0))
        account, entry_type, debit, credit, balance = told
        return entry_row(
            entry_id,
            command_id,
            bytes_of(user),
            account,
            entry_type,
            debit,
            credit,
            balance,
            reference,
            version,
            time,
        )

    lock, sale, fee = "ESCROW_LOCK", "SALE_CREDIT", "FEE_DEBIT"
    all_40, one, rest = doge(40), doge(1), doge(39)
    assert Journal(desk.ledger.books, {}).decide(part, 1).entries == [
        row(pay, 1, ANN, "available", lock, all_40, 0, doge(60), version=3, time=pay.time),
        row(pay, 2, ANN, "escrow", lock, 0, all_40, all_40, version=3, time=pay.time),
        row(release, 1, ANN, "escrow", sale, all_40, 0, 0, version=4, time=release.time),
        row(release, 2, BOB, "available", sale, 0, all_40, all_40, version=1, time=later),
        row(release, 3, BOB, "available", fee, one, 0, rest, version=1, time=later),
        row(release, 4, HOUSE, "fees", fee, 0, one, None, version=0, time=release.time),
    ]


def test_a_fault_of_the_program_names_the_record() -> None:
    desk = Desk()
    del desk.ledger.books.wallets[BOB]
    good, bad = desk.log.append(wire(OpenWallet())), desk.log.append(wire(OpenWallet(), BOB))
    with pytest.raises(Undecidable) as failure:
        desk.decide(good, bad)
    assert failure.value.record == bad
    assert isinstance(failure.value.__cause__, KeyError)
    assert str(bad.offset) in str(failure.value)


def test_all_users_of_the_small_ledger_are_other_partitions_business() -> None:
    log = MemoryLog(1)
    records = [log.append(wire(OpenWallet(), user)) for user in USERS]
    (part,) = read_batch(records)
    assert (part.topic, part.partition) == (CommandTopic.USERS, 0)
    assert (part.first_offset, part.last_offset) == (0, len(USERS) - 1)


@pytest.mark.parametrize("time", [-(10**17), 10**17])
def test_a_record_is_buried_whatever_time_it_claims(time: int) -> None:
    record = Record(0, 0, 0, time, b"key", b"no command")
    journal = Journal(
        BatchBooks(rules=RULES, wallets={}, next_indices=COUNTERS, derive=derived), {}
    )
    (part,) = read_batch([record])
    (letter,) = journal.decide(part, 1).dead_letters
    assert datetime.fromtimestamp(letter.time / 1000, UTC).year in (1, 9999)
