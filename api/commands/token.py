"""``wallet token``: makes a token to try the API with, signed with the shared secret."""

from __future__ import annotations

import re

import click

from api.auth import INTERNAL, mint
from api.commands.arguments import Whole
from schemas.commands import UUID_PATTERN
from schemas.settings import Settings, SettingsError

__all__ = ["command", "mint"]


@click.command()
@click.argument("subject")
@click.option("--service", is_flag=True, help=f"Give the scope {INTERNAL}, as services need it.")
@click.option("--scope", "scopes", multiple=True, help="Another scope; may be given again.")
@click.option(
    "--lifetime",
    type=Whole(1, 86_400 * 365),
    default=3600,
    show_default=True,
    help="Seconds until it expires.",
)
def command(subject: str, service: bool, scopes: tuple[str, ...], lifetime: int) -> None:
    """Print a token for SUBJECT: a user's UUID, or the name of a service.

    It is signed with WALLET_JWT_SECRET (HS256). Where tokens come from an issuer of your own
    (WALLET_JWT_JWKS), ask that one instead.

    \b
    wallet token 3f0f6b1e-6a49-4b58-9a52-0c6a3f9f2c11
    wallet token auctions --service
    """
    if not service and not scopes and re.fullmatch(UUID_PATTERN, subject) is None:
        capitals = re.fullmatch(UUID_PATTERN, subject.lower()) is not None
        click.echo(
            f"{subject} has capitals, so this token opens nothing; write it in lower case."
            if capitals
            else f"{subject} is no user's UUID, so this token opens nothing; a service needs "
            "--service.",
            err=True,
        )
    wanted = [*([INTERNAL] if service else []), *scopes]
    try:
        click.echo(mint(Settings.from_environ(), subject, wanted, lifetime))
    except SettingsError as error:
        raise click.ClickException(str(error)) from error
