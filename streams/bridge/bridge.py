"""The bridge as a loop: reads events, sends them, and commits what AWS has acknowledged.

One thread reads and decides; calls of AWS run beside it, several at a time, never two for one user.
A crash at any point sends again what was not committed, under the same ids.
"""

from __future__ import annotations

import logging
import queue
import random
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Final

from schemas.settings import Settings
from schemas.topics import EVENTS, topic_name
from streams import metrics
from streams.bridge.behind import Behind
from streams.bridge.bus import Answer, Bus, Fate
from streams.bridge.entries import COUNT_MAX, SIZE_MAX, Entry, Unreadable, entry_of
from streams.bridge.letters import EventLetter, Letters
from streams.bridge.schedule import Item, Schedule
from streams.heart import Heart
from streams.kafka.admin import Admin, EndsAsked
from streams.kafka.config import KafkaUnavailable
from streams.kafka.follow import Followed, RecordsGone, TopicMember
from streams.kafka.produce import Delivery
from streams.outages import Backoff, in_words
from streams.probe import run_with_probe

log = logging.getLogger(__name__)

_READ_MAX: Final = 500
_COMMIT_SECONDS: Final = 1.0
_FIRST_REST_SECONDS: Final = 0.1
_MOST_REST_SECONDS: Final = 10.0
#: How long to wait for what may come, where there is something else to do, and where not.
_GLANCE_SECONDS: Final = 0.005
_IDLE_SECONDS: Final = 0.1
#: How often the broker is asked where the topic ends.
_ENDS_SECONDS: Final = 3.0
#: A partition that stands still for so long while events wait for it, or a loop that does.
STALL_SECONDS: Final = 60.0

Step = Callable[[str], None]
#: What a bridge comes to, again and again.
STEPS: Final = ("read", "sending", "sent", "committing", "committed")


class Load:
    """What is sent of a record: its entry, or why there is none."""

    __slots__ = ("entry", "fault", "value")

    def __init__(self, value: bytes | None, source: str) -> None:
        self.value = value
        self.fault = ""
        self.entry: Entry | None = None
        try:
            self.entry = entry_of(value, source)
        except Unreadable as unreadable:
            self.fault = str(unreadable)


_Answered = tuple[list[Item[Load]], list[Answer]]


