"""What is wrong with a request as it went over the wire, by the OpenAPI document alone.

A generator of requests knows what it meant to make wrong; what of that arrives is another thing: an
empty list among the parameters is sent as nothing at all. Here only what was sent counts.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from jsonschema import Draft202012Validator, FormatChecker, ValidationError, validators

_INTEGER: Final = re.compile("-?(0|[1-9][0-9]*)", re.ASCII)
_FORMATS: Final = FormatChecker(["date-time"])
#: A server with aiohttp reads headers so; what is no UTF-8 stays recognisable.
_UTF8: Final = ("utf-8", "surrogateescape")


def _pattern(
    validator: object, pattern: str, instance: object, schema: object
) -> Iterator[ValidationError]:
    """As ECMA-262 reads it: ``$`` is the end, where Python also takes a line feed before it."""
    if isinstance(instance, str) and not re.search(re.sub(r"\$$", r"\\Z", pattern), instance):
        yield ValidationError(f"{instance!r} is not like {pattern}")


_extend: Final[Any] = validators.extend
_Validator: Final[Any] = _extend(Draft202012Validator, {"pattern": _pattern})


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A request as it left; the names of its headers in lower case."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""

    @classmethod
    def of(cls, request: Any) -> Sent:
        """A prepared request of the library ``requests``."""
        body = request.body or b""
        return cls(
            method=request.method,
            url=request.url,
            headers={name.lower(): _text_of(value) for name, value in request.headers.items()},
            body=body.encode() if isinstance(body, str) else body,
        )


def _text_of(value: str | bytes) -> str:
    raw = value if isinstance(value, bytes) else value.encode("latin-1")
    return raw.strip(b" \t").decode(*_UTF8)


def faults_of(document: Mapping[str, Any], path: str, sent: Sent) -> list[str]:
    """Each breach of what the document says of the operation at ``path``; none if it is valid."""
    operation: Any = document["paths"][path][sent.method.lower()]
    url = urlsplit(sent.url)
    return [
        *_faults_of_path(document, operation, path, url.path),
        *_faults_of_query(document, operation, url.query),
        *_faults_of_headers(document, operation, sent.headers),
        *_faults_of_body(document, operation, sent),
    ]


def _faults_of_path(document: Any, operation: Any, template: str, path: str) -> Iterator[str]:
    pieces = re.split(r"\{(\w+)\}", template.rstrip("/"))
    pattern = "".join(
        f"(?P<{piece}>[^/]+)" if place % 2 else re.escape(piece)
        for place, piece in enumerate(pieces)
    )
    found = re.fullmatch(f"{pattern}/?", path)
    if found is None:
        yield f"path: {path} is no {template}"
        return
    for name, parameter in _declared(operation, "path").items():
        yield from _faults(document, parameter["schema"], unquote(found[name]), f"path {name}")


def _faults_of_query(document: Any, operation: Any, query: str) -> Iterator[str]:
    declared = _declared(operation, "query")
    pairs = parse_qsl(query, keep_blank_values=True)
    for name, count in Counter(name for name, _ in pairs).items():
        # Who names a 400 knows all its parameters; probes and scrapers may say what they like.
        if name not in declared and "400" in operation["responses"]:
            yield f"query: {name!r} is unknown"
        elif name in declared and count > 1:
            yield f"query: {name!r} is given {count} times"
    for name, text in pairs:
        if name in declared:
            schema = declared[name]["schema"]
            is_number = schema.get("type") == "integer" and _INTEGER.fullmatch(text)
            yield from _faults(document, schema, int(text) if is_number else text, f"query {name}")
    yield from _missing(declared, (name for name, _ in pairs), "query")


def _faults_of_headers(document: Any, operation: Any, headers: Mapping[str, str]) -> Iterator[str]:
    declared = _declared(operation, "header")
    for name, parameter in declared.items():
        if name.lower() in headers:
            text = headers[name.lower()]
            yield from _faults(document, parameter["schema"], text, f"header {name}")
    yield from _missing(declared, (name for name in declared if name.lower() in headers), "header")
    if operation["security"] and "authorization" not in headers:
        yield "header: 'Authorization' is missing"


def _faults_of_body(document: Any, operation: Any, sent: Sent) -> Iterator[str]:
    declared = operation.get("requestBody", {"required": False, "content": {}})
    if not sent.body:
        if declared["required"]:
            yield "body: there is none"
        return
    content_type = sent.headers.get("content-type", "").split(";")[0]
    if content_type not in declared["content"]:
        yield f"body: {content_type!r} is not its type"
        return
    try:
        value = json.loads(sent.body.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        yield f"body: it is not JSON: {error}"
        return
    yield from _faults(document, declared["content"][content_type]["schema"], value, "body")


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _declared(operation: Any, place: str) -> dict[str, Any]:
    parameters = operation.get("parameters", [])
    return {each["name"]: each for each in parameters if each["in"] == place}


def _missing(declared: Mapping[str, Any], given: Iterable[str], place: str) -> Iterator[str]:
    for name in declared.keys() - set(given):
        if declared[name].get("required"):
            yield f"{place}: {name!r} is missing"


def _faults(document: Any, schema: Any, value: object, where: str) -> Iterator[str]:
    # With the components beside it, so that references lead somewhere.
    whole = {**schema, "components": document["components"]}
    for error in _Validator(whole, format_checker=_FORMATS).iter_errors(value):
        yield f"{where}: {error.message}"
