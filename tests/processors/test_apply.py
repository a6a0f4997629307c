"""Batches on a real database: each record has one outcome, whatever it stands next to."""

from __future__ import annotations

import random
from itertools import islice

import psycopg
import pytest

from db.ledger.batches import digest_of
from db.ledger.partitions import Fenced
from processors.incoming import Record, Undecidable
from schemas.amounts import Share
from schemas.commands import (
    AssignAddress,
    CancelWithdrawal,
    ClaimWithdrawal,
    ConfirmationTier,
    LockFunds,
    OpenWallet,
    PayOrder,
    ReleaseEscrow,
    RequestWithdrawal,
    SetRules,
)
from schemas.envelope import read_command
from schemas.ids import EVENT_LEG, number_of, place_of, text_of
from schemas.rejections import Rejection
from schemas.samples import WRECKS
from schemas.topics import CommandTopic
from streams.loadgen.pieces import Shares
from streams.loadgen.plan import Layout, Script
from tests.conftest import Database
from tests.support.books import ANN, BOB, CAT, ELSEWHERE, RULES, doge
from tests.support.commands import Wire, id_of, wire
from tests.support.till import Till, till_on

pytestmark = pytest.mark.timeout(300)


def lock(amount: float, reference: str = "7") -> LockFunds:
    return LockFunds(amount=doge(amount), reference_type="auction", reference_id=reference)


# ---------------------------------------------------------------------- duplicates and keys


def test_a_duplicate_in_the_same_batch_is_replayed_and_moves_nothing(till: Till) -> None:
    till.fund(100)
    first, second, third = (till.put(lock(10), key="bid") for _ in range(3))
    till.apply(first, second, third)
    assert [till.outcome(record)[0] for record in (first, second, third)] == [
        "accepted",
        "replayed",
        "replayed",
    ]
    assert till.balance() == (doge(90), doge(10), 0, 0)


def test_a_duplicate_in_a_later_batch_is_replayed_and_names_the_first(till: Till) -> None:
    till.fund(100)
    first = till.do(lock(10), key="bid")
    second = till.put(lock(10), key="bid")
    till.apply(second)
    assert till.outcome(second) == ("replayed", None)
    assert till.value("SELECT first_id::text FROM commands WHERE id = %s", id_of(second)) == id_of(
        first
    )
    assert till.balance() == (doge(90), doge(10), 0, 0)


def test_a_rejections_duplicate_is_a_replay_with_its_code_even_when_it_could_be_paid_now(
    till: Till,
) -> None:
    first, twin = till.put(lock(10), key="bid"), till.put(lock(10), key="bid")
    till.apply(first, twin)
    till.fund(100)
    late = till.put(lock(10), key="bid")
    till.apply(late)
    assert till.outcome(first) == ("rejected", "insufficient_funds")
    assert till.outcome(twin) == till.outcome(late) == ("replayed", "insufficient_funds")
    assert till.balance() == (doge(100), 0, 0, 0)


def test_a_key_is_not_used_for_another_request_neither_in_a_batch_nor_later(till: Till) -> None:
    till.fund(100)
    first, other = till.put(lock(10), key="bid"), till.put(lock(11), key="bid")
    till.apply(first, other)
    later = till.put(PayOrder(seller_id=BOB, order_id="o", amount=doge(1)), key="bid")
    same = till.put(lock(10), key="bid")
    till.apply(later, same)
    assert till.outcome(first) == ("accepted", None)
    assert till.outcome(other) == till.outcome(later) == ("key_reused", "key_reused")
    assert till.outcome(same) == ("replayed", None)
    assert till.balance() == (doge(90), doge(10), 0, 0)


def test_a_key_belongs_to_its_user_and_topic(till: Till) -> None:
    till.fund(100)
    mine, elsewhere = till.put(lock(10), key="k"), till.put(OpenWallet(), key="k")
    somebodys = till.put(lock(10), BOB, key="k")
    till.apply(mine, elsewhere, somebodys)
    assert till.outcome(mine) == till.outcome(elsewhere) == ("accepted", None)
    assert till.outcome(somebodys) == ("rejected", "insufficient_funds")


