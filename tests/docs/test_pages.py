"""What the pages say is so: links, commands, settings, files, topics and examples exist."""

from __future__ import annotations

import ast
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
import pytest

from api.cli import COMMANDS, group
from schemas.events import EventType
from schemas.ids import Place, number_of, text_of
from schemas.settings import KAFKA_PREFIX, PREFIX, Settings
from schemas.topics import TOPICS, CommandTopic
from tests.docs.pages import PAGES, ROOT, anchors, blocks, links, name_of, prose, shell_lines, spans

DOCS: Final = ROOT / "docs"
DECISIONS: Final = sorted((DOCS / "decisions").glob("0*.md"))
LINE_LENGTH_MAX: Final = 100

SETTINGS: Final = {f"{PREFIX}{field.upper()}" for field in Settings.__struct_fields__}
TARGETS: Final = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))

#: Names of topics and events; the whole span must be one.
_DOTTED: Final = re.compile(r"(wallet|withdrawal|deposit|escrow|funds|command|sale)\.[a-z_.-]+")
_FOLDERS: Final = (
    *("api", "bench", "clients", "db", "docs", "examples", "processors", "schemas", "streams"),
    "tests",
)
_PATH: Final = re.compile(rf"({'|'.join(_FOLDERS)})/[\w./-]*|[\w-]+\.(toml|md|lock|yml)|Makefile")
#: Code that the page itself has the reader make, or that a run makes.
_MADE: Final = ("bench/results/latest.json",)

every_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@every_page
def test_commands_exist_with_their_options(page: Path) -> None:
    for words in wallet_commands(page):
        check_command(words)


def wallet_commands(page: Path) -> Iterator[list[str]]:
    """Each call of ``wallet`` that a page shows, as words; alternatives (a|b) one by one."""
    calls = [span for span in spans(page) if span.startswith("wallet ")]
    for line in shell_lines(page):
        calls += re.findall(r"(?:^|[|&;(] *|bin/)(wallet [^|&;)]*)", line)
    for call in calls:
        _, name, *rest = shlex.split(call.replace("…", "").strip())
        names = name.split("|")
        if len(names) > 1:
            yield from ([one] for one in names)
        elif rest and "|" in rest[0] and not rest[0].startswith("-"):
            yield from ([name, one, *rest[1:]] for one in rest[0].split("|"))
        else:
            yield [name, *rest]


def check_command(words: list[str]) -> None:
    """Fail unless the command line knows the command, its subcommand and its options."""
    context = click.Context(group)
    if words[0].startswith("-"):
        return
    assert words[0] in COMMANDS, words
    command = group.get_command(context, words[0])
    assert command is not None
    rest = words[1:]
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        command, rest = command.get_command(context, rest[0]), rest[1:]
        assert command is not None, words
    known = {option for parameter in command.get_params(context) for option in parameter.opts}
    for word in rest:
        if word.startswith("--"):
            assert word.partition("=")[0] in known, words


@every_page
def test_settings_exist(page: Path) -> None:
    for name in re.findall(r"\bWALLET_[A-Z_]+\b(?!\*)", page.read_text()):
        known = name in SETTINGS or name.startswith(KAFKA_PREFIX.rstrip("_"))
        known = known or name.removesuffix("_FILE") in SETTINGS
        # WALLET_RULES_* and the like stand for all that begin so.
        assert known or any(setting.startswith(name) for setting in SETTINGS), name


@every_page
def test_tasks_of_make_exist(page: Path) -> None:
    for call in [*spans(page), *shell_lines(page)]:
        if match := re.match(r"make ([a-z]+)", call):
            assert match[1] in TARGETS, call


@every_page
def test_files_exist(page: Path) -> None:
    for span in spans(page):
        if _PATH.fullmatch(span) and not span.startswith(_MADE):
            assert (ROOT / span).exists() or (page.parent / span).exists(), span


@every_page
def test_topics_and_events_exist(page: Path) -> None:
    known = {topic.name for topic in TOPICS} | {event.value for event in EventType}
    known |= {"wallet.time", "escrow.id"}
    for span in spans(page):
        if _DOTTED.fullmatch(span) and not span.endswith((".md", ".py", ".json")):
            assert span in known, span


