"""How one request is carried through: retries, waiting, and what an answer means.

It does no I/O: it yields what is to be done (``Call``, ``Pause``) and is sent what came of it, so
that the sync and the async client are the same client.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import msgspec

from wallet_client.base import convert, decode
from wallet_client.errors import (
    BadRequest,
    OutcomeUnknown,
    Refusal,
    Unavailable,
    UnexpectedAnswer,
    WalletError,
    family_of,
)
from wallet_client.models import CommandStatus, Pending, ProblemDocument
from wallet_client.requests import Request, command

T = TypeVar("T")
A = TypeVar("A")

#: Answers after which the same request may be sent again.
_AGAIN = frozenset({429, 500, 502, 503, 504})
#: Codes that say that nothing was put on the topic.
_NOTHING_SENT = frozenset({"rate_limited", "broker_unavailable", "overloaded"})
_QUOTABLE = re.compile("[ -~]+", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How long and how often to try, in seconds."""

    #: All attempts of one call together, waiting for its outcome included.
    deadline_seconds: float = 60.0
    #: One attempt; longer than the API waits for an outcome before it answers 202.
    attempt_seconds: float = 35.0
    #: The first pause after a failure; each further one is twice as long, up to the most.
    pause_seconds: float = 0.1
    pause_most_seconds: float = 5.0
    #: Spreads the callers after an outage, between half of the pause and all of it.
    chance: Callable[[], float] = field(default=random.random, repr=False)

    def pause(self, failures: int, asked: str | None) -> float:
        """How long to wait after so many failures; ``asked`` is a Retry-After."""
        if asked is not None and asked.isdigit():
            return float(asked)
        full = min(self.pause_seconds * 2.0 ** min(failures, 30), self.pause_most_seconds)
        return full * (0.5 + self.chance() / 2)


@dataclass(frozen=True)
class Call:
    """Send this; answer with a ``Reply`` or ``Lost``."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str | bytes]
    body: bytes | None
    timeout_seconds: float


@dataclass(frozen=True)
class Pause:
    """Wait so long."""

    seconds: float


@dataclass(frozen=True)
class Reply:
    """What came back; the headers' names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Lost:
    """Nothing came back. ``sent``: the request may have arrived."""

    why: str
    sent: bool


Step = Call | Pause
Talk = Generator[Step, "Reply | Lost | None", T]


def exchange(request: Request[T], policy: Policy, now: Callable[[], float]) -> Talk[T]:
    """Carry the request through; raises ``WalletError``.

    A request with a key whose outcome cannot be learnt before the deadline is ``OutcomeUnknown``.
    """
    return (yield from _Exchange(request, policy, now).run())