def test_the_same_amount_written_otherwise_is_the_same_request(till: Till) -> None:
    till.fund(100)
    first = till.do(lock(10), key="bid")
    record = wire(lock(10), key="bid")
    longhand = record.value.replace(b'"10.00000000"', b'"10"')
    assert longhand != record.value
    second = till.log.append(record._replace(value=longhand))
    till.apply(second)
    assert (till.outcome(first)[0], till.outcome(second)[0]) == ("accepted", "replayed")


# ---------------------------------------------------------------------- order and mixture


def test_records_in_any_order_come_to_the_same_bytes(database: Database, till: Till) -> None:
    till.fund(100)
    records = [
        till.put(data, user, key=f"{place}")
        for place, (data, user) in enumerate(
            [(lock(10), ANN), (OpenWallet(), BOB), (lock(95), ANN), (OpenWallet(), CAT)]
            + [(PayOrder(seller_id=CAT, order_id=str(n), amount=doge(1)), ANN) for n in range(5)]
        )
    ]
    random.Random(3).shuffle(records)
    slices = till.apply(*records).slices
    assert [(s.topic, s.partition) for s in slices] == sorted(
        (s.topic, s.partition) for s in slices
    )
    assert {till.outcome(record)[0] for record in records} == {"accepted", "rejected"}
    for staged in slices:
        events = [frame for frame in staged.frames if frame.kind == 0]
        assert len(events) == len(
            [r for r in records if (r.topic, r.partition) == (staged.topic, staged.partition)]
        )


def script_of(till: Till, seed: int, users: int = 8) -> Script:
    """A marketplace of which each outcome is known beforehand, its users' addresses given."""
    made = Script(
        seed,
        users,
        Layout(till.log.partitions),
        Shares(duplicates=0.15, overdrafts=0.05, malformed=0.05),
    )
    with psycopg.connect(till.connection.info.dsn, password="test") as connection:
        connection.cursor().executemany(
            "INSERT INTO deposit_addresses VALUES (%s, %s, 'made up', 0, %s, true, now())",
            [(p.address, p.user_id, p.number) for p in made.players],
        )
    return made


@pytest.mark.parametrize("seed", [1, 2])
def test_a_marketplace_comes_to_what_was_planned_however_it_is_cut_into_batches(
    till: Till, seed: int
) -> None:
    chance = random.Random(seed)
    script = script_of(till, seed)
    expected: dict[Record, str] = {}
    waiting: dict[tuple[int, int], list[Record]] = {}
    for stage in (script.funding(), islice(script.marketplace(), 400)):
        for planned in stage:
            record = till.log.append(Wire(planned.topic, planned.key, planned.value))
            expected[record] = planned.expected
            waiting.setdefault((record.topic, record.partition), []).append(record)
        while waiting:
            batch: list[Record] = []
            for place in chance.sample(sorted(waiting), chance.randint(1, len(waiting))):
                size = chance.randint(1, 20)
                batch += waiting[place][:size]
                waiting[place] = waiting[place][size:]
                if not waiting[place]:
                    del waiting[place]
            chance.shuffle(batch)
            till.apply(*batch)
    wrong = {
        record[:3]: (outcome, expectation)
        for record, expectation in expected.items()
        if (outcome := till.outcome(record)) and expectation not in outcome
    }
    assert not wrong
    assert len(till.manifests()) == till.value("SELECT count(*) FROM batch_slices")


