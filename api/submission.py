"""The way of a POST: onto the topic, wait for the outcome, answer it as it was committed."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from time import monotonic
from typing import Final
from uuid import uuid4

import msgspec
from aiohttp import web

from api.metrics import Metrics
from api.outcomes import Decided, Outcomes
from api.ports import CommandSender
from api.problems import REJECTIONS, Fault, Problem
from api.requests import Preference
from api.shapes import Pending
from schemas.commands import TOPIC_OF, CommandType, Data
from schemas.envelope import encode_command
from schemas.ledger import DEAD_LETTER, CommandOutcome
from schemas.rejections import Rejection
from schemas.topics import RECORD_MAX_BYTES, CommandTopic
from streams.kafka.produce import Delivery
from streams.outcomes import is_of

log = logging.getLogger(__name__)

#: A broker that takes longer has an outage; the caller should not hang on it.
DELIVERY_SECONDS: Final = 10.0
#: Most commands under way at once; more callers are told to come again.
UNDER_WAY_MAX: Final = 20_000
ISSUER_MAX_CHARACTERS: Final = 64
COMMANDS_PATH: Final = "/api/v1/wallet/commands"


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A command that a caller wants decided."""

    kind: CommandType
    user_id: str
    idempotency_key: str
    data: Data
    issuer: str


class Submitted(msgspec.Struct, frozen=True):
    """A command on its topic: its id, and its outcome unless the wait ran out."""

    command_id: str
    decided: Decided | None


class Submission:
    """Sends commands and waits for what becomes of them."""

    def __init__(self, sender: CommandSender, outcomes: Outcomes, metrics: Metrics) -> None:
        self._sender = sender
        self._outcomes = outcomes
        self._metrics = metrics
        self.under_way = 0
        self._undelivered: set[asyncio.Future[Delivery]] = set()

    def give_up(self) -> None:
        """Answer whoever still waits: the process ends."""
        for delivered in self._undelivered:
            if not delivered.done():
                delivered.set_exception(TimeoutError())
        self._outcomes.give_up()

    async def submit(self, ask: Ask, preference: Preference) -> Submitted:
        """Put the command on its topic and wait as long as is preferred.

        Raises ``Problem`` (503) if the broker has not taken it, or does not say.
        """
        if self.under_way >= UNDER_WAY_MAX:
            raise Problem(Fault.OVERLOADED)
        self.under_way += 1
        try:
            submitted = await self._submit(ask, preference)
        except Problem as problem:
            # Not "failed": the command of an unknown outcome may be applied.
            self._metrics.commands.labels(ask.kind.value, problem.code.value).inc()
            raise
        finally:
            self.under_way -= 1
        ending = "pending" if submitted.decided is None else "decided"
        self._metrics.commands.labels(ask.kind.value, ending).inc()
        return submitted

    async def _submit(self, ask: Ask, preference: Preference) -> Submitted:
        deadline = monotonic() + preference.wait_seconds
        value = _record_of(ask)
        progress = self._outcomes.progress
        topic = TOPIC_OF[ask.kind]
        # Before it is sent: afterwards the worker may have passed it already.
        taken = progress.passed_until(topic, self._sender.partition_of(ask.user_id))
        partition, offset = await self._deliver(topic, ask.user_id, value)
        command_id = progress.command_id(topic, partition, offset)
        if offset < taken:
            raise _place_taken(command_id)
        if preference.respond_async:
            return Submitted(command_id, None)
        left = max(0.0, deadline - monotonic())
        try:
            decided = await self._outcomes.wait(topic, partition, offset, left)
        except TimeoutError:
            log.info("nobody has decided the command yet", extra={"command_id": command_id})
            return Submitted(command_id, None)
        if not is_of(decided, topic, ask.user_id.encode(), value):
            raise _place_taken(command_id)
        return Submitted(command_id, decided)

    async def _deliver(self, topic: CommandTopic, user_id: str, value: bytes) -> tuple[int, int]:
        """Partition and offset, as the broker tells them."""
        loop = asyncio.get_running_loop()
        delivered: asyncio.Future[Delivery] = loop.create_future()

        def settle(delivery: Delivery) -> None:
            if not delivered.done():
                delivered.set_result(delivery)

        def report(delivery: Delivery) -> None:
            loop.call_soon_threadsafe(settle, delivery)

        self._undelivered.add(delivered)
        try:
            self._sender.send(topic, user_id, value, report)
            async with asyncio.timeout(DELIVERY_SECONDS):
                delivery = await delivered
        except TimeoutError:
            log.warning("the broker does not say whether it took a command")
            raise Problem(Fault.OUTCOME_UNKNOWN) from None
        finally:
            self._undelivered.discard(delivered)
        if delivery.error is not None:
            log.warning("the broker has not taken a command", extra={"reason": delivery.error})
            raise Problem(Fault.OUTCOME_UNKNOWN if delivery.unknown else Fault.BROKER_UNAVAILABLE)
        return delivery.partition, delivery.offset


