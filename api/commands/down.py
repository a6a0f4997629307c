"""``wallet down``: stop what ``wallet up`` runs, attached to a terminal or not."""

from __future__ import annotations

from pathlib import Path

import click

from api.home import take_down
from schemas.settings import Settings


@click.command("down")
def command() -> None:
    """Stop the wallet of this folder, also what a killed `wallet up` has left running.

    Services drain first, then the servers stop; the data stays.
    """
    home = Path(Settings.from_environ().home).resolve()
    click.echo("stopped" if take_down(home) else f"nothing of {home} runs")