class Bridge:
    """One of the bridges; the group shares the partitions out among them."""

    def __init__(
        self, settings: Settings, *, skip_gone: bool = False, step: Step = lambda name: None
    ) -> None:
        """``skip_gone`` goes on where the topic has dropped events that were never read.

        Without it, what is held when that is found out is sent before the bridge stops.
        ``step`` is called at ``STEPS``, so that a test can kill the process exactly there.
        """
        self._settings = settings
        self._topic = topic_name(settings, EVENTS)
        self._step = step
        self._bus = Bus(settings)
        self._letters = Letters(settings)
        self._member = TopicMember(
            settings,
            self._topic,
            settings.topic_prefix + settings.bridge_group,
            on_revoked=self._revoked,
            skip_gone=skip_gone,
        )
        self._calls = ThreadPoolExecutor(settings.bridge_calls, thread_name_prefix="bridge")
        self._answers: queue.SimpleQueue[_Answered] = queue.SimpleQueue()
        self._schedule = Schedule[Load]()
        self._under_way = 0
        self._committed: dict[int, int] = {}
        self._commit_due = 0.0
        self.heart = Heart()
        self._admin = Admin(settings)
        self._ends: dict[int, int] = {}
        self._ends_asked: EndsAsked | None = None
        self._ends_due = 0.0
        self._ends_fault: str | None = None
        self._behind = Behind()
        self._gone: RecordsGone | None = None
        self._stopping = Event()
        self._backoff = Backoff()
        self._bus_fault: str | None = None
        self._broker_fault: str | None = None

    def run(self) -> None:
        """Send events until ``stop``; raises ``RecordsGone``."""
        try:
            while not self._stopping.is_set():
                self.round()
        finally:
            self.close()

    def stop(self) -> None:
        """End once the calls under way are answered; called from any thread."""
        self._stopping.set()

    def close(self) -> None:
        """Commit what is acknowledged, and let go of the servers."""
        self._revoked()
        self._calls.shutdown()
        self._member.close()
        self._letters.close()

    def fault(self) -> str | None:
        """What keeps events from arriving, or None."""
        if self._gone is not None:
            return f"it ends once what it holds is sent: {self._gone}"
        for fault in (self._broker_fault, self._bus_fault, self._ends_fault):
            if fault is not None:
                return fault
        return self._stall(time.monotonic()) if self._member.joined else "joining the group"

    def _stall(self, now: float) -> str | None:
        """What only time tells: nobody says that anything is wrong, and nothing goes on."""
        busy = self.heart.still_seconds()
        if busy > STALL_SECONDS:
            return f"stalled: it has been busy with one thing for {busy:.0f} s"
        still = self._behind.still_seconds(now)
        if self._behind.records and still > STALL_SECONDS:
            return (
                f"stalled: {self._behind.records} records wait, and in one partition nothing was "
                f"acknowledged for {still:.0f} s"
            )
        return None

    def round(self) -> None:
        """Take answers in, send what may go, read what came, commit what is acknowledged."""
        self.heart.beat()
        try:
            self._take_answers()
            self._schedule.wake(time.monotonic())
            self._send()
            self._read()
            if time.monotonic() >= self._commit_due:
                self._commit()
                self._measure()
            self._broker_fault = None
            self._backoff.reset()
        except KafkaUnavailable as away:
            self._broker_fault = in_words(away)
            log.warning("outage", extra={"cause": str(away)})
            self._stopping.wait(self._backoff.next())

    # ------------------------------------------------------------------ in

    def _read(self) -> None:
        if self._gone is not None and not len(self._schedule):
            raise self._gone
        room = self._settings.bridge_buffer - len(self._schedule)
        if not self._member.paused and (room <= 0 or self._gone is not None):
            self._member.pause()
        elif (
            self._member.paused and self._gone is None and room > self._settings.bridge_buffer // 2
        ):
            self._member.resume()
        try:
            if self._member.paused:
                # Polling keeps the membership alive; there is nothing to come.
                self._add(self._member.poll(1, 0))
                self._wait_for_answer()
                return
            busy = self._under_way > 0
            most = max(1, min(room, _READ_MAX))
            self._add(self._member.poll(most, _GLANCE_SECONDS if busy else _IDLE_SECONDS))
        except RecordsGone as gone:
            self._end_for(gone)

    def _end_for(self, gone: RecordsGone) -> None:
        """The broker has dropped events; those that are held are nowhere else, perhaps."""
        if self._gone is None:
            held = len(self._schedule)
            log.error(
                "sending what is held, then it ends", extra={"cause": str(gone), "held": held}
            )
        self._gone = gone
        self._wait_for_answer()

    def _add(self, records: Sequence[Followed]) -> None:
        for partition, offset in self._member.placed().items():
            self._schedule.begin(partition, offset)
            self._committed.setdefault(partition, offset)
        for record in records:
            load = Load(record.value, self._settings.event_source)
            # An event's key is its user; what has none waits for nobody.
            user = (record.key or b"%d" % record.offset).decode(errors="replace")
            size = 0 if load.entry is None else load.entry.size
            item = Item(record.partition, record.offset, user, size, load)
            self._schedule.add(item, record.since)
        for partition, end in self._member.reached().items():
            self._schedule.reach(partition, end)
        if records:
            self._step("read")

    # ------------------------------------------------------------------ out

    def _send(self) -> None:
        while self._under_way < self._settings.bridge_calls:
            items = self._schedule.take(COUNT_MAX, SIZE_MAX)
            if not items:
                return
            self._under_way += 1
            self._calls.submit(self._put, items)

    def _put(self, items: list[Item[Load]]) -> None:
        """In a thread of the pool: one call, whose answers go to the loop, whatever happens."""
        answers = [Answer(Fate.LATER, "the bridge itself failed")] * len(items)
        try:
            self._step("sending")
            sent = [item.load.entry for item in items if item.load.entry is not None]
            told = iter(self._bus.put(sent) if sent else ())
            answers = [
                Answer(Fate.NEVER, item.load.fault) if item.load.entry is None else next(told)
                for item in items
            ]
            self._step("sent")
        finally:
            self._answers.put((items, answers))

    def _take_answers(self) -> None:
        while not self._answers.empty():
            self._settle(*self._answers.get())

    def _wait_for_answer(self) -> None:
        try:
            self._settle(*self._answers.get(timeout=_IDLE_SECONDS))
        except queue.Empty:
            return

    def _settle(self, items: list[Item[Load]], answers: list[Answer]) -> None:
        self._under_way -= 1
        for item, answer in zip(items, answers, strict=True):
            match answer.fate:
                case Fate.DELIVERED:
                    self._bus_fault = None
                    self._schedule.acknowledge(item)
                    metrics.BRIDGED.labels("delivered").inc()
                case Fate.SET_APART:
                    self._bus_fault = None
                    self._schedule.acknowledge(item)
                    metrics.BRIDGED.labels("dead_letters").inc()
                case Fate.LATER:
                    self._rest(item, answer.reason)
                case Fate.NEVER:
                    self._set_apart(item, answer.reason)

    def _rest(self, item: Item[Load], reason: str) -> None:
        if self._bus_fault != reason:
            log.warning("not delivered, trying again", extra={"cause": reason})
        self._bus_fault = reason
        metrics.BRIDGED.labels("retried").inc()
        wait = min(_FIRST_REST_SECONDS * 2.0 ** min(item.tries, 20), _MOST_REST_SECONDS)
        wait *= random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no secret
        self._schedule.rest(item, time.monotonic() + wait)

    def _set_apart(self, item: Item[Load], reason: str) -> None:
        """A dead letter first; the event is done with once that is on its topic."""
        log.error(
            "EventBridge can never take this event",
            extra={"partition": item.partition, "offset": item.offset, "cause": reason},
        )
        self._under_way += 1

        def told(delivery: Delivery) -> None:
            if delivery.error is None:
                self._answers.put(([item], [Answer(Fate.SET_APART)]))
            else:
                cause = f"its dead letter is not written: {delivery.error}"
                self._answers.put(([item], [Answer(Fate.LATER, cause)]))

        letter = EventLetter(
            reason=reason, partition=item.partition, offset=item.offset, value=item.load.value
        )
        self._letters.write(item.user, letter, told)

    # ------------------------------------------------------------------ offsets

    def _commit(self) -> None:
        self._commit_due = time.monotonic() + _COMMIT_SECONDS
        offsets = self._schedule.next_offsets()
        moved = {p: offset for p, offset in offsets.items() if self._committed.get(p) != offset}
        if moved:
            self._step("committing")
            self._member.commit(moved)
            self._step("committed")
        self._committed.update(moved)

    def _measure(self) -> None:
        offsets = self._schedule.next_offsets()
        self._ask_ends(offsets)
        metrics.BRIDGE_HELD.set(len(self._schedule))
        self._behind.look(offsets, self._ends, time.monotonic())
        metrics.BRIDGE_LAG.set(self._behind.records)

    def _ask_ends(self, partitions: Collection[int]) -> None:
        """The answer of the last time, and a new question: what a reader has heard of by itself
        stands still while it fetches nothing."""
        if self._ends_asked is None:
            if time.monotonic() >= self._ends_due:
                self._ends_due = time.monotonic() + _ENDS_SECONDS
                self._ends_asked = self._admin.ask_ends(self._topic, partitions)
            return
        try:
            told = self._ends_asked.answer()
        except KafkaUnavailable as away:
            self._ends_asked = None
            self._ends_fault = f"broker is away: where {self._topic} ends: {away}"
            return
        if told is not None:
            self._ends, self._ends_asked, self._ends_fault = told, None, None

    def _revoked(self) -> None:
        """The partitions are somebody else's soon: whoever has them begins where we end."""
        while self._under_way:
            self._settle(*self._answers.get())
        try:
            self._commit()
        except KafkaUnavailable as away:
            log.warning("not committed, it will be sent again", extra={"cause": str(away)})
        self._schedule = Schedule()
        self._committed = {}
        self._behind = Behind()


def run_bridge(
    settings: Settings, *, skip_gone: bool = False, announce: Callable[[str], None]
) -> None:
    """Send events until SIGTERM or SIGINT; raises ``SettingsError`` and ``RecordsGone``."""
    settings.require("kafka")
    bridge = Bridge(settings, skip_gone=skip_gone)
    run_with_probe(bridge, "bridge", settings.bridge_host, settings.bridge_port, announce)
