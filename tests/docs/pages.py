"""The project's pages as the tests read them: prose, code spans, code blocks, links, headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
README: Final = ROOT / "README.md"
PAGES: Final = (
    README,
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "clients/python/README.md",
    *sorted((ROOT / "examples").glob("*/README.md")),
)

_BLOCK: Final = re.compile(r"^```([a-z]*) ?(.*)\n((?:.*\n)*?)```$", re.MULTILINE)
_SPAN: Final = re.compile(r"`([^`]+)`")
_LINK: Final = re.compile(r"\]\(([^)\s]+)\)")
_HEADING: Final = re.compile(r"^#+ (.*)$", re.MULTILINE)


class Block(NamedTuple):
    """A fenced piece of code; ``name`` is what stands behind its language."""

    language: str
    name: str
    code: str


def name_of(page: Path) -> str:
    """A page's path in the project."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    """The fenced code of a page, in order."""
    return [Block(*found) for found in _BLOCK.findall(page.read_text())]


def prose(page: Path) -> str:
    """A page without its fenced code."""
    return _BLOCK.sub("", page.read_text())


def spans(page: Path) -> Iterator[str]:
    """What stands between backticks, on one line each."""
    for span in _SPAN.findall(prose(page)):
        yield " ".join(span.split())


def links(page: Path) -> list[str]:
    """Where a page points to, as it is written."""
    return _LINK.findall(prose(page))


def anchors(page: Path) -> set[str]:
    """What a link may name behind its ``#``, as the usual hosts make it of headings."""
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in _HEADING.findall(prose(page))
    }


def shell_lines(page: Path) -> Iterator[str]:
    """The lines of a page's shell code, comments taken off, continued lines joined."""
    for block in blocks(page):
        if block.language in {"sh", "bash", "console"}:
            for line in block.code.replace("\\\n", " ").splitlines():
                yield re.sub(r"(^|\s)#.*", "", line).strip().removeprefix("$ ")
