"""Writes what is made from the contract: JSON Schemas, AsyncAPI, wire examples, two pages.

``python -m schemas.generate`` writes, ``--check`` only tells what is stale. The same contract
gives the same bytes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from schemas.asyncapi import asyncapi
from schemas.catalogue import catalogue, settings_page
from schemas.commands import CommandType
from schemas.documents import all_schemas
from schemas.events import EventType
from schemas.sample_events import event_value
from schemas.samples import ALERT, MANIFEST, WRECKS, command_value, dead_letter

ROOT: Final = Path(__file__).parent.parent
#: Folders of which every file is made here; what else stands there is stale.
WHOLLY_OURS: Final = ("schemas/json", "schemas/examples")


def files() -> Mapping[str, str]:
    """Path in the project to content, of everything that is made."""
    made = {
        "schemas/asyncapi.json": _pretty(asyncapi()),
        "docs/catalogue.md": catalogue(),
        "docs/settings.md": settings_page(),
        "schemas/examples/manifest.json": _example(msgspec.json.encode(MANIFEST)),
        "schemas/examples/alert.json": _example(msgspec.json.encode(ALERT)),
    }
    made |= {f"schemas/json/{path}": _pretty(schema) for path, schema in all_schemas().items()}
    for kind in CommandType:
        made[f"schemas/examples/commands/{kind}.json"] = _example(command_value(kind))
    for event in EventType:
        made[f"schemas/examples/events/{event}.json"] = _example(event_value(event))
    for code in WRECKS:
        notice = msgspec.json.encode(dead_letter(code))
        made[f"schemas/examples/dead-letters/{code}.json"] = _example(notice)
    return made


def stale(root: Path = ROOT) -> list[str]:
    """What ``write`` would change: paths that differ, are missing, or should not be there."""
    made = files()
    differing = [path for path, text in made.items() if _read(root / path) != text]
    return sorted(differing + _left_over(root, made))


def write(root: Path = ROOT) -> list[str]:
    """Write what is stale; returns its paths."""
    made = files()
    changed = stale(root)
    for path in changed:
        if path in made:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(made[path], encoding="utf-8")
        else:
            (root / path).unlink()
    return changed


def _left_over(root: Path, made: Mapping[str, str]) -> list[str]:
    present = (
        path.relative_to(root).as_posix()
        for folder in WHOLLY_OURS
        for path in (root / folder).rglob("*")
        if path.is_file()
    )
    return [path for path in present if path not in made]


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def _pretty(document: object) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _example(value: bytes) -> str:
    return _pretty(json.loads(value))


def main(arguments: list[str]) -> int:
    """Write, or with ``--check`` only tell; 1 if something was found stale by the check."""
    if arguments not in ([], ["--check"]):
        print("usage: python -m schemas.generate [--check]", file=sys.stderr)
        return 2
    if arguments:
        changed = stale()
        for path in changed:
            print(f"stale: {path}; `make docs` writes it again")
        return 1 if changed else 0
    for path in write():
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
