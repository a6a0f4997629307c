"""``wallet dead-letters``: what could not be read as a command, and a way back for it."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Any

import click
import msgspec
from rich.markup import escape
from rich.table import Table

from api.commands.arguments import Commands, Number, Whole, counted
from api.commands.operating import (
    EXIT_UNKNOWN,
    TOPIC,
    Since,
    User,
    at,
    code_of,
    database,
    exit_code_of,
    reader,
    writer,
)
from api.console import standard_output
from db.engine import Connection
from db.ledger import operating
from db.ledger.operating import Letter, LetterFilter
from schemas.ids import place_of
from schemas.rejections import Rejection, is_dead_letter
from schemas.settings import Settings
from schemas.topics import COMMAND_TOPIC_NAMES, CommandTopic
from streams.operator.desk import Desk
from streams.operator.letters import Replayed, fault_of, replay, shown, shown_pretty

_CODES = [code.value for code in Rejection if is_dead_letter(code)]
_LINES = {code.value: code.line for code in Rejection}
_REPLAY_MAX = 10_000


@click.group("dead-letters", cls=Commands)
def command() -> None:
    """List, show and replay records that were refused.

    A record that is no command (malformed, on the wrong topic, in the wrong partition …) is kept
    with its reason in the table and on wallet.commands.dead-letter, and its partition goes on.
    docs/runbooks/dead-letters.md tells what each reason asks for.
    """


_filters = (
    click.option("--code", type=click.Choice(_CODES), help="With this reason.", metavar="CODE"),
    click.option("--topic", type=TOPIC, help="From this topic."),
    click.option("--since", type=Since(), help="Since 15m, 2h, 3d, or a time."),
    click.option("--user", type=User(), help="Keyed by this user."),
)


def _filtered(function: Any) -> Any:
    for option in reversed(_filters):
        function = option(function)
    return function


def _filter(
    code: str | None,
    topic: str | None,
    since: datetime | None,
    user: str | None,
    replayed: bool | None,
) -> LetterFilter:
    return LetterFilter(
        code=code,
        topic=None if topic is None else int(code_of(topic)),
        since=since,
        key=None if user is None else user.encode(),
        replayed=replayed,
    )


@command.command("list")
@_filtered
@click.option("--waiting/--replayed", "waiting", default=None, help="Not replayed, or replayed.")
@click.option("--limit", type=Whole(1), default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line.")
def list_letters(
    code: str | None,
    topic: str | None,
    since: datetime | None,
    user: str | None,
    waiting: bool | None,
    limit: int,
    as_json: bool,
) -> None:
    """List dead letters, the newest first."""
    wanted = _filter(code, topic, since, user, None if waiting is None else not waiting)
    with database(reader(Settings.from_environ())) as connection:
        count = operating.letter_count(connection, wanted)
        letters = operating.letters(connection, wanted, limit)
    if as_json:
        for letter in letters:
            click.echo(msgspec.json.encode(_document(letter)).decode())
        return
    table = Table("id", "topic", "place", "code", "detail", "time", "replayed", box=None)
    for column in (*table.columns[:4], table.columns[5]):
        column.no_wrap = True
    # An id is there to be copied.
    table.columns[0].min_width = len(letters[0].id) if letters else 0
    for letter in letters:
        table.add_row(
            letter.id,
            CommandTopic(letter.topic).name.lower(),
            f"{letter.partition}/{letter.offset}",
            letter.code,
            escape(shown(letter.detail.encode())),
            f"{letter.record_time:%Y-%m-%d %H:%M:%S}",
            "" if letter.replayed_at is None else f"{letter.replayed_at:%Y-%m-%d %H:%M}",
        )
    console = standard_output()
    console.print(table)
    console.print(f"{len(letters)} of {count} dead letters")


@command.command("show")
@click.argument("letter_id", metavar="ID")
@click.option("--raw", is_flag=True, help="Write the value alone, byte for byte.")
def show(letter_id: str, raw: bool) -> None:
    """Show one dead letter: key and value as they came, so that nothing in them can act on the
    terminal; --raw writes the value itself, to a file or a pipe."""
    with database(reader(Settings.from_environ())) as connection:
        letter = _letter(connection, letter_id)
    if raw:
        if sys.stdout.isatty():
            raise click.ClickException("--raw could act on the terminal: send it to a file")
        sys.stdout.buffer.write(letter.value or b"")
        return
    topic = COMMAND_TOPIC_NAMES[CommandTopic(letter.topic)]
    for name, text in (
        ("id", letter.id),
        ("place", f"{topic}/{letter.partition}, offset {letter.offset}"),
        ("time", letter.record_time.isoformat()),
        ("code", f"{letter.code}: {_LINES.get(letter.code, 'not a code of this release')}"),
        ("detail", shown(letter.detail.encode())),
        ("replayed", "no" if letter.replayed_at is None else letter.replayed_at.isoformat()),
        ("if sent again", fault_of(letter) or "it would be read as a command"),
        ("key", shown(letter.key)),
        ("value", f"{len(letter.value or b''):,} bytes"),
    ):
        if name != "detail" or letter.detail != _LINES.get(letter.code):
            click.echo(f"{name + ':':15}{text}")
    click.echo(shown_pretty(letter.value))


@command.command("replay")
@click.argument("letter_ids", metavar="[ID]...", nargs=-1)
@_filtered
@click.option("--all", "everything", is_flag=True, help="All that the filters leave.")
@click.option("--again", is_flag=True, help="Also those that were replayed already.")
@click.option("--dry-run", is_flag=True, help="Send nothing; tell what would be sent.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--wait", type=Number(0), default=15, show_default=True, help="Seconds for each.")
def replay_letters(
    letter_ids: tuple[str, ...],
    code: str | None,
    topic: str | None,
    since: datetime | None,
    user: str | None,
    everything: bool,
    again: bool,
    dry_run: bool,
    yes: bool,
    wait: float,
) -> None:
    """Send records again, with the same key and value on the same topic, the oldest first.

    For records whose cause is mended: a misplaced one goes to its key's partition, an
    unprocessable one is decided by the release that can. What would be a dead letter again is
    left, with the reason. Exits with 1 if anything was left or not accepted, and with 3 if what
    becomes of one is unknown.
    """
    if bool(letter_ids) is everything:
        raise click.UsageError("name dead letters by their ids, or say --all")
    settings = Settings.from_environ()
    with database(writer(settings)) as connection:
        if everything:
            wanted = _filter(code, topic, since, user, None if again else False)
            letters = operating.letters(connection, wanted, _REPLAY_MAX, oldest_first=True)
            left = operating.letter_count(connection, wanted) - len(letters)
            if left > 0:
                click.echo(f"Left for the next time: {left:,} newer ones.", err=True)
        else:
            letters = [_letter(connection, letter_id) for letter_id in letter_ids]
        if dry_run:
            sys.exit(_tell_what_would_be(letters, again))
        if not yes:
            click.confirm(f"Send {counted(len(letters), 'record')} again?", abort=True, err=True)
        with at(Desk(settings, connection)) as desk:
            codes = [
                _tell(done)
                for done in replay(connection, desk, letters, again=again, wait_seconds=wait)
            ]
    sys.exit(max(codes, default=0))


def _letter(connection: Connection, letter_id: str) -> Letter:
    try:
        place_of(letter_id)
    except ValueError:
        raise click.ClickException(f"{letter_id!r} is not an id; `list` shows them") from None
    letter = operating.letter(connection, letter_id)
    if letter is None:
        raise click.ClickException(f"there is no dead letter {letter_id}")
    return letter


def _tell_what_would_be(letters: list[Letter], again: bool) -> int:
    """Print what a replay would do; the exit code."""
    left = 0
    for letter in letters:
        reason = fault_of(letter)
        if letter.replayed_at is not None and not again:
            reason = "it was replayed already"
        left += reason is not None
        click.echo(f"{letter.id}: {'would be sent' if reason is None else f'left, {reason}'}")
    return 1 if left else 0


def _tell(done: Replayed) -> int:
    """Print what became of one; the exit code."""
    if done.sent is None:
        click.echo(f"{done.letter.id}: left, {done.reason}")
        return 1
    outcome = done.sent.outcome
    if outcome is None:
        click.echo(f"{done.letter.id}: sent, but there is no outcome yet")
        return EXIT_UNKNOWN
    code = f" ({outcome.code})" if outcome.code else ""
    click.echo(f"{done.letter.id}: {outcome.outcome}{code} as {outcome.command_id}")
    return exit_code_of(outcome)


def _document(letter: Letter) -> dict[str, object]:
    """As the dead-letter topic tells it, and whether it was replayed; key and value in base64."""
    return {**letter._asdict(), "topic": COMMAND_TOPIC_NAMES[CommandTopic(letter.topic)]}
