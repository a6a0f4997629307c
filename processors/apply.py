"""Applies a batch of records in one transaction: claim → load → decide → write → stage.

The one impure file of ``processors``. What it stages, the publisher sends once the transaction is
committed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, chain, islice
from typing import NamedTuple

import msgspec

from db.engine import Connection, Cursor
from db.ledger import batches, partitions, reads, rules, writes
from db.together import Answer, Prepared, Together, together
from processors.books import BatchBooks, Derive
from processors.gathering import Wanted, wanted_by
from processors.incoming import Record, Slice, read_batch
from processors.journal import Counts, Journal, SliceJournal
from processors.ledger.decide import LOGIC_VERSION
from processors.telling import MANIFEST_FRAME, Frame, Teller
from schemas.publications import Manifest
from schemas.records import Record as AnyRecord
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


#: Told what a batch will publish, before the database commits it.
Prepare = Callable[[Sequence[StagedSlice]], None]


class Applied(NamedTuple):
    """A committed batch."""

    batch_id: int
    slices: list[StagedSlice]
    counts: Counts
    entries: int


class _Claimed(NamedTuple):
    """What a batch has once its partitions are locked, and before any wallet is."""

    held: dict[Place, partitions.Partition]
    wanted: Wanted
    #: Those who may be paid out of escrows that there are.
    sellers: Collection[str]
    firsts: dict[tuple[str, int, str], reads.First]


class _Batch(NamedTuple):
    """What all slices of a batch have in common."""

    id: int
    #: That it found; a command of its own may set the next one.
    rules_version: int
    unprocessable: Collection[tuple[int, int, int]]


class _Told(NamedTuple):
    """One slice, told: rows of ``commands``, and what is sealed and published of it."""

    commands: list[bytes]
    sealed: batches.Sealed
    staged: StagedSlice


class Applier:
    """Applies batches on one connection of the worker's role, with ``db.plain`` values."""

    def __init__(
        self,
        connection: Connection,
        *,
        owner: str,
        derive: Derive | None = None,
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
        prepare: Prepare = lambda slices: None,
    ) -> Applied:
        """Apply records in one transaction and commit it.

        ``prepare`` is told what will be published, before it is written; unless this returns, it
        must not be.
        Raises ``Fenced`` if a partition is another worker's by now, ``Undecidable`` if a command
        makes the program fail, and those of ``db.failures``; then nothing was written, unless the
        connection broke while COMMIT was under way. ``batch_id`` is given by a rebuild alone.
        """
        slices = read_batch(records, unprocessable)
        with self.connection.transaction(), self.connection.cursor(binary=True) as cursor:
            with together(self.connection) as server:
                claimed = self._claim(server, slices, claims)
                journal, number = self._load(server, claimed, batch_id)
            batch = _Batch(number, journal.books.rules.version, frozenset(unprocessable))
            with writes.writing_entries(cursor) as send:
                journals = self._decide(send, journal, slices, claims)
                telling = self._tell(batch, journals, claimed.held)
                # The server has not taken in all entries yet.
                ahead = list(islice(telling, _half_of(journals)))
            self._step("decided")
            with writes.writing_commands(cursor) as send:
                told = []
                for each in chain(ahead, telling):
                    send(each.commands)
                    told.append(each)
                prepare([each.staged for each in told])
                # Nor all outcomes.
                changes = _changes_of(journal)
            self._write(cursor, batch, journals, changes, [each.sealed for each in told])
            self._step("written")
        # Told only once it is committed: a batch that is rolled back has told nobody.
        rows = [each.sealed.slice for each in told]
        self._told.update((row.topic, row.partition, batch.rules_version) for row in rows)
        self._step("committed")
        staged = [each.staged for each in told]
        return Applied(number, staged, journal.counts, sum(row.entries for row in rows))

    def _claim(
        self, server: Together, slices: Sequence[Slice], claims: Mapping[Place, Claim]
    ) -> _Claimed:
        """Lock partitions and rules, and read what no other batch can change from then on.

        Another worker may hold wallets that are wanted next: what needs none is done by then.
        """
        claimed = [
            (s.topic, s.partition, claims[s.place].epoch, s.first_offset)
            for s in slices
            if s.place in claims
        ]
        if len(claimed) < len(slices):
            raise partitions.Fenced("a record of a partition that is not ours")
        wanted = wanted_by(slices, {s.place: claims[s.place].generation for s in slices})
        held = partitions.claim(server, claimed)
        version = rules.lock_rules(server, to_change=wanted.changes_rules)
        sellers = reads.sellers_of(server, wanted.paying)
        firsts = reads.firsts_of(server, wanted.keys)
        found = held()
        self._step("claimed")
        self._keep_rules(server, version())
        return _Claimed(found, wanted, sellers().values(), firsts())

    def _keep_rules(self, server: Together, version: int) -> None:
        if self._rules is None or self._rules.version != version:
            present = rules.read_rules(server.cursor(), version)
            if self._derive is not None:
                # Fails where another worker has rotated to an account that is unknown here.
                self._derive(present.account_key, 0)
            self._rules = present

    def _load(
        self, server: Together, claimed: _Claimed, batch_id: int | None
    ) -> tuple[Journal, int]:
        """Lock what the batch touches, in the one order that all batches keep, then read it.

        With the batch's number, which is drawn once it has its locks.
        """
        assert self._rules is not None
        wanted = claimed.wanted
        users = wanted.users.union(claimed.sellers, wanted.sellers_in_batch)
        wallets = reads.lock_wallets(server, users)
        next_indices: dict[str, Answer[int]] = {}
        if wanted.assigns_address:
            # The one account is enough: users ask before the treasury rotates (see incoming).
            key = self._rules.account_key
            next_indices[key] = reads.lock_address_counter(server, key)
        number = batches.next_batch_number(server) if batch_id is None else lambda: batch_id
        records: list[Answer[Iterable[AnyRecord]]] = [
            reads.locks_of(server, wanted.locks),
            reads.escrows_of(server, wanted.escrows, wanted.orders),
            reads.withdrawals_of(server, wanted.withdrawals, wanted.pending_of),
            reads.deposits_of(server, wanted.outpoints),
            reads.addresses_of(server, wanted.addresses, wanted.active_of),
            reads.network_fees_of(server, wanted.fee_txids),
        ]
        books = BatchBooks(
            rules=self._rules,
            wallets=wallets(),
            next_indices={key: index() for key, index in next_indices.items()},
            derive=self._derive,
        )
        for found in records:
            books.load(found())
        return Journal(books, claimed.firsts), number()

    def _decide(
        self,
        send: Callable[[Iterable[bytes]], None],
        journal: Journal,
        slices: Sequence[Slice],
        claims: Mapping[Place, Claim],
    ) -> list[SliceJournal]:
        """Decide slice by slice; the server takes in one's entries while the next is decided."""
        journals = []
        for slice_ in slices:
            decided = journal.decide(slice_, claims[slice_.place].generation)
            send(decided.entries)
            self._step("entering")
            journals.append(decided)
        return journals

    def _tell(
        self,
        batch: _Batch,
        journals: Sequence[SliceJournal],
        held: Mapping[Place, partitions.Partition],
    ) -> Iterator[_Told]:
        """Tell slice by slice what was decided: all that it has to publish, with its manifest."""
        spans = tuple(
            (j.slice.topic, j.slice.partition, j.slice.first_offset, j.slice.last_offset)
            for j in journals
        )
        teller = Teller(batch.id)
        for j in journals:
            told = teller.tell(j.decided)
            digest = batches.digest_of([*j.entries, *told.commands])
            chained = batches.chained(held[j.slice.place].chain, digest)
            row = _slice_row(j, len(told.commands), digest, chained)
            told.frames.append(self._manifest(batch, row, spans))
            last = j.slice.items[-1].record
            sealed = batches.Sealed(row, last.digest(), pack_frames(told.frames))
            yield _Told(told.commands, sealed, _staged(j.slice, told.frames))

    def _write(
        self,
        cursor: Cursor,
        batch: _Batch,
        journals: Sequence[SliceJournal],
        changes: Prepared,
        sealed: Sequence[batches.Sealed],
    ) -> None:
        letters = [letter for j in journals for letter in j.dead_letters]
        writes.write_dead_letters(cursor, letters, batch.id)
        with together(self.connection) as server:
            changes.put(server)
            batches.seal(
                server,
                batch.id,
                rules_version=batch.rules_version,
                logic_version=LOGIC_VERSION,
                owner=self._owner,
                sealed=sealed,
            )

    def _manifest(
        self, batch: _Batch, row: batches.Slice, spans: tuple[tuple[int, int, int, int], ...]
    ) -> Frame:
        known = (row.topic, row.partition, batch.rules_version) in self._told
        manifest = Manifest(
            batch_id=batch.id,
            logic_version=LOGIC_VERSION,
            rules_version=batch.rules_version,
            topic=row.topic,
            partition=row.partition,
            generation=row.generation,
            first_offset=row.first_offset,
            last_offset=row.last_offset,
            commands=row.commands,
            entries=row.entries,
            digest=row.digest.hex(),
            chain=row.chain.hex(),
            slices=spans,
            unprocessable=tuple(
                offset
                for topic, partition, offset in sorted(batch.unprocessable)
                if (topic, partition) == (row.topic, row.partition)
                and row.first_offset <= offset <= row.last_offset
            ),
            rules=msgspec.UNSET if known else msgspec.Raw(msgspec.json.encode(self._rules)),
        )
        key = f"{row.topic}:{row.partition}".encode()
        return Frame(MANIFEST_FRAME, key, msgspec.json.encode(manifest))