def test_no_batch_reads_a_table_from_end_to_end(till: Till) -> None:
    script = script_of(till, seed=3)
    for stage in (script.funding(), islice(script.marketplace(), 400)):
        waiting = [till.log.append(Wire(p.topic, p.key, p.value)) for p in stage]
        for start in range(0, len(waiting), 100):
            till.apply(*waiting[start : start + 100])
    till.connection.execute("SELECT pg_stat_force_next_flush()")
    read = """
        SELECT string_agg(relname, ' ') FROM pg_stat_user_tables
         WHERE seq_scan > 0 AND relname IN ('commands', 'wallets', 'deposits', 'withdrawals',
               'escrows', 'locks', 'deposit_addresses', 'entries', 'outbox')
    """
    assert till.value(read) is None


def test_dead_letters_between_good_ones_are_kept_as_they_came(till: Till) -> None:
    till.fund(100)
    good, bad = [], {}
    for code, wreck in WRECKS.items():
        if code is Rejection.UNPROCESSABLE or not wreck.placed:
            continue
        good.append(till.put(lock(1)))
        record = till.log.append(Wire(wreck.topic, wreck.key or b"", wreck.value or b""))
        bad[record] = code
    misplaced = till.log.append(
        wire(lock(1), BOB), partition=(till.put(lock(1), BOB).partition + 1) % 4
    )
    bad[misplaced] = Rejection.MISPLACED
    till.apply(*good, *bad)
    assert {till.outcome(record)[0] for record in good} == {"accepted"}
    assert {record: till.outcome(record) for record in bad} == {
        record: ("dead", code.value) for record, code in bad.items()
    }
    kept = {
        str(ident): (topic, partition, offset, key, value)
        for ident, topic, partition, offset, key, value in till.rows(
            'SELECT id, topic, partition, "offset", key, value FROM dead_letters'
        )
    }
    assert kept == {id_of(r): (r.topic, r.partition, r.offset, r.key, r.value) for r in bad}
    assert {letter.id: letter.code for letter in till.letters()} == {
        id_of(record): code.value for record, code in bad.items()
    }


def test_gaps_in_the_offsets_are_no_records_and_no_fault(till: Till) -> None:
    till.fund(100)
    till.log.append(wire(lock(1)), gap=3)
    far = till.log.append(wire(lock(1)), gap=1000)
    applied = till.apply(far)
    assert applied.slices[0].next_offset == far.offset + 1
    assert till.outcome(far)[0] == "accepted"


# ---------------------------------------------------------------------- what is written


def test_ids_of_entries_and_events_are_the_commands_place_with_a_leg(till: Till) -> None:
    till.fund(100)
    paid = till.do(PayOrder(seller_id=BOB, order_id="o1", amount=doge(40)))
    released = till.do(ReleaseEscrow(escrow_id=id_of(paid)))
    place, leg = place_of(id_of(released))
    assert (tuple(place), leg) == ((0, 1, released.partition, released.offset), 0)
    ids = [
        str(ident)
        for (ident,) in till.rows(
            "SELECT id FROM entries WHERE command_id = %s ORDER BY id", id_of(released)
        )
    ]
    assert ids == [text_of(number_of(place, leg)) for leg in range(1, len(ids) + 1)]
    own, sellers = till.events()[-2:]
    assert [own.id, sellers.id] == [
        text_of(number_of(place, EVENT_LEG)),
        text_of(number_of(place, EVENT_LEG + 1)),
    ]
    assert (own.subject, sellers.subject) == (ANN, BOB)
    assert (own.type, sellers.type) == ("escrow.released", "sale.credited")
    assert own.causationid == sellers.causationid == id_of(released)


def test_the_document_that_is_kept_is_the_one_that_is_published(till: Till) -> None:
    till.fund(100)
    records = [till.put(lock(10), key="a"), till.put(lock(10), key="a"), till.put(lock(1000))]
    till.apply(*records)
    events = {event.causationid: event for event in till.events()}
    for record in records:
        kept = till.value("SELECT document::text FROM commands WHERE id = %s", id_of(record))
        assert kept.encode() == bytes(events[id_of(record)].data)


