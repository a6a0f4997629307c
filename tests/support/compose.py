"""docker-compose.yml as Compose understands it, and as a machine without an engine can run it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parent.parent.parent
FILE: Final = ROOT / "docker-compose.yml"
CORE: Final = ROOT / "deploy" / "core.yml"
#: Where Compose puts secrets inside of a container.
SECRETS: Final = "/run/secrets"
#: The Dockerfile's own check.
_OF_IMAGE: Final = ["CMD", "wallet", "health"]


@dataclass(frozen=True)
class Service:
    """One service of the file, anchors resolved."""

    name: str
    body: Mapping[str, Any]

    @property
    def is_ours(self) -> bool:
        """Whether it runs the wallet's image."""
        return self.body.get("image") == "wallet"

    @property
    def runs_once(self) -> bool:
        """Whether it ends when its work is done."""
        return self.body.get("restart") == "on-failure"

    @property
    def environment(self) -> dict[str, str]:
        """Its variables."""
        return dict(self.body.get("environment", {}))

    @property
    def secrets(self) -> list[str]:
        """The names of those that it is given."""
        return list(self.body.get("secrets", []))

    @property
    def argv(self) -> list[str]:
        """What its first process is called with."""
        entrypoint = self.body.get("entrypoint") or (["wallet"] if self.is_ours else [])
        return [*entrypoint, *self.body.get("command", [])]

    @property
    def check(self) -> list[str]:
        """Its health check's own command; that of the image where it has none."""
        if self.body.get("healthcheck", {}).get("disable"):
            return []
        test: list[str] = self.body.get("healthcheck", {}).get("test", _OF_IMAGE)
        kind, *words = test
        assert kind == "CMD", f"{self.name}: a check without a shell"
        return words

    @property
    def waits_for(self) -> dict[str, str]:
        """Service to the condition that it must fulfil first."""
        found = self.body.get("depends_on", {})
        return {name: wish["condition"] for name, wish in found.items()}


def whole() -> dict[str, Any]:
    """The file."""
    read: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return read


def services() -> dict[str, Service]:
    """By name, in an order in which each stands after what it waits for."""
    left = {name: Service(name, body) for name, body in whole()["services"].items()}
    ordered: dict[str, Service] = {}
    while left:
        ready = [name for name, each in left.items() if each.waits_for.keys() <= ordered.keys()]
        assert ready, f"these wait for each other: {sorted(left)}"
        for name in ready:
            ordered[name] = left.pop(name)
    return ordered


def compose_command() -> list[str] | None:
    """Compose itself, if this machine has it: the plugin, or the program that was before it."""
    if shutil.which("docker") is not None:
        argv = ["docker", "compose", "version"]
        if subprocess.run(argv, capture_output=True, check=False).returncode == 0:
            return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") is not None else None


def rewritten(text: str, places: Mapping[str, str]) -> str:
    """The text with every place of the containers replaced by one outside of them."""
    # In one go, since what is put in may look like what is replaced.
    known = "|".join(map(re.escape, sorted(places, key=len, reverse=True)))
    return re.sub(known, lambda found: places[found[0]], text)
