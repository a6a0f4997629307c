"""What the operators' commands share: their roles, their arguments, asking first, telling after."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import click
import msgspec
from click.core import Context, Parameter

from api.commands.arguments import Number
from db.engine import Connection, SchemaMismatchError
from db.ledger.operating import Outcome, session
from schemas.amounts import Koinu, format_amount, parse_amount
from schemas.commands import UUID_PATTERN
from schemas.ledger import DEAD_LETTER, HOUSE
from schemas.rejections import Malformed
from schemas.settings import Settings, SettingsError
from schemas.topics import COMMAND_TOPIC_NAMES, CommandTopic
from streams.operator.desk import Desk, NotDelivered, Order, OutcomeUnknown, Sent

#: No outcome in time: unknown, as against rejected.
EXIT_UNKNOWN: Final = 3
_SPAN: Final = re.compile(r"([1-9][0-9]*)([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

_Function = TypeVar("_Function", bound=Callable[..., Any])


class Amount(click.ParamType):
    """DOGE as decimal text, to koinu."""

    name = "amount"

    def convert(self, value: Any, param: Parameter | None, ctx: Context | None) -> Koinu:
        """Refuse what the worker would refuse."""
        if isinstance(value, Koinu):
            return value
        try:
            return Koinu(parse_amount(str(value)))
        except Malformed as fault:
            self.fail(f"{fault.detail}; DOGE with a dot, like 12.5", param, ctx)


class User(click.ParamType):
    """A user's id."""

    name = "user"

    def convert(self, value: Any, param: Parameter | None, ctx: Context | None) -> str:
        """Refuse what is no canonical UUID: it would be another key."""
        text = str(value)
        if not re.fullmatch(UUID_PATTERN[1:-1], text):
            if re.fullmatch(UUID_PATTERN[1:-1], text.lower()):
                self.fail(
                    f"{text!r} is not a canonical UUID: write it in lower case, {text.lower()}",
                    param,
                    ctx,
                )
            self.fail(f"{text!r} is not a canonical UUID in lower case", param, ctx)
        return text


class Since(click.ParamType):
    """A time, or how long ago."""

    name = "since"

    def convert(self, value: Any, param: Parameter | None, ctx: Context | None) -> datetime:
        """``90s``, ``15m``, ``2h``, ``3d``, or ISO 8601; without an offset it is UTC."""
        if isinstance(value, datetime):
            return value
        span = _SPAN.fullmatch(str(value))
        if span is not None:
            ago = timedelta(seconds=int(span[1]) * _SECONDS[span[2]])
            return datetime.now(UTC) - ago
        try:
            when = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is neither like 15m nor a time like 2026-01-31T12:00", param, ctx)
        return when if when.tzinfo else when.replace(tzinfo=UTC)


TOPIC: Final = click.Choice([code.name.lower() for code in CommandTopic])


def code_of(name: str) -> CommandTopic:
    """The topic that ``TOPIC`` names."""
    return CommandTopic[name.upper()]


def writer(settings: Settings) -> str:
    """The role that may note what an operator did."""
    url = settings.worker_database_url or settings.database_url
    if not url:
        raise SettingsError("WALLET_WORKER_DATABASE_URL is not set; `wallet up` starts a database.")
    return url


def reader(settings: Settings) -> str:
    """A role that may read."""
    return settings.api_database_url or writer(settings)


@contextmanager
def database(url: str) -> Iterator[Connection]:
    """A session, or one clear line."""
    try:
        with session(url) as connection:
            yield connection
    except SchemaMismatchError as error:
        raise click.ClickException(str(error)) from error


@contextmanager
def at(desk: Desk) -> Iterator[Desk]:
    """Closes it; tells what it could not do, and by another code what may be done all the same."""
    try:
        with closing(desk):
            yield desk
    except (Malformed, NotDelivered) as error:
        raise click.ClickException(str(error)) from error
    except OutcomeUnknown as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(EXIT_UNKNOWN)


def sending(function: _Function) -> _Function:
    """The options of a command that sends a command."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON."),
        click.option(
            "--wait",
            type=Number(0),
            default=15,
            show_default=True,
            help="Seconds to wait for the outcome.",
        ),
        click.option("--yes", is_flag=True, help="Do not ask."),
        click.option("--key", help="Idempotency key; give it again to repeat what is unknown."),
    ):
        function = option(function)
    return function


def send(settings: Settings, asked: Order, *, yes: bool, wait: float, as_json: bool) -> None:
    """Ask, send, wait, tell; ends the process with the outcome's exit code."""
    shown = msgspec.json.encode(msgspec.to_builtins(asked.data, enc_hook=_shown)).decode()
    click.echo(f"{asked.kind} for {asked.user_id}: {shown}", err=True)
    click.echo(f"idempotency key: {asked.idempotency_key}", err=True)
    if not yes:
        click.confirm("Send it?", abort=True, err=True)
    with database(reader(settings)) as connection, at(Desk(settings, connection)) as desk:
        sent = desk.send(asked, wait_seconds=wait)
    sys.exit(tell(sent, as_json=as_json, key=asked.idempotency_key))


def _shown(value: object) -> object:
    if isinstance(value, int):
        return format_amount(value)
    raise TypeError(f"{type(value)} is not shown")


def tell(sent: Sent, *, as_json: bool, key: str) -> int:
    """Print what became of a command; the exit code."""
    place = f"{COMMAND_TOPIC_NAMES[sent.topic]}/{sent.partition}, offset {sent.offset}"
    outcome = sent.outcome
    if outcome is None:
        click.echo(
            f"No outcome yet: the command stands at {place} and will be decided once a worker "
            f"runs. Ask again by sending it with --key {key}, which is decided once.",
            err=True,
        )
        return EXIT_UNKNOWN
    if as_json:
        click.echo(msgspec.json.encode(_document(outcome)).decode())
    else:
        click.echo(f"{outcome.outcome}: {outcome.command_id} ({place})")
        click.echo(_indented(outcome))
    return exit_code_of(outcome)


def exit_code_of(outcome: Outcome) -> int:
    """0 for what was accepted, now or when it was sent first."""
    return 0 if "accepted" in (outcome.outcome, outcome.first_outcome) else 1


def _document(outcome: Outcome) -> dict[str, object]:
    is_letter = outcome.outcome == DEAD_LETTER
    return {
        "command_id": outcome.command_id,
        "outcome": outcome.outcome,
        "code": outcome.code,
        "document": outcome.document if is_letter else msgspec.Raw(outcome.document.encode()),
    }


def _indented(outcome: Outcome) -> str:
    if outcome.outcome == DEAD_LETTER:
        return f"{outcome.code}: {outcome.document}"
    document = msgspec.json.decode(outcome.document)
    if document.get("balance", {}).get("user_id") == HOUSE:
        # The house's money is in entries alone: `wallet operator house` shows it.
        del document["balance"]
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()
