"""Applies a batch of records in one transaction: claim → load → decide → write → stage.

The one impure file of ``processors``. What it stages, the publisher sends once the transaction is
committed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import msgspec

from db import batches, partitions, reads, rules, writes
from db.engine import Connection, Cursor
from processors.books import BatchBooks
from processors.gathering import Wanted, wanted_by
from processors.incoming import Record, Slice, read_batch
from processors.journal import (
    MANIFEST_FRAME,
    Counts,
    Frame,
    Journal,
    SliceJournal,
)
from processors.ledger.decide import LOGIC_VERSION
from schemas.publications import Manifest
from schemas.records import Rules

Place = tuple[int, int]

#: Called at named steps, so that a test can kill the process exactly there.
Step = Callable[[str], None]


class Claim(NamedTuple):
    """A partition that this worker has taken over."""

    epoch: int
    generation: int


class StagedSlice(NamedTuple):
    """What one slice has to publish, and the offset that is committed with it."""

    topic: int
    partition: int
    first_offset: int
    next_offset: int
    frames: list[Frame]


class Applied(NamedTuple):
    """A committed batch."""

    batch_id: int
    slices: list[StagedSlice]
    counts: Counts
    entries: int


class Applier:
    """Applies batches on one connection of the worker's role, with ``db.plain`` values."""

    def __init__(
        self,
        connection: Connection,
        *,
        owner: str,
        derive: Callable[[int], str] | None = None,
        step: Step = lambda name: None,
    ) -> None:
        self.connection = connection
        self._owner = owner
        self._derive = derive
        self._step = step
        self._rules: Rules | None = None
        #: Rules versions that a partition's manifests have carried in full.
        self._told: set[tuple[int, int, int]] = set()

    def apply(
        self,
        records: Collection[Record],
        claims: Mapping[Place, Claim],
        *,
        unprocessable: Collection[tuple[int, int, int]] = (),
        batch_id: int | None = None,
    ) -> Applied:
        """Apply records in one transaction and commit it.

        Raises ``Fenced`` if a partition is another worker's by now, ``Undecidable`` if a command
        makes the program fail, and those of ``db.failures``; then nothing was written, unless the
        connection broke while COMMIT was under way. ``batch_id`` is given by a rebuild alone.
        """
        slices = read_batch(records, unprocessable)
        with self.connection.transaction(), self.connection.cursor(binary=True) as cursor:
            held = self._claim(cursor, slices, claims)
            self._step("claimed")
            journal = self._load(cursor, slices, claims, batch_id)
            rules_version = journal.books.rules.version
            journals = self._decide(cursor, journal, slices, claims)
            self._step("decided")
            applied = self._write(cursor, journal, journals, held, rules_version, unprocessable)
            self._step("written")
        # Told only once it is committed: a batch that is rolled back has told nobody.
        self._told.update((s.topic, s.partition, rules_version) for s in applied.slices)
        self._step("committed")
        return applied

    def _claim(
        self, cursor: Cursor, slices: Sequence[Slice], claims: Mapping[Place, Claim]
    ) -> dict[Place, partitions.Partition]:
        wanted = [
            (s.topic, s.partition, claims[s.place].epoch, s.first_offset)
            for s in slices
            if s.place in claims
        ]
        if len(wanted) < len(slices):
            raise partitions.Fenced("a record of a partition that is not ours")
        return {(p.topic, p.partition): p for p in partitions.claim(cursor, wanted)}

    def _load(
        self,
        cursor: Cursor,
        slices: Sequence[Slice],
        claims: Mapping[Place, Claim],
        batch_id: int | None,
    ) -> Journal:
        """Lock what the batch touches, in the one order that all batches keep, then read it."""
        generations = {slice_.place: claims[slice_.place].generation for slice_ in slices}
        wanted = wanted_by(slices, generations)
        present = self._lock_rules(cursor, wanted)
        # Before the wallets' locks, since it tells which those are: who sells never changes.
        sellers = reads.sellers_of(cursor, wanted.paying).values()
        users = wanted.users.union(sellers, wanted.sellers_in_batch)
        wallets = reads.lock_wallets(cursor, users)
        next_index = 0
        if wanted.assigns_address:
            next_index = reads.lock_address_counter(cursor, present.account_key)
        number = batch_id or batches.next_batch_number(cursor)
        firsts = reads.firsts_of(cursor, wanted.keys)
        books = BatchBooks(
            rules=present, wallets=wallets, next_index=next_index, derive=self._derive
        )
        books.load(reads.locks_of(cursor, wanted.locks))
        books.load(reads.escrows_of(cursor, wanted.escrows, wanted.orders))
        books.load(reads.withdrawals_of(cursor, wanted.withdrawals, wanted.pending_of))
        books.load(reads.deposits_of(cursor, wanted.outpoints))
        books.load(reads.addresses_of(cursor, wanted.addresses, wanted.active_of))
        books.load(reads.network_fees_of(cursor, wanted.fee_txids))
        return Journal(books, firsts, number)

    def _lock_rules(self, cursor: Cursor, wanted: Wanted) -> Rules:
        version = rules.lock_rules(cursor, to_change=wanted.changes_rules)
        if self._rules is None or self._rules.version != version:
            self._rules = rules.read_rules(cursor, version)
        return self._rules

    def _decide(
        self,
        cursor: Cursor,
        journal: Journal,
        slices: Sequence[Slice],
        claims: Mapping[Place, Claim],
    ) -> list[SliceJournal]:
        """Decide slice by slice; the server takes in one's entries while the next is decided."""
        journals = []
        with writes.writing_entries(cursor) as send:
            for slice_ in slices:
                decided = journal.decide(slice_, claims[slice_.place].generation)
                send(decided.entries)
                self._step("entering")
                journals.append(decided)
        return journals

    def _write(
        self,
        cursor: Cursor,
        journal: Journal,
        journals: Sequence[SliceJournal],
        held: Mapping[Place, partitions.Partition],
        rules_version: int,
        unprocessable: Collection[tuple[int, int, int]],
    ) -> Applied:
        batch_id = journal.batch_id
        self._write_books(cursor, journal)
        writes.write_commands(cursor, [row for j in journals for row in j.commands])
        letters = [letter for j in journals for letter in j.dead_letters]
        writes.write_dead_letters(cursor, letters, batch_id)
        rows = [_slice_row(j, held[j.slice.place]) for j in journals]
        batches.write_batch(
            cursor,
            batch_id,
            rules_version=rules_version,
            logic_version=LOGIC_VERSION,
            owner=self._owner,
            slices=rows,
        )
        for j, row in zip(journals, rows, strict=True):
            j.frames.append(self._manifest(batch_id, row, rows, rules_version, unprocessable))
        staged = [_staged(j) for j in journals]
        batches.write_outbox(cursor, [_outbox_row(batch_id, s) for s in staged])
        progress = [_progress(j, row) for j, row in zip(journals, rows, strict=True)]
        partitions.advance(cursor, progress)
        partitions.notify_passed(cursor, progress)
        return Applied(batch_id, staged, journal.counts, sum(row.entries for row in rows))

    def _write_books(self, cursor: Cursor, journal: Journal) -> None:
        books = journal.books
        for new, (command_id, time) in zip(books.new_rules, journal.rule_makers, strict=True):
            rules.write_rules(cursor, new, command_id, writes.seconds(time))
        writes.update_wallets(cursor, journal.touched.values())
        writes.write_locks(cursor, books.changed_locks.values(), books.known_locks)
        writes.write_escrows(cursor, books.changed_escrows.values())
        writes.write_withdrawals(cursor, books.changed_withdrawals.values())
        writes.write_deposits(cursor, books.changed_deposits.values())
        if books.changed_addresses:
            writes.write_addresses(cursor, books.changed_addresses.values())
            writes.write_address_counter(cursor, books.rules.account_key, books.next_index)
        writes.write_network_fees(cursor, books.changed_network_fees.values())

    def _manifest(
        self,
        batch_id: int,
        row: batches.Slice,
        rows: Sequence[batches.Slice],
        rules_version: int,
        unprocessable: Collection[tuple[int, int, int]],
    ) -> Frame:
        known = (row.topic, row.partition, rules_version) in self._told
        manifest = Manifest(
            batch_id=batch_id,
            logic_version=LOGIC_VERSION,
            rules_version=rules_version,
            topic=row.topic,
            partition=row.partition,
            generation=row.generation,
            first_offset=row.first_offset,
            last_offset=row.last_offset,
            commands=row.commands,
            entries=row.entries,
            digest=row.digest.hex(),
            chain=row.chain.hex(),
            slices=tuple((r.topic, r.partition, r.first_offset, r.last_offset) for r in rows),
            unprocessable=tuple(
                offset
                for topic, partition, offset in sorted(unprocessable)
                if (topic, partition) == (row.topic, row.partition)
                and row.first_offset <= offset <= row.last_offset
            ),
            rules=msgspec.UNSET if known else msgspec.Raw(msgspec.json.encode(self._rules)),
        )
        key = f"{row.topic}:{row.partition}".encode()
        return Frame(MANIFEST_FRAME, key, msgspec.json.encode(manifest))


