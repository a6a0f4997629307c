"""The rules for Prometheus speak of what the processes really tell."""

from __future__ import annotations

import importlib.util
from types import ModuleType
from typing import Any, Final, NamedTuple

import promql_parser
import pytest
import yaml
from prometheus_client import generate_latest

from api.metrics import Metrics
from api.problems import Fault
from streams import metrics
from tests.docs.pages import ROOT

PROCESSES: Final = ("worker", "watcher", "payer", "bridge", "views")

_PAGE: Final = ROOT / "deploy" / "prometheus" / "alerts.yml"
_GROUPS: Final[list[dict[str, Any]]] = yaml.safe_load(_PAGE.read_text())["groups"]
RULES: Final = [rule for group in _GROUPS for rule in group["rules"]]


class Told(NamedTuple):
    """A series that a process tells; its text names the values that its labels have."""

    labels: set[str]
    text: str


def _told() -> dict[str, Told]:
    told = {}
    for registry in (metrics.registry, Metrics().registry):
        for name, collector in registry._names_to_collectors.items():
            labels = {*getattr(collector, "_labelnames", ())}
            if name.endswith("_bucket"):
                labels.add("le")
            told[name] = Told(labels, getattr(collector, "_documentation", ""))
    return told


TOLD: Final = _told()
#: Too many for a metric's text.
CODES: Final = {code.value for code in Fault}


def selectors_of(expression: str) -> list[promql_parser.VectorSelector]:
    """What an expression asks for; raises ``ValueError`` where Prometheus would not take it."""
    found: list[promql_parser.VectorSelector] = []

    def look(node: object) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)

    promql_parser.walk(promql_parser.parse(expression), look)
    return found


@pytest.fixture(params=RULES, ids=lambda rule: str(rule["alert"]))
def rule(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = request.param
    return found


def test_a_rule_asks_for_what_is_told(rule: dict[str, Any]) -> None:
    selectors = selectors_of(rule["expr"])
    assert selectors
    for selector in selectors:
        assert selector.name in TOLD
        told = TOLD[selector.name]
        for matcher in selector.matchers.matchers:
            assert matcher.name in told.labels
            for value in matcher.value.split("|"):
                assert value in told.text or value in CODES


def test_a_rule_says_who_is_woken_and_where_to_read_on(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["summary"].endswith((".", "?"))
    assert (ROOT / rule["annotations"]["runbook"]).is_file()


def test_names_are_given_once() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(names) == len(set(names))
    assert all(name.startswith("Wallet") for name in names)


def test_whatever_may_not_be_over_zero_has_a_rule() -> None:
    page = (ROOT / "docs" / "operating.md").read_text()
    rows = [line.split("|") for line in page.splitlines() if line.startswith("| `wallet_")]
    asked = {selector.name for rule in RULES for selector in selectors_of(rule["expr"])}
    over_zero = {row[1].split("`")[1] for row in rows if row[2].strip().startswith("over 0")}
    assert over_zero
    assert over_zero <= asked


def names_of(exposition: bytes) -> set[str]:
    lines = exposition.decode().splitlines()
    return {line.split("{")[0].split(" ")[0] for line in lines if not line.startswith("#")}


def just_started() -> ModuleType:
    """What processes measure when nothing has happened yet."""
    spec = importlib.util.find_spec("streams.metrics")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_process_that_is_gone_is_not_told_of_by_another_one() -> None:
    """Else ``absent`` is never true."""
    told = {process: names_of(metrics.exposition(process)) for process in PROCESSES}
    told["api"] = names_of(Metrics().expose())
    absent = [rule["expr"] for rule in RULES if rule["expr"].startswith("absent(")]
    assert len(absent) == len(told)
    for expression in absent:
        (selector,) = selectors_of(expression)
        assert sum(selector.name in names for names in told.values()) == 1


def test_what_a_rule_counts_is_told_before_it_happens(rule: dict[str, Any]) -> None:
    """Else the first time is not seen: a series that begins with 1 has not risen."""
    for selector in selectors_of(rule["expr"]):
        if not (selector.name or "").endswith("_total"):
            continue
        lines = Metrics().expose() + generate_latest(just_started().registry)
        for matcher in selector.matchers.matchers:
            for value in matcher.value.split("|"):
                assert f'{selector.name}{{{matcher.name}="{value}"}} 0.0' in lines.decode()
        assert f"\n{selector.name}" in lines.decode()


@pytest.mark.parametrize("process", ["watcher", "payer"])
def test_who_stands_by_tells_nothing_of_what_it_saw_when_it_worked(process: str) -> None:
    fresh = just_started()
    seen = (fresh.LAG_BLOCKS, fresh.REFUSED, fresh.STRANDED, fresh.COINS_MISSING)
    for gauge in seen:
        gauge.set(7)
    fresh.ORDERS_LATE.labels(f"{process}_outbox").set(7)
    fresh.stand_by(process)
    assert b" 7.0" not in fresh.exposition(process)