def _half_of(journals: Sequence[SliceJournal]) -> int:
    """How many of the first slices hold half of the batch, or a little more."""
    sizes = list(accumulate(len(j.decided) for j in journals))
    return bisect_left(sizes, sizes[-1] / 2) + 1


def _changes_of(journal: Journal) -> Prepared:
    """What the batch has made of the books, packed."""
    books, changes = journal.books, Prepared()
    for new, (command_id, time) in zip(books.new_rules, journal.rule_makers, strict=True):
        rules.write_rules(changes, new, command_id, writes.seconds(time))
    writes.update_wallets(changes, journal.touched.values())
    writes.write_locks(changes, books.changed_locks.values(), books.known_locks)
    writes.write_escrows(changes, books.changed_escrows.values())
    writes.write_withdrawals(changes, books.changed_withdrawals.values())
    writes.write_deposits(changes, books.changed_deposits.values())
    if books.changed_addresses:
        writes.write_addresses(changes, books.changed_addresses.values())
        for account_key, index in books.moved_indices.items():
            writes.write_address_counter(changes, account_key, index)
    writes.write_network_fees(changes, books.changed_network_fees.values())
    return changes


def _slice_row(journal: SliceJournal, commands: int, digest: bytes, chain: bytes) -> batches.Slice:
    part = journal.slice
    return batches.Slice(
        part.topic,
        part.partition,
        journal.generation,
        part.first_offset,
        part.last_offset,
        commands,
        len(journal.entries),
        digest,
        chain,
    )


def _staged(part: Slice, frames: list[Frame]) -> StagedSlice:
    return StagedSlice(part.topic, part.partition, part.first_offset, part.last_offset + 1, frames)


def pack_frames(frames: Sequence[Frame]) -> bytes:
    """Frames as the outbox keeps them."""
    return msgspec.msgpack.encode(frames)


def unpack_frames(packed: bytes) -> list[Frame]:
    """Frames from the outbox."""
    return msgspec.msgpack.decode(packed, type=list[Frame])
