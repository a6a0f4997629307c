"""Publishes committed batches: events, manifests and offsets in one Kafka transaction.

A thread of its own waits for the broker, so that the database works on the next batches meanwhile.
What they stage in that time goes out together in the next transaction, so nobody who waits for an
outcome waits for a publication. The thread never touches the consumer.

A small batch's transaction is prepared while the database still writes: all of it is brought to the
broker, and committed there once it is committed here. Nobody can read it before.
"""

from __future__ import annotations

import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from processors.apply import StagedSlice
from processors.telling import DEAD_LETTER_FRAME, EVENT_FRAME, MANIFEST_FRAME, Frame
from schemas.settings import Settings
from schemas.topics import BATCHES, DEAD_LETTERS, EVENTS, CommandTopic, topic_name
from streams.kafka.config import TRANSACTION_TIMEOUT_MS, KafkaUnavailable
from streams.kafka.produce import Outgoing, PublishRefused, TransactionalProducer

Step = Callable[[str], None]

#: A publication takes milliseconds; one that takes so long is waiting for a broker.
_STALLED_SECONDS: Final = 2.0
#: Producers that take turns. A commit is answered before its markers are written, and the same
#: producer's next transaction would meet them, be refused, and ask again and again. Measured back
#: to back: 5.8 ms, 27 ms at p99, by one producer; 3.5 and 6.4 ms by two.
_TURNS: Final = 2
#: Commands of a batch that is prepared. A transaction that is open keeps the readers of its
#: partitions waiting, and a larger batch takes the database longer.
PREPARED_MAX: Final = 100
#: After its time-out the broker has ended the transaction itself: no good answer can come later.
GIVE_UP_SECONDS: Final = TRANSACTION_TIMEOUT_MS / 1000 + 5.0


class _GivenUp(Exception):
    """The call that did not come back came back after all; nothing may follow from it."""


class _Consent:
    """Whether what was prepared is to be committed; whoever asks waits until it is known."""

    def __init__(self) -> None:
        self._known = threading.Event()
        self._given = False

    def tell(self, given: bool) -> None:
        """It is known now."""
        self._given = given
        self._known.set()

    def given(self) -> bool:
        """Wait for it, as long as it takes: the broker ends a transaction that is open too long."""
        self._known.wait()
        return self._given


class _Job(NamedTuple):
    offsets: list[tuple[str, int, int]]
    group_metadata: object
    consent: _Consent | None


class _Committer:
    """A thread that commits what a producer has begun, one transaction at a time."""

    def __init__(self, producer: TransactionalProducer, step: Step) -> None:
        self.producer = producer
        #: Set while nothing is under way; the failure of what was, to be taken once.
        self.done = threading.Event()
        self.done.set()
        self.failure: BaseException | None = None
        self._step = step
        self._given_up = False
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._thread.start()

    def commit(self, job: _Job) -> None:
        """Begin to wait for the broker."""
        self.done.clear()
        self._jobs.put(job)

    def give_up(self) -> None:
        """Wait no longer: the thread ends whenever the library lets go of it, if ever."""
        self._given_up = True
        self._jobs.put(None)

    def close(self) -> None:
        """Let what is under way come to its end, then stop."""
        self._jobs.put(None)
        self._thread.join()
        self.producer.close()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                agreed = job.consent.given if job.consent is not None else None
                if self.producer.commit(
                    job.offsets, job.group_metadata, before_commit=self._at, agreed=agreed
                ):
                    self._step("published")
            except BaseException as error:  # noqa: BLE001 - told to the worker by settle()
                self.failure = error
            finally:
                self.done.set()

    def _at(self, step: str) -> None:
        self._step(step)
        if self._given_up:
            raise _GivenUp(step)


