"""``wallet rules``: fees, limits and confirmations, as they are and as they were."""

from __future__ import annotations

import click
import msgspec
from rich.table import Table

from api.commands.arguments import Whole
from api.commands.operating import database, reader
from api.console import standard_output
from db.ledger.operating import RulesVersion, rules_history
from schemas.settings import Settings
from streams.operator.rules import fields_of


@click.command("rules")
@click.option("--history", is_flag=True, help="Every version beside the other, the newest first.")
@click.option("--version", "version", type=Whole(1), help="One version.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a version, a line each.")
def command(history: bool, version: int | None, as_json: bool) -> None:
    """Show the rules in force: fees, limits, confirmations.

    Version 1 came from the WALLET_RULES_* settings; later ones by `wallet operator set-rules`.
    Amounts are in DOGE; confirmations are told by the exposure from which they hold.
    """
    with database(reader(Settings.from_environ())) as connection:
        versions = rules_history(connection)
    if version is not None:
        versions = [told for told in versions if told.rules.version == version]
        if not versions:
            raise click.ClickException(f"there is no version {version} of the rules")
    elif not history:
        versions = [told for told in versions if told.in_force]
    if not versions:
        raise click.ClickException("there are no rules yet: `wallet migrate` seeds version 1")
    if as_json:
        for told in versions:
            click.echo(msgspec.json.encode(_document(told)).decode())
        return
    _print(versions)


def _print(versions: list[RulesVersion]) -> None:
    table = Table("rule", *(f"version {told.rules.version}" for told in versions), box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    columns = [_document(told) for told in versions]
    for name in columns[0]:
        if name != "version":
            table.add_row(name.replace("_", " "), *(str(column[name] or "") for column in columns))
    standard_output().print(table)


def _document(told: RulesVersion) -> dict[str, object]:
    rules = told.rules
    return {
        "version": rules.version,
        "in_force": "yes" if told.in_force else "no",
        "network": rules.network,
        "account": rules.account_key,
        **fields_of(rules),
        "since": told.created_at.isoformat(timespec="seconds"),
        "command_id": told.command_id,
    }
