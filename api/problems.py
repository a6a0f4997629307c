"""Every refusal of the API as problem+json (RFC 9457): one place gives the codes their status."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec
from aiohttp import web

from schemas.rejections import Malformed, Rejection, is_dead_letter

CONTENT_TYPE: Final = "application/problem+json"


class Fault(StrEnum):
    """What the API itself refuses, before or instead of a command; each with status and advice."""

    status: int
    line: str

    def __new__(cls, code: str, status: int, line: str) -> Fault:
        member = str.__new__(cls, code)
        member._value_ = code
        member.status = status
        member.line = line
        return member

    BAD_REQUEST = "bad_request", 400, "The request is not HTTP as this API reads it."
    UNKNOWN_PARAMETER = (
        "unknown_parameter",
        400,
        "Leave out the query parameter, or spell it right.",
    )
    BAD_PARAMETER = "bad_parameter", 400, "Correct the parameter as the documentation shows."
    FIELD_REPEATED = "field_repeated", 400, "Give each field of the body once."
    BAD_CURSOR = "bad_cursor", 400, "Take `next` of the page before as it is, or start without."
    KEY_MISSING = "idempotency_key_missing", 400, "Send an Idempotency-Key of your own choosing."
    TOKEN_MISSING = "token_missing", 401, "Send `Authorization: Bearer` with a token."
    TOKEN_INVALID = "token_invalid", 401, "Get a new token from the issuer that this wallet trusts."
    NOT_A_USER = "not_a_user", 403, "Use a token whose `sub` is the user's canonical UUID."
    SCOPE_MISSING = "scope_missing", 403, "Use a service's token with the scope wallet:internal."
    NO_SUCH_PATH = "no_such_path", 404, "Look at /openapi.json for the paths that there are."
    COMMAND_NOT_FOUND = "command_not_found", 404, "There is no such command of yours."
    METHOD_NOT_ALLOWED = "method_not_allowed", 405, "Use a method that the header Allow names."
    TOO_SLOW = "request_too_slow", 408, "Send the whole body at once."
    BODY_TOO_LARGE = "body_too_large", 413, "Send a smaller body; a command needs under 1 KiB."
    NOT_JSON_TYPE = "unsupported_media_type", 415, "Send JSON with Content-Type: application/json."
    RATE_LIMITED = "rate_limited", 429, "Wait for the seconds that Retry-After names."
    INTERNAL = "internal_error", 500, "An operator is told; retry with the same key."
    OUTCOME_UNKNOWN = "outcome_unknown", 503, "It may be on the topic: retry with the same key."
    BROKER_UNAVAILABLE = "broker_unavailable", 503, "Nothing was sent: retry with the same key."
    DATABASE_UNAVAILABLE = "database_unavailable", 503, "Retry; a command with the same key."
    QUERY_TOO_LONG = "query_too_long", 503, "Ask for less: narrow the time, or drop a filter."
    KEYS_UNAVAILABLE = (
        "keys_unavailable",
        503,
        "The issuer's keys can't be fetched just now; retry.",
    )
    OVERLOADED = "overloaded", 503, "Too many requests are under way; retry with the same key."


Code = Rejection | Fault

_BY_STATUS: Final[dict[int, tuple[Rejection, ...]]] = {
    402: (Rejection.INSUFFICIENT_FUNDS,),
    404: (
        Rejection.DEPOSIT_UNKNOWN,
        Rejection.ESCROW_NOT_FOUND,
        Rejection.WITHDRAWAL_NOT_FOUND,
    ),
    409: (
        Rejection.DEPOSIT_MISMATCH,
        Rejection.DEPOSIT_CREDITED,
        Rejection.DEPOSIT_NOT_CREDITED,
        Rejection.ESCROW_EXISTS,
        Rejection.ESCROW_CLOSED,
        Rejection.ESCROW_DISPUTED,
        Rejection.ESCROW_NOT_DISPUTED,
        Rejection.ESCROW_INSUFFICIENT,
        Rejection.WITHDRAWAL_WRONG_STATUS,
        Rejection.WITHDRAWAL_TXID_MISMATCH,
        Rejection.LOCK_INSUFFICIENT,
        Rejection.FEE_POSTED,
        Rejection.FEE_NOT_POSTED,
        Rejection.FEE_MISMATCH,
        Rejection.WRONG_ORDINAL,
        Rejection.NOT_FROZEN,
        Rejection.WALLET_FROZEN,
        Rejection.BALANCE_OVERFLOW,
    ),
    413: (Rejection.TOO_LARGE,),
    422: (
        Rejection.UNPROCESSABLE,
        Rejection.KEY_REUSED,
        Rejection.ADDRESS_MALFORMED,
        Rejection.ADDRESS_WRONG_NETWORK,
        Rejection.ADDRESS_OWN,
        Rejection.ADDRESS_NOT_YOURS,
        Rejection.DEPOSIT_BELOW_MINIMUM,
        Rejection.ESCROW_PARTS_MISMATCH,
        Rejection.SELF_DEALING,
        Rejection.HOUSE_SELLER,
        Rejection.BELOW_MINIMUM,
        Rejection.ABOVE_MAXIMUM,
        Rejection.SAME_ACCOUNT,
        Rejection.RULES_INVALID,
        Rejection.ACCOUNT_IN_FORCE,
    ),
}

#: What cannot be read as a command is a bad request, unless another status says it better.
STATUS_OF: Final[Mapping[Rejection, int]] = {
    code: 400 for code in Rejection if is_dead_letter(code)
} | {code: status for status, codes in _BY_STATUS.items() for code in codes}


#: By the text that outcomes are stored with.
REJECTIONS: Final[Mapping[str, Rejection]] = {code.value: code for code in Rejection}


def status_of(code: Code) -> int:
    """The HTTP status that a code is told with."""
    return code.status if isinstance(code, Fault) else STATUS_OF[code]


class Problem(Exception):
    """A refusal on its way to the caller."""

    def __init__(
        self,
        code: Code,
        detail: str = "",
        *,
        command_id: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{code.value}: {detail or code.line}")
        self.code = code
        self.detail = detail
        self.command_id = command_id
        self.headers = dict(headers or {})

    @classmethod
    def of(cls, malformed: Malformed) -> Problem:
        """The problem of a request that the worker would refuse to read as well."""
        return cls(malformed.code, malformed.detail)


class ProblemDocument(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A problem (RFC 9457): ``code`` is for programs, ``detail`` tells a person what to do."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    command_id: str | None = None


def document_of(problem: Problem, instance: str) -> ProblemDocument:
    """The body of a problem that happened at the path ``instance``."""
    code = problem.code
    advice = problem.detail
    if not advice:
        advice = code.line
    elif isinstance(code, Fault):
        # What was wrong comes first, what to do about it second.
        advice = f"{advice.rstrip('.')}. {code.line}"
    elif advice[-1:] not in ".!?":
        # A rejection's line speaks of envelopes and records, which a caller here does not know.
        advice = f"{advice}."
    return ProblemDocument(
        type=f"/docs#{code.value}",
        title=code.value.replace("_", " ").capitalize(),
        status=status_of(code),
        detail=advice,
        instance=instance,
        code=code.value,
        command_id=problem.command_id,
    )


def render(problem: Problem, instance: str) -> web.Response:
    """The response that tells a problem."""
    headers = dict(problem.headers)
    status = status_of(problem.code)
    if status == 401:
        error = ', error="invalid_token"' if problem.code is Fault.TOKEN_INVALID else ""
        headers["WWW-Authenticate"] = f'Bearer realm="wallet"{error}'
    if status == 503:
        headers.setdefault("Retry-After", "1")
    return web.Response(
        status=status,
        body=msgspec.json.encode(document_of(problem, instance)),
        content_type=CONTENT_TYPE,
        headers=headers,
    )
