"""One member of the views: an app that counts, a writer, a look at the clock, and what it tells."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from processors.seed import keyring_of
from schemas.settings import Settings
from schemas.topics import ALERTS, EVENTS, TOPICS, VIEWS_STATE, topic_name
from streams import metrics
from streams.kafka.admin import Admin
from streams.kafka.config import KafkaUnavailable
from streams.kafka.lag import LagView
from streams.outages import in_words
from streams.ports import free_port, listening
from streams.probe import not_listening
from streams.views.clock import Clock, Now
from streams.views.faust_app import ViewsApp, sure_seconds
from streams.views.keeper import Keeper
from streams.views.kept import Incident
from streams.views.outlook import Outlook, watches_hot_wallet
from streams.views.pages import Pages, now_ms
from streams.views.replica import Replica
from streams.views.rules import HotWallet, read_rules
from streams.views.telling import State, Teller

log = logging.getLogger(__name__)

_WRITE_SECONDS: Final = 0.25
_TICK_SECONDS: Final = 0.5
_FORGET_SECONDS: Final = 60.0
_STALLED_SECONDS: Final = 30.0
_HURRY_SECONDS: Final = 5.0


class ViewsFailed(Exception):
    """The views cannot go on in this process; start them again."""


class Views:
    """One member; build it inside the loop that runs it."""

    #: Told of what ends it, before it lets go of Faust and the servers.
    failing: Callable[[Exception], None] = staticmethod(lambda fault: None)

    def __init__(self, settings: Settings, port: int) -> None:
        self._settings = settings
        self._rules = read_rules(settings)
        self._app = ViewsApp(settings, port)
        self._keeper = Keeper(self._app.documents, self._rules)
        self._app.keeper = self._keeper
        self._replica = Replica(settings)
        self._outlook = Outlook(settings, self._replica.positions)
        self._teller = Teller(settings, {rule.name: rule.do for rule in self._rules})
        self._clock = Clock(self._keeper.store, self._replica.picture, self._rules)
        self._lag = LagView(settings)
        self._events = topic_name(settings, EVENTS)
        self._broker_fault: str | None = None
        self._writing = asyncio.Lock()
        self._app.before_leaving = self._write
        #: When it last looked at the clock, or was last seen to be in time; never, before it runs.
        self._beat = math.inf
        self._sure_seconds = sure_seconds(settings.views_session_seconds)
        self._forget_due = 0.0
        unwatched = () if watches_hot_wallet(settings) else self._of_hot_wallet()
        if unwatched:
            log.warning("the hot wallet is not watched", extra={"rules": unwatched})
        pages = Pages(
            self._replica,
            self._rules,
            seen=lambda: self._outlook.seen,
            unwatched=unwatched,
            ready=self.fault,
            healthy=self._stalled,
        )
        for path, page in pages.all().items():
            self._app.serve(path, page)

    def _of_hot_wallet(self) -> tuple[str, ...]:
        return tuple(rule.name for rule in self._rules if isinstance(rule, HotWallet))

    # ------------------------------------------------------------------ state

    def fault(self) -> str | None:
        """What keeps the views from being true and the alerts from being told, or None."""
        if self._replica.fault is not None:
            return self._replica.fault
        if not self._app.joined:
            return "joining the group"
        if counting := sorted(set(self._keeper.held) - self._keeper.settled):
            return f"counting events, partitions {counting}"
        return self._broker_fault or self._outlook.seen.fault

    def _stalled(self) -> str | None:
        idle = time.monotonic() - self._beat
        return f"stands still for {idle:.0f} s" if idle > _STALLED_SECONDS else None

    # ------------------------------------------------------------------ running

    async def run(self, stop: asyncio.Event) -> None:
        """Count, write and tell until ``stop``; raises ``ViewsFailed``."""
        self._replica.start()
        self._outlook.start()
        try:
            async with self._app.running():
                await self._until(stop)
        finally:
            await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._outlook.stop()
        self._replica.stop()
        self._teller.close()
        self._lag.close()

    async def _until(self, stop: asyncio.Event) -> None:
        """Raises what any of the loops raises, and ``ViewsFailed`` where Faust gave up."""
        loops = [
            asyncio.create_task(self._write_on(stop), name="write"),
            asyncio.create_task(self._look_on(), name="look"),
            asyncio.create_task(self._watch_faust(), name="faust"),
            asyncio.create_task(_hurry(stop), name="hurry"),
        ]
        try:
            done, _ = await asyncio.wait(loops, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except Exception as fault:
            self.failing(fault)
            raise
        finally:
            for task in loops:
                task.cancel()
            await asyncio.gather(*loops, return_exceptions=True)

    async def _watch_faust(self) -> None:
        while not (self._app.crashed or self._app.should_stop):
            await asyncio.sleep(_WRITE_SECONDS)
        raise ViewsFailed(f"Faust gave up: {self._app.crash_reason!r}")

    async def _write_on(self, stop: asyncio.Event) -> None:
        """Write from time to time, and once more in the end; not while the group is rearranged."""
        self._beat = time.monotonic()
        while not stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _WRITE_SECONDS)
            if not self._writing.locked():
                self._check_beat()
            self._beat = time.monotonic()
            if self._app.joined:
                await self._write()

    async def _write(self) -> None:
        """Called too before partitions are given up: no write of ours may come after that."""
        async with self._writing:
            self._check_beat()
            try:
                await self._app.write(self._keeper.leave(), self._beat + self._sure_seconds)
            except TimeoutError as late:
                raise ViewsFailed(str(late)) from late
            self._keeper.store.left()
            self._beat = time.monotonic()

    def _check_beat(self) -> None:
        """Raises ``ViewsFailed`` after a freeze: what we would write may be old by now."""
        slept = time.monotonic() - self._beat
        if slept > self._sure_seconds:
            raise ViewsFailed(f"stood still for {slept:.1f} s: others may have its partitions")

    async def _look_on(self) -> None:
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            try:
                await self._look()
                self._broker_fault = None
            except KafkaUnavailable as away:
                self._broker_fault = in_words(away)
                log.warning("outage", extra={"cause": str(away)})

    async def _look(self) -> None:
        """Start and end incidents by the clock, once all that stood there is counted in."""
        metrics.VIEW_PARTITIONS.set(len(self._keeper.held))
        if not self._app.joined or self._replica.fault is not None:
            return
        await self._settle()
        await asyncio.to_thread(self._teller.refresh)
        held = set(self._keeper.settled)
        begun = {number: self._keeper.begun.get(number, -1) for number in held}
        if not self._replica.knows(begun):
            return
        seen = self._outlook.seen
        waiting = None if seen.worker is None else seen.worker.records
        with self._replica.lock:
            now = Now(now_ms(), waiting, seen.hot_wallet, seen.bridge)
            self._clock.look(held, now, self._teller.told)
            if time.monotonic() >= self._forget_due:
                self._forget_due = time.monotonic() + _FORGET_SECONDS
                self._clock.forget(held)
            untold = self._clock.untold(held)
        for partition, incident, state in untold:
            await self._tell(partition, incident, state)

    async def _settle(self) -> None:
        """A partition is settled when nothing stands after what is counted in of it."""
        for number in set(self._keeper.held) - self._keeper.settled:
            through = self._keeper.through(number)
            backlog = await asyncio.to_thread(
                self._lag.behind, self._events, [number], {number: through + 1}
            )
            if backlog.records == 0 and number in self._keeper.held:
                self._keeper.settled.add(number)

    async def _tell(self, partition: int, incident: Incident, state: State) -> None:
        told = await asyncio.to_thread(self._teller.tell, incident, state, now_ms())
        if told:
            metrics.VIEW_ALERTS.labels(incident.rule, state).inc()
        present = self._keeper.store.get(Incident, partition, incident.id)
        if present is None or partition not in self._keeper.held:
            return
        present.told_start = True
        present.told_end = present.told_end or state == "ended"
        self._keeper.store.put(partition, present, present.id)
        with self._replica.lock:
            self._replica.picture.keep(partition, present)


async def _hurry(stop: asyncio.Event) -> None:
    """Ends some seconds after it should end: a broker that is away takes no last writing."""
    await stop.wait()
    await asyncio.sleep(_HURRY_SECONDS)
    log.warning("not all was written; what is missing is counted again")


# ---------------------------------------------------------------------- the process


def prepare(settings: Settings) -> None:
    """Make what is missing of the topics that are read and written; raises ``KafkaUnavailable``,
    and ``SettingsError`` where one has another number of partitions."""
    needed = [topic for topic in TOPICS if topic.name in (EVENTS, ALERTS)]
    Admin(settings).create_topics([*needed, VIEWS_STATE])


def rebuild(settings: Settings) -> None:
    """Drop what is kept, so that it is counted anew from the topic of events; raises
    ``ViewsFailed`` while a member runs."""
    admin = Admin(settings)
    if members := admin.members(settings.topic_prefix + settings.views_group):
        raise ViewsFailed(f"{members} members of the views run: stop them first")
    name = topic_name(settings, VIEWS_STATE.name)
    if name in admin.topics([name]):
        admin.delete_topics([name])
        deadline = time.monotonic() + _STALLED_SECONDS
        while name in admin.topics([name]):
            if time.monotonic() > deadline:
                raise ViewsFailed(f"the broker does not let go of {name}")
            time.sleep(_WRITE_SECONDS)


def run_views(settings: Settings, *, announce: Callable[[str], None]) -> None:
    """Run a member until SIGTERM or SIGINT.

    Raises ``ViewsFailed``, ``SettingsError`` and ``AccountKeyUnusable``.
    """
    settings.require("kafka")
    if watches_hot_wallet(settings):
        # Else the outlook alone would meet a key that is none, look after look.
        keyring_of(settings)
    _require_port(settings.views_host, settings.views_port)
    prepare(settings)
    for name in ("faust", "mode"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # It repeats each failed connection; our own clients tell an outage, and seldom.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    asyncio.run(_serve(settings, announce))


def _require_port(host: str, port: int) -> None:
    """Raise ``SettingsError`` where nobody can listen: Faust would end by its traceback, amid its
    start."""
    try:
        listening(host, port).close()
    except OSError as error:
        raise not_listening("views", "The views", host, port, error) from None


def _end_soon(fault: Exception) -> None:
    """End the process with 1 though Faust should not: after a freeze its threads may hang."""
    log.error("the views end", extra={"cause": str(fault)})
    ending = threading.Timer(_HURRY_SECONDS, os._exit, (1,))
    ending.daemon = True
    ending.start()


async def _serve(settings: Settings, announce: Callable[[str], None]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    port = settings.views_port or free_port(settings.views_host)
    views = Views(settings, port)
    views.failing = _end_soon
    announce(f"wallet views: http://{settings.views_host}:{port}")
    await views.run(stop)
