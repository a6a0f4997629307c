"""Kinds of arguments that many commands share, refused in words for whoever typed them."""

from __future__ import annotations

from typing import Any, Final

import click
from click.core import Context, Parameter

#: Longer than any first sentence.
_SENTENCE_MAX: Final = 1_000


class Whole(click.IntRange):
    """A whole number within bounds."""

    name = "whole number"

    def convert(self, value: Any, param: Parameter | None, ctx: Context | None) -> Any:
        """Refuse what is none, or lies outside, by naming the bounds."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{value!r} is no whole number{_within(self.min, self.max)}", param, ctx)


class Number(click.FloatRange):
    """A number within bounds, with a decimal point or without."""

    name = "number"

    def convert(self, value: Any, param: Parameter | None, ctx: Context | None) -> Any:
        """Refuse what is none, or lies outside, by naming the bounds."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            least = f" above {self.min:g}" if self.min_open and self.max is None else ""
            self.fail(f"{value!r} is no number{least or _within(self.min, self.max)}", param, ctx)


def _within(least: float | None, most: float | None) -> str:
    if least is not None and most is not None:
        return f" from {least:,} to {most:,}"
    if least is not None:
        return f" from {least:,} on"
    return "" if most is None else f" up to {most:,}"


class Commands(click.Group):
    """A group whose help tells each command's first sentence whole, over as many lines as it takes;
    click's own cuts it at the end of one."""

    #: The groups within are of this kind, too.
    group_class = type

    def format_commands(self, ctx: Context, formatter: click.HelpFormatter) -> None:
        """Name and first sentence of each."""
        commands = [
            (name, command)
            for name in self.list_commands(ctx)
            if (command := self.get_command(ctx, name)) is not None and not command.hidden
        ]
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, command.get_short_help_str(_SENTENCE_MAX)) for name, command in commands]
            )


def counted(count: int, one: str, many: str = "") -> str:
    """A count with its word, ``1 withdrawal`` or ``2 withdrawals``."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"