class Publisher:
    """Sends what is submitted, in order; one transaction is under way at a time.

    The next one is another producer's, and begins when the one before is committed for certain, its
    markers written or not.
    """

    def __init__(self, settings: Settings, *, step: Step = lambda name: None) -> None:
        self._settings = settings
        self._step = step
        self._topics = {
            EVENT_FRAME: topic_name(settings, EVENTS),
            DEAD_LETTER_FRAME: topic_name(settings, DEAD_LETTERS),
            MANIFEST_FRAME: topic_name(settings, BATCHES),
        }
        self._commands = {code: topic_name(settings, code) for code in CommandTopic}
        # An id of its own for each process: a dead worker's open transaction ends by its time-out,
        # and a living one's is never ended by a neighbour. The next producer of this process ends
        # what the one before it left open.
        self._name = f"{settings.topic_prefix}{settings.group}-{uuid.uuid4().hex[:12]}"
        self._committers: list[_Committer | None] = [None] * _TURNS
        #: Whose the last transaction is.
        self._turn = 0
        #: Staged since the transaction under way was begun, and the group's metadata with it.
        self._waiting: list[StagedSlice] = []
        self._group_metadata: object = None
        #: Of what is prepared.
        self._consent: _Consent | None = None
        self._under_way: dict[tuple[int, int], int] = {}
        #: The next offset of each partition, up to which all is published.
        self.published: dict[tuple[int, int], int] = {}
        self._begun = 0.0

    def prepare(self, slices: Sequence[StagedSlice], group_metadata: object) -> None:
        """Bring to the broker what the database is about to commit, if that is worth while.

        It is if the batch is small and the broker free. ``submit`` of the same slices must follow,
        or ``retract``. Raises ``PublishRefused`` or ``KafkaUnavailable`` where no transaction can
        be begun.
        """
        if _commands_in(slices) > PREPARED_MAX or self._waiting or self._is_under_way():
            return
        if self._committer is not None and self._committer.failure is not None:
            # Told when the batch is submitted: the database may have it all the same.
            return
        self._conclude()
        consent = _Consent()
        self._begin(slices, group_metadata, consent)
        self._consent = consent

    def retract(self) -> None:
        """What was prepared, if anything, is not to be published: the database did not commit."""
        consent, self._consent = self._consent, None
        if consent is not None:
            self._under_way = {}
            consent.tell(False)

    def submit(self, slices: Sequence[StagedSlice], group_metadata: object) -> None:
        """Publish these after all that came before: now, or once the broker is free.

        If they were prepared, all that is left is to commit them.
        All that waits together must be of one generation of the group: a rebalance settles first.
        Waits itself where as much as a full batch is waiting. Raises what ``settle`` does.
        """
        consent, self._consent = self._consent, None
        if consent is not None:
            # So long it was the database that was waited for.
            self._begun = time.monotonic()
            consent.tell(True)
        else:
            self._waiting.extend(slices)
            self._group_metadata = group_metadata
        if _commands_in(self._waiting) >= self._settings.batch_max:
            self._await()
        self.advance()

    def advance(self) -> None:
        """Begin to publish what waits if the broker is free; never waits itself.

        The records are queued here, their commit is waited for in the background. Raises
        ``PublishRefused`` if the former transaction was, or ``KafkaUnavailable`` where none can be
        begun, or what is under way has no answer for too long; what was waiting is dropped then,
        and the outbox has it.
        """
        if self._is_under_way():
            if time.monotonic() > self._begun + GIVE_UP_SECONDS:
                self._await()
            return
        try:
            self._conclude()
            if self._waiting:
                slices, self._waiting = self._waiting, []
                self._begin(slices, self._group_metadata)
        except BaseException:
            self._waiting.clear()
            raise

    def settle(self) -> None:
        """Wait until all is published; raises what ``advance`` does.

        ``KafkaUnavailable`` too where the library never comes back from a call: then it is unknown
        what was published, and ``fence`` must come before anybody looks.
        """
        while True:
            self._await()
            self.advance()
            if self.idle:
                return

    def fence(self) -> None:
        """See to it that nothing given up can still be committed, and that more can be published.

        Raises ``KafkaUnavailable``.
        """
        for turn in range(_TURNS):
            self._committer_of(turn)

    def renew(self) -> None:
        """Publish by a new producer from here on; call it while nothing is under way.

        One that has seen the broker go may never find its coordinator again (see ``_await``).
        """
        committers, self._committers = self._committers, [None] * _TURNS
        for committer in committers:
            if committer is not None:
                committer.close()

    @property
    def idle(self) -> bool:
        """Whether nothing is under way, and nothing waits."""
        return not self._is_under_way() and not self._waiting

    @property
    def waits(self) -> bool:
        """Whether something is to be published as soon as the broker is free: ``advance`` soon."""
        return bool(self._waiting)

    def stalled(self) -> bool:
        """Whether what is under way has waited for the broker for longer than it should.

        The library asks a broker that died for as long as it takes, whatever time it is given to
        send offsets in; nothing else may be published meanwhile, since that may still succeed.
        """
        if self._consent is not None:
            return False
        return self._is_under_way() and time.monotonic() - self._begun > _STALLED_SECONDS

    def close(self) -> None:
        """Stop, once what is under way has come to its end."""
        self.renew()

    @property
    def _committer(self) -> _Committer | None:
        """Who has the last transaction."""
        return self._committers[self._turn]

    def _is_under_way(self) -> bool:
        return self._committer is not None and not self._committer.done.is_set()

    def _await(self) -> None:
        """Wait for the broker, within reason.

        The library's call that sends offsets may never come back, whatever time it was given: it
        waits for a coordinator that it has forgotten meanwhile (librdkafka's issues 5456 and 5511,
        seen after a broker's restart).
        """
        committer = self._committer
        if committer is None:
            return
        left = self._begun + GIVE_UP_SECONDS - time.monotonic()
        if committer.done.wait(max(left, 0.0)):
            return
        committer.give_up()
        self._committers[self._turn] = None
        self._under_way = {}
        self._waiting.clear()
        raise KafkaUnavailable("what is being published is given up: no answer from the library")

    def _conclude(self) -> None:
        """Take note of how the last transaction ended."""
        committer = self._committer
        ends, self._under_way = self._under_way, {}
        if committer is not None and committer.failure is not None:
            failure, committer.failure = committer.failure, None
            self._drop_if_fenced(failure)
            raise failure
        self.published.update(ends)

    def _begin(
        self,
        slices: Sequence[StagedSlice],
        group_metadata: object,
        consent: _Consent | None = None,
    ) -> None:
        self._turn = (self._turn + 1) % _TURNS
        committer = self._committer_of(self._turn)
        try:
            committer.producer.begin(self._outgoing(slices))
        except PublishRefused as refused:
            self._drop_if_fenced(refused)
            raise
        # A partition's last slice counts: it may have several.
        self._under_way = {(s.topic, s.partition): s.next_offset for s in slices}
        self._begun = time.monotonic()
        offsets = [
            (self._commands[CommandTopic(topic)], partition, next_offset)
            for (topic, partition), next_offset in self._under_way.items()
        ]
        committer.commit(_Job(offsets, group_metadata, consent))

    def _committer_of(self, turn: int) -> _Committer:
        committer = self._committers[turn]
        if committer is None:
            producer = TransactionalProducer(self._settings, f"{self._name}-{turn}")
            committer = self._committers[turn] = _Committer(producer, self._step)
        return committer

    def _drop_if_fenced(self, failure: BaseException) -> None:
        committer = self._committer
        if isinstance(failure, PublishRefused) and failure.fenced and committer is not None:
            self._committers[self._turn] = None
            committer.close()

    def _outgoing(self, slices: Sequence[StagedSlice]) -> Iterator[Outgoing]:
        topics = self._topics
        for part in slices:
            for frame in part.frames:
                yield _outgoing(topics[frame.kind], frame, part.partition)


def _commands_in(slices: Iterable[StagedSlice]) -> int:
    """How many at most; markers between them count."""
    return sum(part.next_offset - part.first_offset for part in slices)


def _outgoing(topic: str, frame: Frame, partition: int) -> Outgoing:
    # A manifest lies beside the commands that it is about; all else goes where its key belongs.
    where = partition if frame.kind == MANIFEST_FRAME else -1
    return Outgoing(topic, frame.key, frame.value, where)
