"""``wallet settings``: what is in force, so that nobody has to guess what a process read."""

from __future__ import annotations

import click

from schemas.settings import Settings


@click.command("settings", help="Print the settings in force; secrets are starred.")
@click.option("--all", "everything", is_flag=True, help="Also those that have their default.")
def command(everything: bool) -> None:
    """One line a setting, as a shell would take it."""
    default = Settings().redacted()
    for name, value in Settings.from_environ().redacted().items():
        if everything or value != default.get(name):
            click.echo(f"{name}={value}")
