"""``python -m clients.generate`` writes what is stale, ``--check`` only tells."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from clients.generate import models, pages

ROOT: Final = Path(__file__).parents[2]


def files() -> Mapping[str, str]:
    """Path in the project to content, of everything that is made here."""
    return {**models.files(), **pages.files()}


def stale(root: Path = ROOT) -> dict[str, str]:
    """What differs from what is there, with what it should be."""
    return {
        path: text
        for path, text in files().items()
        if not (root / path).exists() or (root / path).read_text(encoding="utf-8") != text
    }


def main(arguments: list[str]) -> int:
    """Write, or with ``--check`` only tell; 1 if something was found stale by the check."""
    if arguments not in ([], ["--check"]):
        print("usage: python -m clients.generate [--check]", file=sys.stderr)
        return 2
    changed = stale()
    for path, text in changed.items():
        if arguments:
            print(f"stale: {path}; `make docs` writes it again")
            continue
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text, encoding="utf-8")
        print(path)
    return 1 if arguments and changed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
