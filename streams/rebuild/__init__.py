"""Rebuilds a database from the log alone, and compares it with the one it stands for."""

from __future__ import annotations

from streams.rebuild.compare import Comparison, SourceBehind, catch_up_and_compare, compare
from streams.rebuild.manifests import ManifestsContradict, ManifestsMissing
from streams.rebuild.replay import (
    AnotherLogic,
    Diverged,
    Rebuild,
    Rebuilt,
    RulesDiffer,
    TargetNotEmpty,
)

__all__ = [
    "AnotherLogic",
    "Comparison",
    "Diverged",
    "ManifestsContradict",
    "ManifestsMissing",
    "Rebuild",
    "Rebuilt",
    "RulesDiffer",
    "SourceBehind",
    "TargetNotEmpty",
    "catch_up_and_compare",
    "compare",
]
