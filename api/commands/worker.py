"""``wallet worker``: applies commands from Kafka to the ledger and publishes events."""

from __future__ import annotations

import click
import msgspec

from api.commands.arguments import Whole
from db.engine import SchemaMismatchError
from processors.dogecoin.derivation import AccountKeyUnusable
from processors.dogecoin.keyring import AccountUnknown
from processors.seed import RulesOfAnotherAccount
from schemas.settings import Settings
from streams import logs
from streams.worker.process import run_worker


@click.command()
@click.option("--port", type=Whole(0, 65535), help="Port of the probe; WALLET_WORKER_PORT.")
def command(port: int | None) -> None:
    """Apply commands from Kafka to the ledger, and publish their events, until SIGTERM.

    Start as many as you like, up to the number of partitions: the group shares them out. Each
    serves /healthz, /readyz and /metrics on its own port.
    """
    settings = Settings.from_environ()
    if port is not None:
        settings = msgspec.structs.replace(settings, worker_port=port)
    logs.configure("worker", settings.log_level)
    try:
        run_worker(settings, announce=click.echo)
    except (
        AccountKeyUnusable,
        AccountUnknown,
        RulesOfAnotherAccount,
        SchemaMismatchError,
    ) as error:
        raise click.ClickException(str(error)) from error
