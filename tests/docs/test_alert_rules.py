"""The rules for Prometheus speak of what the processes really tell."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import promql_parser
import pytest
import yaml

from api.metrics import Metrics
from api.problems import Fault
from streams import metrics
from tests.docs.pages import ROOT

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