def _slice_row(journal: SliceJournal, before: partitions.Partition) -> batches.Slice:
    digest = batches.digest_of([*journal.entries, *journal.commands])
    return batches.Slice(
        journal.slice.topic,
        journal.slice.partition,
        journal.generation,
        journal.slice.first_offset,
        journal.slice.last_offset,
        len(journal.commands),
        len(journal.entries),
        digest,
        batches.chained(before.chain, digest),
    )


def _staged(journal: SliceJournal) -> StagedSlice:
    part = journal.slice
    return StagedSlice(
        part.topic, part.partition, part.first_offset, part.last_offset + 1, journal.frames
    )


def _outbox_row(batch_id: int, staged: StagedSlice) -> batches.Frames:
    return batches.Frames(
        batch_id,
        staged.topic,
        staged.partition,
        staged.first_offset,
        staged.next_offset - 1,
        pack_frames(staged.frames),
    )


def _progress(journal: SliceJournal, row: batches.Slice) -> partitions.Progress:
    return partitions.Progress(
        row.topic,
        row.partition,
        row.last_offset + 1,
        row.last_offset,
        journal.slice.items[-1].record.digest(),
        row.chain,
    )


def pack_frames(frames: Sequence[Frame]) -> bytes:
    """Frames as the outbox keeps them."""
    return msgspec.msgpack.encode(frames)


def unpack_frames(packed: bytes) -> list[Frame]:
    """Frames from the outbox."""
    return msgspec.msgpack.decode(packed, type=list[Frame])