class _Exchange(Generic[T]):
    """One request on its way."""

    def __init__(self, request: Request[T], policy: Policy, now: Callable[[], float]) -> None:
        self._request = request
        self._policy = policy
        self._now = now
        self._end = now() + policy.deadline_seconds
        #: True once a command of ours may be on the topic.
        self._doubt = False
        self._command_id: str | None = None

    def run(self) -> Talk[T]:
        """Attempt after attempt, until an answer is final or the time is over."""
        failures = 0
        while True:
            reply = yield self._call(self._request)
            assert reply is not None
            if isinstance(reply, Reply):
                if reply.status == 200:
                    return self._read(reply.body, self._request.answer)
                if reply.status == 202:
                    settled = yield from self._follow(reply)
                    if self._request.key is not None:
                        return self._settle(settled)
                    continue  # what the GET had to make first is made
                if reply.status not in _AGAIN:
                    raise self._refusal(reply)
            failures += 1
            yield self._pause(failures, reply)

    def _call(self, request: Request[Any]) -> Call:
        left = max(self._end - self._now(), 0.001)
        headers: dict[str, str | bytes] = {}
        if request.key is not None:
            headers["Idempotency-Key"] = _header(request.key)
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        seconds = min(self._policy.attempt_seconds, left)
        return Call(request.method, request.path, request.query, headers, request.body, seconds)

    def _pause(self, failures: int, failed: Reply | Lost) -> Pause:
        asked = None
        if isinstance(failed, Reply):
            problem = _problem(failed)
            if failed.status in {200, 202}:
                why = "its outcome is still to come"
            else:
                why = f"{problem.code}: {problem.detail}" if problem else f"HTTP {failed.status}"
            asked = failed.headers.get("retry-after")
            self._doubt |= problem is None or problem.code not in _NOTHING_SENT
        else:
            why = failed.why
            self._doubt |= failed.sent
        seconds = self._policy.pause(failures, asked)
        if self._now() + seconds >= self._end:
            raise self._given_up(why, failed)
        return Pause(seconds)

    def _given_up(self, why: str, failed: Reply | Lost) -> WalletError:
        key = self._request.key
        if key is not None and self._doubt:
            return OutcomeUnknown(key, why, self._command_id)
        problem = _problem(failed) if isinstance(failed, Reply) else None
        code = problem.code if problem else "unreachable"
        status = failed.status if isinstance(failed, Reply) else None
        return Unavailable(code, why, status=status, idempotency_key=key)

    def _follow(self, reply: Reply) -> Generator[Step, Reply | Lost | None, CommandStatus]:
        """Ask for the outcome of the command that was accepted for later, until there is one."""
        self._doubt = True
        self._command_id = self._read(reply.body, Pending).command_id
        asks, failures = command(self._command_id), 0
        last: Reply | Lost = reply
        while True:
            failures += 1
            yield self._pause(failures, last)
            answer = yield self._call(asks)
            assert answer is not None
            if isinstance(answer, Reply) and answer.status == 200:
                status = self._read(answer.body, CommandStatus)
                if status.outcome != "pending":
                    return status
            elif isinstance(answer, Reply) and answer.status not in _AGAIN:
                raise self._given_up(f"HTTP {answer.status} instead of its outcome", answer)
            last = answer if isinstance(answer, Lost) or answer.status != 200 else reply

    def _settle(self, status: CommandStatus) -> T:
        if isinstance(status.problem, ProblemDocument):
            raise _refusal_of(status.problem, self._request.key)
        document = {
            "command_id": status.first_command_id or status.command_id,
            "result": status.result,
            "balance": status.balance,
        }
        try:
            return convert(document, self._request.answer)
        except msgspec.ValidationError as error:
            raise self._unexpected(str(error)) from error

    def _read(self, body: bytes, kind: type[A]) -> A:
        try:
            return decode(body, kind)
        except msgspec.MsgspecError as error:
            raise self._unexpected(str(error)) from error

    def _unexpected(self, why: str) -> WalletError:
        if self._request.key is not None:
            return OutcomeUnknown(self._request.key, why, self._command_id)
        return UnexpectedAnswer(why)

    def _refusal(self, reply: Reply) -> WalletError:
        problem = _problem(reply)
        if problem is not None:
            return _refusal_of(problem, self._request.key)
        if 400 <= reply.status < 500:
            return BadRequest(f"http_{reply.status}", status=reply.status)
        return self._unexpected(f"HTTP {reply.status}")


def _refusal_of(problem: ProblemDocument, key: str | None) -> Refusal:
    return family_of(problem.code, problem.status)(
        problem.code,
        problem.detail,
        command_id=problem.command_id or None,
        status=problem.status,
        idempotency_key=key,
    )


def _problem(reply: Reply) -> ProblemDocument | None:
    try:
        return decode(reply.body, ProblemDocument)
    except msgspec.MsgspecError:
        return None


def _header(key: str) -> str | bytes:
    """The key as a quoted string (RFC 9651), or as it is where that cannot hold it."""
    if _QUOTABLE.fullmatch(key):
        escaped = key.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return key.encode()