@every_page
def test_prose_fits_on_the_screen(page: Path) -> None:
    if "Made by `make docs`" in page.read_text():
        return
    for line in prose(page).splitlines():
        # A row of a table and a long link cannot be broken.
        if not line.startswith("|") and "](" not in line:
            assert len(line) <= LINE_LENGTH_MAX, line


def test_every_page_can_be_found() -> None:
    linked = {
        (page.parent / link.partition("#")[0]).resolve()
        for page in PAGES
        for link in links(page)
        if "://" not in link
    }
    lost = [name_of(page) for page in PAGES[1:] if page.resolve() not in linked]
    assert not lost


def test_every_alarm_and_every_runbook_is_in_the_operators_table() -> None:
    page = DOCS / "operating.md"
    rows = [line for line in page.read_text().splitlines() if "](runbooks/" in line]
    for kind in sorted(alarms()):
        assert any(f"`{kind}`" in row for row in rows), kind
    for runbook in sorted((DOCS / "runbooks").glob("*.md")):
        assert any(f"](runbooks/{runbook.name}" in row for row in rows), runbook.name


def alarms() -> set[str]:
    """Every kind of alarm that some process sounds, and every rule of the views."""
    rules = tomllib.loads((ROOT / "streams/views/rules.toml").read_text())["rule"]
    return {rule["name"] for rule in rules} | {
        str(kind)
        for path in (ROOT / "streams").rglob("*.py")
        for kind in _kinds_of(ast.parse(path.read_text()))
    }


def _kinds_of(module: ast.Module) -> Iterator[object]:
    """What a module's calls of a bell name first, as it stands or by a name of the module."""
    named = {
        node.target.id: node.value.value
        for node in module.body
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(module):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if node.func.attr in {"sound", "alarm", "_alarm"} and node.args:
            match node.args[0]:
                case ast.Constant(kind):
                    yield kind
                case ast.Name(name) if name in named:
                    yield named[name]


def test_every_metric_of_the_background_is_in_the_operators_table() -> None:
    page = (DOCS / "operating.md").read_text()
    source = (ROOT / "streams" / "metrics.py").read_text()
    told = re.findall(r'"(wallet_(?:watcher|payer|relay|bridge)_[a-z_]+)"', source)
    assert told
    for name in told:
        assert f"`{name}`" in page, name


@pytest.mark.parametrize("page", DECISIONS, ids=name_of)
def test_a_decision_says_why_what_and_what_follows(page: Path) -> None:
    text = page.read_text()
    assert text.startswith(f"# {page.name[:4]} ")
    places = [text.index(f"**{part}.**") for part in ("Context", "Decision", "What follows")]
    assert places == sorted(places)


def test_decisions_are_numbered_without_a_gap() -> None:
    assert [page.name[:4] for page in DECISIONS] == [
        f"{number:04}" for number in range(1, len(DECISIONS) + 1)
    ]


def test_the_glossary_explains_each_word_once() -> None:
    text = prose(DOCS / "glossary.md")
    words = re.findall(r"^\*\*([^*]+)\*\*", text, re.MULTILINE)
    assert len(words) == len(set(words)) > 60


def test_a_producer_can_tell_a_commands_id_from_its_place() -> None:
    (block,) = [b for b in blocks(DOCS / "producing.md") if b.language == "python"]
    told: dict[str, Any] = {}
    exec(compile(block.code, "producing.md", "exec"), told)
    for place in (
        Place(CommandTopic.SERVICES, 1, 3, 41),
        Place(CommandTopic.TREASURY, 7, 65535, 2**56 - 1),
        Place(CommandTopic.USERS, 1, 0, 2**41 + 5),
    ):
        found = told["command_id"](place.topic, place.partition, place.offset, place.generation)
        assert found == text_of(number_of(place))


def test_the_event_that_a_consumer_is_shown_is_one() -> None:
    (block,) = [b for b in blocks(DOCS / "consuming.md") if b.language == "json"]
    example = json.loads((ROOT / "schemas/examples/events/funds.locked.json").read_text())
    shown = json.loads(block.code)
    assert shown.pop("data").keys() == example.pop("data").keys()
    assert shown == example


@pytest.mark.parametrize("name", ["architecture", "coins"])
def test_the_picture_is_drawn_in_plain_text_alone(name: str) -> None:
    picture = (DOCS / f"{name}.svg").read_text()
    assert f"{name}.svg" in (DOCS / f"{name}.md").read_text()
    assert not re.search(r"<(script|image|foreignObject)|href=", picture)
