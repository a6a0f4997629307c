"""``wallet alerts``: what the processes and the views tell operators."""

from __future__ import annotations

import click
import msgspec

from api.commands.arguments import Commands
from api.commands.tailing import Tailed, show, tailing
from schemas.publications import Alert
from schemas.settings import Settings
from streams.operator.tail import follow_alerts


@click.group("alerts", cls=Commands)
def command() -> None:
    """Follow the alarms of the processes, and the alerts of the views."""


@command.command("tail")
@click.option(
    "--kind", "kinds", multiple=True, help="Of this kind, or like withdrawal-*; may be repeated."
)
@tailing
def tail(kinds: tuple[str, ...], tailed: Tailed) -> None:
    """Print alerts as they come: JSON, a line each; on a terminal, lines to read.

    Without --from-beginning or --since those from now on are shown. docs/operating.md names the
    runbook of each kind.
    """
    alerts = follow_alerts(Settings.from_environ(), kinds, tailed.span)
    show(alerts, tailed, lambda told: (line_of(told[0]), told[1]))


def line_of(alert: Alert) -> str:
    """Time, who tells it, kind, what it is about, what was found; and of the views what is to do.

    What a stranger wrote may stand in it, and nothing in it may act on the terminal.
    """
    state = "" if alert.state is msgspec.UNSET else f" {alert.state}"
    line = f"{alert.time} {alert.source} {alert.kind}{state} {alert.subject}: {alert.detail}"
    if alert.do is not msgspec.UNSET and alert.state != "ended":
        line += f" → {alert.do}"
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in line)
