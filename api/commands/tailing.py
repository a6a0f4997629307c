"""What the commands that follow a topic share: from where, how much, and in which form."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

import click

from api.commands.arguments import Whole
from api.commands.operating import Since
from streams.operator.tail import Span

_Told = TypeVar("_Told")


class Tailed(NamedTuple):
    """What the options say."""

    span: Span
    most: int | None
    #: Lines for whoever reads them, instead of JSON.
    readable: bool


def tailing(function: Callable[..., None]) -> Callable[..., None]:
    """The options of a command that follows a topic, given to it together as ``tailed``."""

    @functools.wraps(function)
    def with_options(
        from_beginning: bool,
        since: datetime | None,
        count: int | None,
        no_follow: bool,
        pretty: bool,
        as_json: bool,
        **others: Any,
    ) -> None:
        if from_beginning and since is not None:
            raise click.UsageError("--from-beginning or --since, not both")
        if no_follow and not from_beginning and since is None:
            raise click.UsageError("--no-follow ends at once without --from-beginning or --since")
        if pretty and as_json:
            raise click.UsageError("--pretty or --json, not both")
        since_ms = None if since is None else int(since.timestamp() * 1000)
        readable = pretty or (sys.stdout.isatty() and not as_json)
        span = Span(from_beginning, since_ms, to_the_end=no_follow)
        function(tailed=Tailed(span, count, readable), **others)

    for option in (
        click.option("--json", "as_json", is_flag=True, help="JSON also on a terminal."),
        click.option("--pretty", is_flag=True, help="Lines to read, also into a file or a pipe."),
        click.option("--no-follow", is_flag=True, help="End where the topic ends now."),
        click.option("--count", type=Whole(1), help="End after so many."),
        click.option("--since", type=Since(), help="Since 15m, 2h, 3d, or a time."),
        click.option("--from-beginning", is_flag=True, help="All that the topic still holds."),
    ):
        with_options = option(with_options)
    return with_options


def show(
    coming: Iterator[_Told | None], tailed: Tailed, forms: Callable[[_Told], tuple[str, bytes]]
) -> None:
    """Print what comes, until there is enough, or whoever reads has seen enough.

    ``forms`` gives the line to read, and the record's value.
    """
    seen = 0
    try:
        for told in coming:
            if told is None:
                continue
            line, value = forms(told)
            click.echo(line if tailed.readable else value)
            seen += 1
            if seen == tailed.most:
                return
    except KeyboardInterrupt:
        return
    except BrokenPipeError:
        sys.stderr.close()
        return
