"""``wallet api``: serves the REST API."""

from __future__ import annotations

import asyncio
import sys

import click
import msgspec

from api.commands.arguments import Whole
from api.serve import serve
from schemas.settings import Settings, SettingsError
from streams import logs


@click.command()
@click.option("--host", help="Address to listen on; WALLET_API_HOST otherwise.")
@click.option("--port", type=Whole(0, 65535), help="Port; 0 takes a free one. WALLET_API_PORT.")
def command(host: str | None, port: int | None) -> None:
    """Serve the REST API until SIGTERM or Ctrl-C.

    Prints the address once it listens; logs go to standard error as JSON lines.
    """
    try:
        settings = Settings.from_environ()
        if host is not None:
            settings = msgspec.structs.replace(settings, api_host=host)
        if port is not None:
            settings = msgspec.structs.replace(settings, api_port=port)
        logs.configure("api", settings.log_level)
        sound = asyncio.run(serve(settings, lambda url: click.echo(f"wallet api on {url}")))
    except SettingsError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(
            f"The API cannot listen: {error.strerror or error}. Is the port in use? Try --port 0."
        ) from error
    sys.exit(0 if sound else 1)
