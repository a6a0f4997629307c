"""``wallet roles``: make the database's roles and the database, which only a superuser can."""

from __future__ import annotations

from typing import Final

import click

from db.engine import DatabaseUrlError
from db.roles import (
    API,
    OWNER,
    PAYER,
    WATCHER,
    WORKER,
    RoleUrlError,
    ensure_database,
    ensure_roles,
    stated,
)
from schemas.settings import Settings

#: The setting that has each role's own address.
_ADDRESS_OF: Final = {
    OWNER: "database_url",
    WORKER: "worker_database_url",
    API: "api_database_url",
    WATCHER: "watcher_database_url",
    PAYER: "payer_database_url",
}


@click.command("roles")
def command() -> None:
    """Make the roles and the database that the five WALLET_*DATABASE_URL name, where missing.

    WALLET_SUPERUSER_DATABASE_URL opens the server; nothing else ever needs it. Each role gets the
    password that its own address has. What is there already is left as it is.
    """
    settings = Settings.from_environ()
    settings.require("superuser_database_url", *_ADDRESS_OF.values())
    try:
        name, passwords = stated(
            {role: getattr(settings, field) for role, field in _ADDRESS_OF.items()}
        )
        made = ensure_roles(settings.superuser_database_url, passwords)
        is_new = ensure_database(settings.superuser_database_url, name)
    except (DatabaseUrlError, RoleUrlError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"made {', '.join(made)}" if made else "the roles were there already")
    click.echo(f"made the database {name}" if is_new else f"the database {name} was there already")
