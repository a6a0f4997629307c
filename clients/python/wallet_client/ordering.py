"""A user's events in the order of their sequence, and the knowledge of a gap. It does no I/O."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from wallet_client.errors import WalletError
from wallet_client.events import Event


class Gap(WalletError):
    """Events of one user are missing, and the late window is over: look into it.

    They may still come. ``first`` to ``last`` are the sequences that are waited for; ``held``
    counts the events that wait behind them.
    """

    def __init__(self, subject: str, first: int, last: int, held: int, seconds: float) -> None:
        super().__init__(
            f"{subject} lacks the events {first} to {last} for {seconds:.0f} s; {held} wait for it"
        )
        self.subject = subject
        self.first = first
        self.last = last
        self.held = held


@dataclass(slots=True)
class _Line:
    """One user's events, which are in one partition: ``start`` to ``last`` were handed out."""

    partition: int
    start: int
    last: int
    early: dict[int, Event] = field(default_factory=dict)
    since: float = 0.0
    told: bool = False


class InOrder:
    """Puts each user's events in order; an event that is early waits for those before it.

    ``last_sequence`` tells the last sequence of a user that was handled before, None if nobody
    knows: then the user's line begins with the first event that comes, and an older one that comes
    later is handed out as well, since it may never have been handled.
    """

    def __init__(
        self,
        late_seconds: float,
        now: Callable[[], float],
        last_sequence: Callable[[str], int | None] = lambda subject: None,
    ) -> None:
        self._late_seconds = late_seconds
        self._now = now
        self._last_sequence = last_sequence
        self._anew: set[int] = set()
        self._lines: dict[str, _Line] = {}
        #: Users with events that wait, those that wait longest first.
        self._waiting: dict[str, _Line] = {}

    def take(self, event: Event) -> list[Event] | None:
        """The events that may be handled now, oldest first; None if it is a double."""
        line = self._line_of(event)
        if event.sequence < line.start:
            return [event]
        if event.sequence <= line.last or event.sequence in line.early:
            return None
        line.early[event.sequence] = event
        return self._release(event.subject, line)

    def _line_of(self, event: Event) -> _Line:
        line = self._lines.get(event.subject)
        if line is None:
            anew = event.partition in self._anew
            last = None if anew else self._last_sequence(event.subject)
            if last is None:
                line = _Line(event.partition, event.sequence, event.sequence - 1)
            else:
                line = _Line(event.partition, 1, last)
            self._lines[event.subject] = line
        return line

    def _release(self, subject: str, line: _Line) -> list[Event]:
        ready = []
        while line.last + 1 in line.early:
            line.last += 1
            ready.append(line.early.pop(line.last))
        if not line.early:
            self._waiting.pop(subject, None)
        elif ready or subject not in self._waiting:
            # What waits now waits for another event than before.
            self._waiting.pop(subject, None)
            self._waiting[subject] = line
            line.since, line.told = self._now(), False
        return ready

    def late(self) -> Gap | None:
        """A gap that is older than the late window and was not told yet."""
        now = self._now()
        for subject, line in self._waiting.items():
            if now - line.since < self._late_seconds:
                return None
            if not line.told:
                line.told = True
                return self._gap(subject, line, now)
        return None

    def gaps(self) -> list[Gap]:
        """Every gap there is, late or not."""
        now = self._now()
        return [self._gap(subject, line, now) for subject, line in self._waiting.items()]

    @staticmethod
    def _gap(subject: str, line: _Line, now: float) -> Gap:
        return Gap(subject, line.last + 1, min(line.early) - 1, len(line.early), now - line.since)

    def skip(self, gap: Gap) -> list[Event]:
        """Go on behind a gap: what waited. Events of the gap that come later are doubles then."""
        line = self._waiting.get(gap.subject)
        if line is None or line.last + 1 != gap.first:
            return []
        line.last = min(line.early) - 1
        return self._release(gap.subject, line)

    def forget(self, partition: int, *, anew: bool = False) -> None:
        """Drop what is known of a partition's users, for it will be read again.

        ``anew``: as if nothing of it had been handled, whatever ``last_sequence`` says.
        """
        if anew:
            self._anew.add(partition)
        for subject, line in list(self._lines.items()):
            if line.partition == partition:
                del self._lines[subject]
                self._waiting.pop(subject, None)
