"""The bus: calls of ``PutEvents``, and what becomes of each entry by their answers.

A call that is not answered, or not as it should be, leaves its entries unknown: they are sent
again, and may arrive twice under the same id. Only what AWS says it will never take is given up.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any, Final, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from schemas.settings import Settings
from streams import aws
from streams.bridge.entries import SIZE_MAX, Entry

_CONNECT_SECONDS: Final = 3.0
_ANSWER_SECONDS: Final = 10.0

#: An entry, or a call, that is wrong in itself: sent again it would be refused again.
_NEVER: Final = frozenset(
    {
        "InvalidArgument",
        "MalformedDetail",
        "PutEventsRequestEntrySizeTooLarge",
        "RequestEntityTooLarge",
        "RequestEntityTooLargeException",
        "ValidationError",
        "ValidationException",
        "413",
    }
)
#: Whoever renews them need not start the bridge again.
_CREDENTIALS: Final = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "NotAuthorized",
        "UnrecognizedClientException",
    }
)


class Fate(Enum):
    """What became of an entry; one that AWS can never take is at last set apart."""

    DELIVERED = "delivered"
    LATER = "later"
    NEVER = "never"
    SET_APART = "set apart"


class Answer(NamedTuple):
    """An entry's fate, and why where it was not delivered."""

    fate: Fate
    reason: str = ""


class Bus:
    """One bus of EventBridge; calls may be made from several threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: Any = None

    def put(self, entries: Sequence[Entry]) -> list[Answer]:
        """Send entries, one answer for each; raises nothing."""
        if len(entries) == 1 and entries[0].size > SIZE_MAX:
            return [Answer(Fate.NEVER, f"{entries[0].size} bytes, AWS takes {SIZE_MAX}")]
        try:
            answers = self._call(entries)
        except ClientError as error:
            return self._refused(entries, error)
        except (BotoCoreError, ValueError) as error:
            self._client = None
            return [Answer(Fate.LATER, f"EventBridge is away: {error!s:.200}")] * len(entries)
        if len(answers) != len(entries):
            return [Answer(Fate.LATER, "an answer that EventBridge does not give")] * len(entries)
        return answers

    def _call(self, entries: Sequence[Entry]) -> list[Answer]:
        client = self._client
        if client is None:
            client = self._client = aws.client(
                self._settings,
                "events",
                connect_seconds=_CONNECT_SECONDS,
                answer_seconds=_ANSWER_SECONDS,
                tries=1,
                connections=self._settings.bridge_calls,
            )
        bus = self._settings.event_bus
        answer = client.put_events(Entries=[entry.parameters(bus) for entry in entries])
        told = answer.get("Entries")
        return [_answer_of(each) for each in told] if isinstance(told, list) else []

    def _refused(self, entries: Sequence[Entry], error: ClientError) -> list[Answer]:
        code = str(error.response.get("Error", {}).get("Code", "unknown"))
        if code in _NEVER:
            if len(entries) == 1:
                return [Answer(Fate.NEVER, f"{code}: {error!s:.300}")]
            # One of them is guilty, and the others shall not wait for it.
            return [answer for entry in entries for answer in self.put([entry])]
        if code in _CREDENTIALS:
            # The next call looks for credentials again.
            self._client = None
            reason = (
                f"AWS refuses our credentials ({code}): renew them, or give this process's role "
                f"events:PutEvents on the bus {self._settings.event_bus}"
            )
            return [Answer(Fate.LATER, reason)] * len(entries)
        return [Answer(Fate.LATER, f"EventBridge answers {code}")] * len(entries)


def _answer_of(told: Any) -> Answer:
    if not isinstance(told, dict):
        return Answer(Fate.LATER, "an answer that EventBridge does not give")
    code = told.get("ErrorCode")
    if code:
        reason = f"{code}: {told.get('ErrorMessage', '')!s:.300}"
        return Answer(Fate.NEVER if code in _NEVER else Fate.LATER, reason)
    if told.get("EventId"):
        return Answer(Fate.DELIVERED)
    return Answer(Fate.LATER, "an answer without an id")
