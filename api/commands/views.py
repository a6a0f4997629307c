"""``wallet views``: live views over the events, and the alerts made from them."""

from __future__ import annotations

import click
import msgspec

from api.commands.arguments import Whole
from processors.dogecoin.derivation import AccountKeyUnusable
from schemas.settings import Settings
from streams import logs
from streams.views.process import ViewsFailed, rebuild, run_views


@click.command()
@click.option("--port", type=Whole(0, 65535), help="Port of the JSON pages; WALLET_VIEWS_PORT.")
@click.option(
    "--rebuild",
    "anew",
    is_flag=True,
    help="Forget what is kept, and count all events that the topic has; stop other members first.",
)
def command(port: int | None, anew: bool) -> None:
    """Count events into live views until SIGTERM, and raise alerts by rules.

    Start as many as you like, up to the number of partitions: the group shares the events out, and
    each member answers for all. It serves /flows, /rejections, /movers, /velocity/USER, /ageing,
    /lag, /alerts, /metrics, /healthz and /readyz. docs/views.md tells what they say, and
    docs/runbooks/alerts.md what to do. Nothing of the wallet waits for this process.
    """
    settings = Settings.from_environ()
    if port is not None:
        settings = msgspec.structs.replace(settings, views_port=port)
    logs.configure("views", settings.log_level)
    try:
        if anew:
            rebuild(settings)
        run_views(settings, announce=click.echo)
    except (AccountKeyUnusable, ViewsFailed) as error:
        raise click.ClickException(str(error)) from error