def test_a_users_time_never_goes_back(till: Till) -> None:
    till.fund(100)
    ahead = till.put(lock(1))
    till.apply(ahead._replace(time=ahead.time + 60_000))
    behind = till.do(lock(1))
    times = till.rows(
        "SELECT DISTINCT decided_at FROM commands WHERE id = ANY(%s)", [id_of(ahead), id_of(behind)]
    )
    assert len(times) == 1


def test_the_rules_change_in_the_middle_of_a_batch_and_the_manifests_tell(till: Till) -> None:
    till.fund(100)
    new = SetRules(
        escrow_fee_basis_points=0,
        withdrawal_fee=Share(doge(2)),
        withdrawal_minimum=doge(1),
        withdrawal_maximum=doge(1000),
        deposit_minimum=Share(0),
        confirmations=(ConfirmationTier(exposure=Share(0), confirmations=3),),
    )
    request = RequestWithdrawal(amount=doge(10), address=ELSEWHERE)
    # Within a batch the users' topic is decided before the treasury's.
    before, change = till.put(request), till.put(new)
    again = till.put(new)
    batch = till.apply(before, change, again)
    after = till.do(request)
    assert till.outcome(change) == till.outcome(again) == ("accepted", None)
    assert till.rows("SELECT fee FROM withdrawals ORDER BY id") == [(doge(1),), (doge(2),)]
    assert till.rows("SELECT version, command_id::text FROM rules ORDER BY version") == [
        (1, None),
        (2, id_of(change)),
        (3, id_of(again)),
    ]
    told = {m.batch_id: m for m in till.manifests() if m.topic == CommandTopic.USERS}
    assert told[batch.batch_id].rules_version == RULES.version
    last = told[max(told)]
    assert (last.rules_version, last.first_offset) == (3, after.offset)
    assert b'"withdrawal_fee":200000000' in bytes(last.rules or b"")


def test_rules_are_told_in_full_once_for_each_partition(till: Till) -> None:
    for _ in range(3):
        till.apply(till.put(OpenWallet()), till.put(OpenWallet(), BOB))
    in_full: dict[tuple[int, int], list[bool]] = {}
    for manifest in till.manifests():
        known = in_full.setdefault((manifest.topic, manifest.partition), [])
        known.append(bool(manifest.rules))
    assert in_full
    for told in in_full.values():
        assert told == [True] + [False] * (len(told) - 1)


def test_addresses_are_numbered_without_gaps_even_after_a_batch_that_failed(till: Till) -> None:
    till.do(AssignAddress())

    def fail(name: str) -> None:
        if name == "written":
            raise ConnectionAbortedError

    till.on_step = fail
    record = till.put(AssignAddress(), BOB)
    with pytest.raises(ConnectionAbortedError):
        till.apply(record)
    till.on_step = lambda name: None
    till.apply(record, till.put(AssignAddress(), CAT), till.put(AssignAddress(rotate=True)))
    assert till.rows("SELECT derivation_index FROM deposit_addresses ORDER BY 1") == [
        (0,),
        (1,),
        (2,),
        (3,),
    ]


# ---------------------------------------------------------------------- refused as a whole


@pytest.mark.parametrize("step", ["claimed", "decided", "written"])
def test_a_batch_that_breaks_off_before_its_commit_leaves_nothing(till: Till, step: str) -> None:
    till.fund(100)
    before = _everything(till)
    record = till.put(lock(10))

    def fail(name: str) -> None:
        if name == step:
            raise ConnectionAbortedError

    till.on_step = fail
    with pytest.raises(ConnectionAbortedError):
        till.apply(record)
    assert _everything(till) == before
    till.on_step = lambda name: None
    till.apply(record)
    assert till.outcome(record)[0] == "accepted"


def _everything(till: Till) -> dict[str, list[tuple[object, ...]]]:
    tables = ("wallets", "entries", "commands", "locks", "partitions", "batch_slices", "outbox")
    return {table: till.rows(f"SELECT * FROM {table} t ORDER BY t::text") for table in tables}


