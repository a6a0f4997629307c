"""The contract as two pages that any browser shows without the internet and without a script."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from api.openapi import document
from schemas.asyncapi import asyncapi
from schemas.documents import all_schemas

Schema = dict[str, Any]

FOLDER: Final = "docs/html"
_ROOT: Final = Path(__file__).parents[2]
_LIMITS: Final = ("minimum", "maximum", "minLength", "maxLength", "pattern", "format", "default")


class Field(NamedTuple):
    """A row of a table: of a field, or of a parameter."""

    name: str
    required: bool
    type: Markup
    about: Markup


class Message(NamedTuple):
    """A record of a topic, with all that a reader wants to see of it."""

    name: str
    about: str
    schema: Schema
    fields: list[Field]
    example: str


def files() -> Mapping[str, str]:
    """Path in the project to content."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"prose": prose, "pretty": pretty}
    style = (_ROOT / "api/static/docs.css").read_text(encoding="utf-8")
    views = {"messages": _messages(), "rest": _rest()}
    return {
        f"{FOLDER}/{name}.html": environment.get_template(f"{name}.html.jinja").render(
            style=Markup(style),  # noqa: S704  our own file
            **view,
        )
        for name, view in views.items()
    }


def prose(text: str) -> Markup:
    """Running text, in which what stands between backticks is code."""
    text = re.sub("``?", "`", " ".join(text.split()))
    parts = [escape(part) for part in text.split("`")]
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else part
        for number, part in enumerate(parts)
    )


def pretty(value: object) -> str:
    """JSON as a person reads it."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def type_of(schema: Schema) -> Markup:
    """A type in a few words; what has a name is a link to it."""
    match schema:
        case {"$ref": str(path)}:
            return Markup('<a href="#{0}">{0}</a>').format(path.rpartition("/")[2])
        case {"allOf": [first, *_]}:
            return type_of(first)
        case {"anyOf": list(options)}:
            return Markup(" or ").join(type_of(option) for option in options)
        case {"const": value}:
            return Markup("<code>{}</code>").format(json.dumps(value))
        case {"enum": list(values)}:
            return Markup(" or ").join(
                Markup("<code>{}</code>").format(json.dumps(value)) for value in values
            )
        case {"type": "array", "items": dict(items)}:
            return Markup("list of {}").format(type_of(items))
        case {"type": str(name)}:
            return escape(name)
    return Markup("any")


def fields_of(schema: Schema) -> list[Field]:
    """The fields of an object."""
    required = schema.get("required", ())
    return [
        Field(name, name in required, type_of(part), _about(part))
        for name, part in schema.get("properties", {}).items()
    ]


def _about(part: Schema) -> Markup:
    limits = [
        f"{limit} {part[limit] if isinstance(part[limit], str) else json.dumps(part[limit])}"
        for limit in _LIMITS
        if limit in part
    ]
    about = prose(part.get("description", ""))
    if not limits:
        return about
    return Markup('{} <span class="type">({})</span>').format(about, ", ".join(limits))


def _messages() -> dict[str, Any]:
    """Topics, records and their shapes, of the AsyncAPI document and the schemas."""
    contract = asyncapi()
    schemas = all_schemas()
    shapes: dict[str, Schema] = {}
    for schema in schemas.values():
        for name, shape in schema.get("$defs", {}).items():
            known = shapes.setdefault(name, shape)
            # One with all codes of a rejection, one with those of its own: the fullest is shown.
            if len(json.dumps(shape)) > len(json.dumps(known)):
                shapes[name] = shape
    topics = []
    for channel in contract["channels"].values():
        names = list(channel["messages"])
        topics.append((channel, [_message(name, contract, schemas) for name in names]))
    return {
        "contract": contract,
        "topics": topics,
        "shapes": [(name, shapes[name], fields_of(shapes[name])) for name in sorted(shapes)],
        "rejections": schemas["rejections.json"]["oneOf"],
        "type_of": type_of,
    }


def _message(name: str, contract: Schema, schemas: Mapping[str, Schema]) -> Message:
    message = contract["components"]["messages"][name]
    payload = message["payload"]
    schema: Schema = payload
    if "schema" in payload:
        schema = schemas[payload["schema"]["$ref"].removeprefix("./json/")]
    examples = [pretty(example["payload"]) for example in message.get("examples", ())]
    return Message(name, message["summary"], schema, fields_of(schema), "\n".join(examples))


def _rest() -> dict[str, Any]:
    """The OpenAPI document."""
    contract: Any = document()
    shapes = contract["components"]["schemas"]
    return {
        "contract": contract,
        "groups": [
            (tag["name"], list(_operations(contract, tag["name"]))) for tag in contract["tags"]
        ],
        "problems": _problems(contract),
        "shapes": [(name, shapes[name], fields_of(shapes[name])) for name in sorted(shapes)],
        "type_of": type_of,
    }


def _operations(contract: Any, tag: str) -> Iterator[dict[str, Any]]:
    for path, methods in contract["paths"].items():
        for method, operation in methods.items():
            if tag in operation["tags"]:
                yield {
                    "requestBody": None,
                    **operation,
                    "method": method.upper(),
                    "path": path,
                    "given": _parameters(operation),
                }


def _parameters(operation: Any) -> list[tuple[str, Field]]:
    return [
        (
            parameter["in"],
            Field(
                parameter["name"],
                parameter.get("required", False),
                type_of(parameter["schema"]),
                _about({**parameter["schema"], "description": parameter.get("description", "")}),
            ),
        )
        for parameter in operation.get("parameters", ())
    ]


def _problems(contract: Any) -> list[tuple[str, str, str]]:
    """Each code of a problem with its status and its line."""
    found: dict[str, str] = {}
    for methods in contract["paths"].values():
        for operation in methods.values():
            for status, response in operation["responses"].items():
                body = response.get("content", {}).get("application/problem+json")
                if body:
                    codes = body["schema"]["allOf"][1]["properties"]["code"]["enum"]
                    found |= dict.fromkeys(codes, status)
    lines = contract["x-problems"]
    return [(code, found[code], lines[code]) for code in sorted(found)]
