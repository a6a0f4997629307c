"""``wallet watcher``: follows the chain, and tells the ledger what users received."""

from __future__ import annotations

import click
import msgspec

from api.commands.arguments import Whole
from db.engine import SchemaMismatchError
from schemas.settings import Settings
from streams import logs
from streams.watcher.follower import ChainOfAnother
from streams.watcher.process import CannotReadAgain, read_again, resume, run_watcher


@click.command()
@click.option("--port", type=Whole(0, 65535), help="Port of the probe; WALLET_WATCHER_PORT.")
@click.option(
    "--genesis",
    metavar="HASH",
    help="The first block of a test chain that is not Dogecoin's own.",
)
@click.option(
    "--resume",
    "resuming",
    is_flag=True,
    help="Let a halted watcher go on, then end. It halts again while the reason stands.",
)
@click.option(
    "--from-height",
    type=Whole(0),
    metavar="N",
    help="Have the watcher that runs read its blocks from N on again, for scripts that were not "
    "watched when it read them; tell how far it is, then end.",
)
def command(port: int | None, genesis: str | None, resuming: bool, from_height: int | None) -> None:
    """Follow the chain until SIGTERM: deposits, spends of our coins, reorganisations.

    One watcher follows; a second one waits, and takes over when the first ends. A reorganisation
    deeper than WALLET_REORGANISATION_MAX halts it: look at the node, allow the depth if it is
    right, and say --resume. It serves /healthz, /readyz and /metrics on its own port.
    """
    settings = Settings.from_environ()
    if port is not None:
        settings = msgspec.structs.replace(settings, watcher_port=port)
    try:
        if resuming:
            reason = resume(settings)
            click.echo("It was not halted." if reason is None else f"It goes on; it had: {reason}")
            return
        if from_height is not None:
            read_again(settings, from_height, click.echo)
            return
        logs.configure("watcher", settings.log_level)
        run_watcher(settings, genesis_hash=genesis, announce=click.echo)
    except (CannotReadAgain, ChainOfAnother, SchemaMismatchError) as error:
        raise click.ClickException(str(error)) from error