def _record_of(ask: Ask) -> bytes:
    value = encode_command(
        ask.kind,
        user_id=ask.user_id,
        idempotency_key=ask.idempotency_key,
        data=ask.data,
        issuer=ask.issuer[:ISSUER_MAX_CHARACTERS],
        issued_at=datetime.now(UTC),
        id=str(uuid4()),
    )
    if len(value) > RECORD_MAX_BYTES:
        raise Problem(Rejection.TOO_LARGE)
    return value


def _place_taken(command_id: str) -> Problem:
    """The topic was made anew or has lost its tail, so that its offsets come again.

    Whatever stands in the database at that place is another record's outcome, perhaps another
    user's. The partition is halted, or will be; an operator decides what becomes of the record.
    """
    log.error(
        "the log has taken a command at a place that was decided before: its offsets come again",
        extra={"command_id": command_id},
    )
    return Problem(Fault.OUTCOME_UNKNOWN)


class _Refusal(msgspec.Struct, frozen=True):
    """What a refusal's document says to a person."""

    message: str


def problem_of(decided: Decided) -> Problem | None:
    """The problem that an outcome is told as; None of an acceptance.

    A key used for another request and a dead letter are the caller's own record's; a replay is
    told as the first record's outcome, whichever that was.
    """
    standing = decided.first or decided
    if standing.outcome == CommandOutcome.ACCEPTED.value:
        return None
    headers = {"Idempotency-Replayed": "true"} if decided.first is not None else {}
    detail = standing.document
    if standing.outcome != DEAD_LETTER:
        detail = msgspec.json.decode(detail, type=_Refusal).message
    code = REJECTIONS[standing.code or Rejection.UNPROCESSABLE.value]
    return Problem(code, detail, command_id=standing.id, headers=headers)


def respond(submitted: Submitted, preference: Preference) -> web.Response:
    """200 with the outcome, 202 where it is still to come; raises ``Problem`` of a refusal."""
    headers = {"Preference-Applied": preference.applied} if preference.applied else {}
    decided = submitted.decided
    if decided is None:
        headers["Location"] = f"{COMMANDS_PATH}/{submitted.command_id}/"
        headers["Retry-After"] = "1"
        body = msgspec.json.encode(Pending(command_id=submitted.command_id))
        return web.Response(status=202, body=body, content_type="application/json", headers=headers)
    problem = problem_of(decided)
    if problem is not None:
        problem.headers.update(headers)
        raise problem
    if decided.first is not None:
        headers["Idempotency-Replayed"] = "true"
    standing = decided.first or decided
    # The document is answered byte for byte as it was committed, with the id put before it.
    body = f'{{"command_id":"{standing.id}",{standing.document.lstrip()[1:]}'.encode()
    return web.Response(body=body, content_type="application/json", headers=headers)