def test_a_former_owner_writes_nothing_more(database: Database, till: Till) -> None:
    till.fund(100)
    record = till.put(lock(10))
    old = dict(till.claims)
    with till_on(database, till.log) as successor:
        successor.take_over([record.partition])
        with pytest.raises(Fenced):
            till.applier.apply([record], old)
        successor.apply(record)
        till.told += successor.told
    with pytest.raises(Fenced):
        till.applier.apply([till.put(lock(10))], old)
    with pytest.raises(Fenced, match="not ours"):
        till.applier.apply([till.put(lock(10))], {})
    assert till.balance() == (doge(90), doge(10), 0, 0)


def test_the_same_records_are_not_applied_twice(till: Till) -> None:
    till.fund(100)
    record = till.do(lock(10))
    with pytest.raises(Fenced):
        till.apply(record)
    assert till.balance() == (doge(90), doge(10), 0, 0)


def test_a_command_that_makes_the_program_fail_is_named_and_can_be_set_apart(
    database: Database, till: Till
) -> None:
    till.fund(100)
    till.applier = type(till.applier)(till.connection, owner="till")  # It derives no addresses.
    good, bad = till.put(lock(10)), till.put(AssignAddress(), BOB)
    with pytest.raises(Undecidable) as failure:
        till.apply(good, bad)
    assert failure.value.record == bad
    applied = till.applier.apply([good, bad], till.claims, unprocessable={bad[:3]})
    till.told += applied.slices
    assert till.outcome(good) == ("accepted", None)
    assert till.outcome(bad) == ("dead", "unprocessable")
    assert [m.unprocessable for m in till.manifests() if m.batch_id == applied.batch_id] == [
        (),
        (bad.offset,),
    ]


def test_a_record_that_makes_the_reading_fail_is_named_and_can_be_set_apart(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, placed: bool) -> object:
        if arguments[2] == bad.value:
            raise ZeroDivisionError
        return read_command(*arguments, placed=placed)  # type: ignore[arg-type]

    till.fund(100)
    good, bad = till.put(lock(10)), till.put(lock(20, "8"))
    monkeypatch.setattr("processors.incoming.read_command", fail)
    with pytest.raises(Undecidable) as failure:
        till.apply(good, bad)
    assert failure.value.record == bad
    till.told += till.applier.apply([good, bad], till.claims, unprocessable={bad[:3]}).slices
    assert till.outcome(good) == ("accepted", None)
    assert till.outcome(bad) == ("dead", "unprocessable")


def test_a_digest_covers_entries_and_outcomes_in_the_order_of_the_log() -> None:
    assert digest_of([b"entry", b"command"]) != digest_of([b"command", b"entry"])


# ---------------------------------------------------------------------- cancel against claim


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("first", ["cancel", "claim"])
def test_of_cancel_and_claim_one_alone_is_accepted(till: Till, first: str, together: bool) -> None:
    till.fund(100)
    withdrawal = id_of(till.do(RequestWithdrawal(amount=doge(10), address=ELSEWHERE)))
    cancel = till.put(CancelWithdrawal(withdrawal_id=withdrawal))
    claim = till.put(ClaimWithdrawal(withdrawal_id=withdrawal))
    order = [cancel, claim] if first == "cancel" else [claim, cancel]
    if together:
        till.apply(*order)
        # Within a batch the users' topic comes first, whatever the records' order.
        order = [cancel, claim]
    else:
        for record in order:
            till.apply(record)
    assert till.outcome(order[0]) == ("accepted", None)
    assert till.outcome(order[1]) == ("rejected", "withdrawal_wrong_status")
    cancelled = order[0] is cancel
    status = till.value("SELECT status::text FROM withdrawals")
    assert status == ("FAILED" if cancelled else "PROCESSING")
    assert till.balance() == ((doge(100), 0, 0, 0) if cancelled else (doge(89), 0, 0, doge(11)))
