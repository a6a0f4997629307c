"""The command line ``wallet``: a table of commands, each loaded only when it is called."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

import click


class Entry(NamedTuple):
    """Where a command lives and what ``wallet --help`` says about it."""

    module: str
    help: str


COMMANDS: Final = {
    "up": Entry("up", "Start everything on this machine, and wait until it is ready."),
    "down": Entry("down", "Stop what `wallet up --detach` started."),
    "status": Entry("status", "Tell what runs, and where."),
    "api": Entry("api", "Serve the REST API."),
    "worker": Entry("worker", "Apply commands from Kafka to the ledger, and publish events."),
    "watcher": Entry("watcher", "Follow the chain: credit deposits, undo reorganisations."),
    "payer": Entry("payer", "Pay withdrawals on chain; join small coins, sweep to cold storage."),
    "bridge": Entry("bridge", "Send the wallet's events to AWS EventBridge."),
    "views": Entry("views", "Count events into live views, and raise alerts by rules."),
    "withdrawals": Entry("withdrawals", "List withdrawals, and tell the whole story of one."),
    "roles": Entry("roles", "Make the database's roles and the database, as a superuser."),
    "migrate": Entry("migrate", "Bring the database to this release's tables."),
    "topics": Entry("topics", "Create the topics, compare them, and print the broker's ACLs."),
    "health": Entry("health", "Ask a process whether it lives, as a container's check does."),
    "doctor": Entry("doctor", "Check the books, also while the service runs."),
    "token": Entry("token", "Make a token for a user or a service."),
    "keys": Entry("keys", "Make the account's keys offline, put the private one away, check it."),
    "settings": Entry("settings", "Print the settings in force, secrets starred."),
    "rules": Entry("rules", "Show the rules: fees, limits, confirmations."),
    "operator": Entry("operator", "Send treasury commands: fund, freeze, custody, rules."),
    "events": Entry("events", "Follow the events, or publish again what a broker lost."),
    "alerts": Entry("alerts", "Follow what operators are told: alarms, and alerts of the views."),
    "chain": Entry("chain", "Play with the local chain: mine, reorganise, look at it."),
    "faucet": Entry("faucet", "Pay test coins to an address from the local node."),
    "loadgen": Entry("loadgen", "Play a marketplace on the real topics, then check the balances."),
    "dead-letters": Entry("dead_letters", "List, show and replay records that were refused."),
    "rebuild": Entry("rebuild", "Replay the log into an empty database and compare the books."),
}

#: Written by ``wallet up``: how to reach what it runs.
ENVIRONMENT_FILE: Final = "up.env"

#: These make and unmake that file, so they must not be led by it.
_ABOUT_THE_STACK: Final = ("up", "down", "status")

#: With any of these set, the caller means servers of his own.
_ADDRESSES: Final = (
    "WALLET_DATABASE_URL",
    "WALLET_DATABASE_URL_FILE",
    "WALLET_WORKER_DATABASE_URL",
    "WALLET_WORKER_DATABASE_URL_FILE",
    "WALLET_API_DATABASE_URL",
    "WALLET_API_DATABASE_URL_FILE",
    "WALLET_KAFKA_BOOTSTRAP_SERVERS",
)

#: Module and name of the exceptions that are written for whoever called the command.
_EXPLAINED: Final = (
    ("psycopg", "OperationalError"),
    ("db.engine", "DatabaseUrlError"),
    ("schemas.settings", "SettingsError"),
    ("streams.secrets", "SecretFault"),
    ("streams.kafka.config", "KafkaUnavailable"),
    ("streams.local.errors", "StackError"),
)


class Table(click.Group):
    """Finds commands in the table, so that ``wallet --help`` loads none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the table's order: what a newcomer needs first stands first."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load the command's module."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        name = f"api.commands.{entry.module}"
        try:
            module = import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
            raise click.ClickException(
                f"`wallet {cmd_name}` is not part of this installation ({name} is missing); "
                "install the package again"
            ) from None
        command: click.Command = module.command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; one that was given a negative number says so."""
        try:
            return super().invoke(ctx)
        except click.NoSuchOption as error:
            if re.fullmatch(r"-\d", error.option_name) is None:
                raise
            raise click.UsageError(
                "a negative number is given, and no amount, count, depth or height is one: write "
                "it without the sign",
                error.ctx,
            ) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table itself, without loading anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


@click.group(cls=Table, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="wallet")
@click.pass_context
def group(ctx: click.Context) -> None:
    """A custodial Dogecoin wallet: commands in by Kafka, a ledger in PostgreSQL, events out.

    `wallet up` starts all of it on this machine. Settings come from WALLET_* variables
    (`wallet settings --all` lists them); where no address is set, the commands talk to what
    `wallet up` runs in this folder.
    """
    if ctx.invoked_subcommand not in _ABOUT_THE_STACK:
        adopt_local_environment()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a known fault is told in one line, with exit code 1."""
    try:
        group.main(args=arguments, prog_name="wallet")
    except Exception as error:
        if not isinstance(error, _explained()):
            raise
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)


def _explained() -> tuple[type[Exception], ...]:
    """The faults whose text tells what to do, so that a traceback would only hide it.

    Looked up among the modules that are loaded: one that isn't cannot have raised.
    """
    kinds = [
        getattr(sys.modules[module], name) for module, name in _EXPLAINED if module in sys.modules
    ]
    return tuple(kinds)


def adopt_local_environment() -> None:
    """Take the settings of the `wallet up` of this folder, unless addresses are set already.

    All or nothing: a caller's own broker is never paired with a database he did not name.
    """
    if any(os.environ.get(name) for name in _ADDRESSES):
        return
    file = Path(os.environ.get("WALLET_HOME", ".wallet")) / ENVIRONMENT_FILE
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        name, _, value = line.partition("=")
        os.environ.setdefault(name, value)


if __name__ == "__main__":
    main()
