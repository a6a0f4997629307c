"""The OpenAPI 3.1 document, made from the table of routes and the structs that they answer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Final

import msgspec

from api import reading, shapes
from api.problems import CONTENT_TYPE, ProblemDocument, status_of
from api.requests import KEY_MAX_CHARACTERS, TEXT_MAX_CHARACTERS, WAIT_MAX_SECONDS
from api.routes import PREFIX, ROUTES, Access, Route
from schemas.amounts import AMOUNT_PATTERN, Koinu, Share
from schemas.commands import UUID_PATTERN
from schemas.ledger import USER_ACCOUNTS, EntryType

_REFERENCE: Final = "#/components/schemas/{name}"
_JSON: Final = "application/json"

_DESCRIPTION: Final = f"""\
A custodial Dogecoin wallet. Amounts are DOGE as decimal text with at most eight decimals, never
numbers. Each path may be written with or without its last slash. What is not named here, be it a
query parameter or a field of a body, is refused with a 400, and so is either where it comes twice.

A POST puts a command on the wallet's topic and waits for its outcome: the answer is what was
committed. It needs an `Idempotency-Key` of your own choosing: the same key with the same request
is answered with the first outcome again (`Idempotency-Replayed: true`), and no money moves twice.
So whenever you are in doubt (a time-out, a 503), send it again with the same key.
`Prefer: respond-async`, or a wait that runs out (`Prefer: wait=SECONDS`, at most
{WAIT_MAX_SECONDS:.0f}), answers 202 with the place where the outcome will be."""

_TAGS: Final = {
    Access.USER: "For users",
    Access.EITHER: "For users and services",
    Access.SERVICE: "For services",
}
_SECURITY: Final[dict[Access, list[dict[str, list[str]]]]] = {
    Access.USER: [{"user": []}],
    Access.EITHER: [{"user": []}, {"service": []}],
    Access.SERVICE: [{"service": []}],
}


def _query(name: str, description: str, schema: Mapping[str, object]) -> dict[str, object]:
    return {"name": name, "in": "query", "description": description, "schema": schema}


_TEXT: Final = {"type": "string", "minLength": 1, "maxLength": TEXT_MAX_CHARACTERS}
_TIME: Final = {"type": "string", "format": "date-time"}
#: As ``idempotency_key_of`` reads them: a quoted one may be longer by its quotes and backslashes.
_PLAIN_KEY: Final = (
    r'[^"\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]'
    f"{{0,{KEY_MAX_CHARACTERS - 1}}}"
)
_QUOTED_KEY: Final = rf'"([ !#-\[\]-~]|\\["\\]){{1,{KEY_MAX_CHARACTERS}}}"'
_PARAMETERS: Final[dict[str, dict[str, object]]] = {
    "at": _query("at", "The balance as it was then (RFC 3339 with its offset).", _TIME),
    "limit": _query(
        "limit",
        "Most entries on the page.",
        {
            "type": "integer",
            "minimum": 1,
            "maximum": reading.PAGE_MAX,
            "default": reading.PAGE_DEFAULT,
        },
    ),
    "cursor": _query("cursor", "`next` of the page before.", {"type": "string"}),
    "type": _query(
        "type", "Entries of this type.", {"enum": [entry_type.value for entry_type in EntryType]}
    ),
    "account": _query(
        "account",
        "Entries of this account.",
        {"enum": [account.value for account in USER_ACCOUNTS]},
    ),
    "reference_type": _query("reference_type", "Entries with this kind of reference.", _TEXT),
    "reference_id": _query("reference_id", "Entries with this reference.", _TEXT),
    "from": _query("from", "Entries from then on, that instant included.", _TIME),
    "to": _query("to", "Entries before then.", _TIME),
    "prefer": {
        "name": "Prefer",
        "in": "header",
        "description": "`respond-async`, or `wait=SECONDS` for the outcome (RFC 7240).",
        "schema": {"type": "string", "examples": ["wait=3", "respond-async"]},
    },
    "key": {
        "name": "Idempotency-Key",
        "in": "header",
        "required": True,
        "description": "Chosen by you, the same for each attempt, at most "
        f"{KEY_MAX_CHARACTERS} characters; plain, or quoted as in RFC 9651.",
        "schema": {"type": "string", "pattern": f"^({_PLAIN_KEY}|{_QUOTED_KEY})$"},
    },
    "id": {
        "name": "id",
        "in": "path",
        "required": True,
        "description": "An id that this wallet gave.",
        "schema": {"type": "string", "pattern": UUID_PATTERN},
    },
}


def document() -> dict[str, object]:
    """The OpenAPI document as plain values."""
    types = list(dict.fromkeys(_types()))
    references, components = msgspec.json.schema_components(
        types, schema_hook=_schema_of_custom, ref_template=_REFERENCE
    )
    schemas = dict(zip(types, references, strict=True))
    paths: dict[str, dict[str, object]] = {}
    for route in ROUTES:
        paths.setdefault(f"{PREFIX}{route.path}/", {})[route.method.lower()] = _operation(
            route, schemas
        )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Wallet",
            "version": version("wallet"),
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "x-problems": {code.value: code.line for route in ROUTES for code in route.codes},
        "tags": [{"name": tag} for tag in [*_TAGS.values(), "For operators"]],
        "paths": paths | _operators_paths(schemas),
        "components": {
            "schemas": components,
            "securitySchemes": {
                "user": _bearer("A token (JWT) whose `sub` is the user's UUID."),
                "service": _bearer("A service's token (JWT) with the scope `wallet:internal`."),
            },
        },
    }


def _types() -> list[Any]:
    types: list[Any] = [ProblemDocument, shapes.Pending, shapes.Health]
    for route in ROUTES:
        types.append(route.answer)
        if route.body is not None:
            types.append(route.body)
    return types


def _schema_of_custom(kind: type) -> dict[str, object]:
    text = {"type": "string", "pattern": AMOUNT_PATTERN, "examples": ["12.50000000"]}
    if kind is Koinu:
        zero = {"pattern": r"^0(\.0+)?$"}
        return {**text, "not": zero, "description": "DOGE as decimal text, more than zero"}
    if kind is Share:
        return {**text, "description": "DOGE as decimal text, zero allowed"}
    if kind is msgspec.Raw:
        return {}
    raise TypeError(f"{kind} has no schema")


def _bearer(description: str) -> dict[str, object]:
    return {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": description,
    }


def _operation(route: Route, schemas: dict[Any, Any]) -> dict[str, object]:
    names = [*(("id",) if "{id}" in route.path else ()), *route.parameters]
    if route.method == "POST":
        names += ["key", "prefer"]
    operation: dict[str, object] = {
        "operationId": route.name,
        "summary": route.summary,
        "tags": [_TAGS[route.access]],
        "security": _SECURITY[route.access],
        "parameters": [_PARAMETERS[name] for name in names],
        "responses": _responses(route, schemas),
    }
    if route.body is not None:
        operation["requestBody"] = {
            "required": not route.optional_body,
            "content": {_JSON: {"schema": schemas[route.body]}},
        }
    return operation


def _responses(route: Route, schemas: dict[Any, Any]) -> dict[str, object]:
    responses: dict[str, object] = {
        "200": {
            "description": "The outcome" if route.method == "POST" else "What was asked for",
            "headers": _HEADERS if route.method == "POST" else {},
            "content": {_JSON: {"schema": schemas[route.answer]}},
        }
    }
    if route.sends:
        responses["202"] = {
            "description": "The command is on its topic; its outcome will be at `Location`",
            "headers": {
                "Location": {"required": True, "schema": {"type": "string"}},
                "Retry-After": {"required": True, "schema": {"type": "integer"}},
            },
            "content": {_JSON: {"schema": schemas[shapes.Pending]}},
        }
    codes: dict[int, list[str]] = defaultdict(list)
    for code in route.codes:
        if code.value not in codes[status_of(code)]:
            codes[status_of(code)].append(code.value)
    for status in sorted(codes):
        responses[str(status)] = _refusal(status, codes[status], schemas)
    return responses


_HEADERS: Final = {
    "Idempotency-Replayed": {
        "description": "`true` where the key was used before for the same request.",
        "schema": {"const": "true"},
    }
}


def _refusal(status: int, codes: list[str], schemas: dict[Any, Any]) -> dict[str, object]:
    headers: dict[str, object] = {}
    if status == 401:
        headers["WWW-Authenticate"] = {"required": True, "schema": {"type": "string"}}
    if status in {429, 503}:
        headers["Retry-After"] = {"required": True, "schema": {"type": "integer"}}
    schema = {
        "allOf": [
            schemas[ProblemDocument],
            {"properties": {"status": {"const": status}, "code": {"enum": codes}}},
        ]
    }
    return {
        "description": ", ".join(f"`{code}`" for code in codes),
        "headers": headers,
        "content": {CONTENT_TYPE: {"schema": schema}},
    }


def _operators_paths(schemas: dict[Any, Any]) -> dict[str, dict[str, object]]:
    health = {_JSON: {"schema": schemas[shapes.Health]}}
    text = {"schema": {"type": "string"}}
    ok = {"description": "Yes", "content": health}
    unready = {"description": "Not now; `checks` says why", "content": health}
    return {
        "/healthz": _open("getHealth", "The process runs", {"200": ok}),
        "/readyz": _open(
            "getReadiness", "Database, outcomes and broker answer", {"200": ok, "503": unready}
        ),
        "/metrics": _open(
            "getMetrics",
            "Measurements for Prometheus",
            {"200": {"description": "Prometheus' text format", "content": {"text/plain": text}}},
        ),
        "/openapi.json": _open(
            "getContract",
            "This document",
            {
                "200": {
                    "description": "OpenAPI 3.1",
                    "content": {_JSON: {"schema": {"type": "object"}}},
                }
            },
        ),
        "/docs": _open(
            "getDocs",
            "This document as a page",
            {"200": {"description": "A page", "content": {"text/html": text}}},
        ),
    }


def _open(name: str, summary: str, responses: dict[str, object]) -> dict[str, object]:
    return {
        "get": {
            "operationId": name,
            "summary": summary,
            "tags": ["For operators"],
            "security": [],
            "responses": responses,
        }
    }
