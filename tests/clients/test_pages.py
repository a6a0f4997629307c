"""The contract's pages open without the internet, and show all of it."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any, Final

import pytest

from api.openapi import document
from clients.generate.pages import FOLDER
from schemas.asyncapi import asyncapi
from schemas.documents import all_schemas
from schemas.rejections import Rejection
from tests.test_house import ROOT

PAGES: Final = ("messages", "rest")
#: Elements that never have an end.
VOID: Final = frozenset({"meta", "link", "br", "img", "hr", "input"})


class Reader(HTMLParser):
    """What a page holds, and whether its elements are closed as they were opened."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []
        self.words = ""
        self._open: list[str] = []
        self.feed((ROOT / FOLDER / f"{name}.html").read_text(encoding="utf-8"))
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element begins."""
        self.tags.add(tag)
        if tag not in VOID:
            self._open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name == "href" and tag == "a":
                self.links.append(value or "")
            elif name in {"src", "href", "srcset", "action", "data", "style"}:
                self.loads.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        """An element ends."""
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Text."""
        self.words += data
        if self._open and self._open[-1] == "style":
            assert "url(" not in data
            assert "@import" not in data


@pytest.mark.parametrize("name", PAGES)
def test_a_page_loads_nothing_and_runs_nothing(name: str) -> None:
    page = Reader(name)
    assert page.loads == []
    assert not page.tags & {"script", "link", "img", "iframe", "object", "embed", "form"}


@pytest.mark.parametrize("name", PAGES)
def test_each_link_leads_to_something_on_the_pages(name: str) -> None:
    page = Reader(name)
    assert page.links
    for link in page.links:
        if link.startswith("#"):
            assert link[1:] in page.ids, link
        else:
            assert (ROOT / FOLDER / link).is_file(), link


@pytest.mark.parametrize("name", PAGES)
def test_each_place_has_one_name(name: str) -> None:
    ids = Reader(name).ids
    assert sorted(ids) == sorted(set(ids))


def test_every_topic_record_shape_and_rejection_is_shown() -> None:
    page = Reader("messages")
    contract = asyncapi()
    wanted = {channel["address"] for channel in contract["channels"].values()}
    wanted |= set(contract["components"]["messages"])
    wanted |= {code.value for code in Rejection}
    wanted |= {name for schema in all_schemas().values() for name in schema.get("$defs", {})}
    assert wanted <= set(page.ids)
    for path, schema in all_schemas().items():
        # The rejections are a table of their own.
        assert path == "rejections.json" or schema["$id"] in page.words


def test_every_call_shape_and_problem_is_shown() -> None:
    page = Reader("rest")
    contract: Any = document()
    wanted = set(contract["components"]["schemas"]) | set(contract["x-problems"])
    for path, methods in contract["paths"].items():
        assert path in page.words
        wanted |= {operation["operationId"] for operation in methods.values()}
    assert wanted <= set(page.ids)
