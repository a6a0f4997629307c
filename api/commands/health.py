"""``wallet health``: ask a process whether it lives, as a container's health check does."""

from __future__ import annotations

import urllib.error
from pathlib import Path
from typing import Final

import click

from api.probes import address_of
from schemas.settings import Settings
from streams.local.asking import fault_of

#: The first process of a container, which is what a container is for.
_FIRST: Final = Path("/proc/1/cmdline")

PROCESSES: Final = ("api", "worker", "watcher", "payer", "bridge", "views")


@click.command("health")
@click.argument("process", type=click.Choice(PROCESSES), required=False)
@click.option("--ready", is_flag=True, help="Also whether it can do its work now (/readyz).")
def command(process: str | None, ready: bool) -> None:
    """Ask a process of this machine, by the port of its settings, whether it lives (/healthz).

    Without PROCESS it asks the first process of the container. Exits with 0 or 1, and a line that
    says why. Restart what does not live; what is not ready waits by itself.
    """
    settings = Settings.from_environ()
    name = process or _of_container()
    path = "/readyz" if ready else "/healthz"
    try:
        said = fault_of(f"{address_of(name, settings)}{path}", settings.api_tls_certificate)
    except OSError as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise click.ClickException(f"the {name} does not answer: {reason}") from None
    if said is not None:
        raise click.ClickException(f"the {name} is not {'ready' if ready else 'well'}: {said}")
    click.echo(f"the {name} is {'ready' if ready else 'well'}")


def _of_container() -> str:
    """The process that the container runs, by its command line."""
    try:
        words = _FIRST.read_bytes().decode(errors="replace").split("\0")
    except OSError:
        words = []
    for word in words:
        if word in PROCESSES:
            return word
    raise click.UsageError(f"say which: {', '.join(PROCESSES)}")
