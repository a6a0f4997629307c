"""``wallet migrate``: bring the database to the tables that this release needs."""

from __future__ import annotations

import click

from db import migrate
from db.engine import connect
from db.ledger import rules
from processors.seed import first_rules, keyring_of
from schemas.settings import Settings


@click.command("migrate", help="Bring the database of WALLET_DATABASE_URL to this release.")
@click.option("--check", is_flag=True, help="Change nothing; exit with 1 if there is work.")
def command(check: bool) -> None:
    """Upgrade to the newest revision, or tell whether that is needed."""
    settings = Settings.from_environ()
    settings.require("database_url")
    try:
        before = migrate.current(settings.database_url)
        if check:
            _tell_whether_current(before)
            return
        migrate.upgrade(settings.database_url)
        after = migrate.current(settings.database_url)
        _seed(settings)
    except RuntimeError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"at {after} already" if before == after else f"from {before or 'empty'} to {after}")


def _seed(settings: Settings) -> None:
    """Make version 1 of the rules where there is none; that needs the account's public key."""
    with connect(settings.database_url, application_name="wallet-migrate") as connection:
        if rules.has_rules(connection):
            return
        if rules.seed_rules(connection, first_rules(settings, keyring_of(settings))):
            click.echo("seeded version 1 of the rules")


def _tell_whether_current(before: str | None) -> None:
    if before != migrate.head():
        raise click.ClickException(
            f"the database is at {before or 'empty'}, this release needs {migrate.head()}: "
            "run `wallet migrate`"
        )
    click.echo(f"at {before}")
