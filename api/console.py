"""The console that commands print their tables on."""

from __future__ import annotations

import os
from typing import Final

from rich.console import Console

#: Nobody reads a pipe by its width, and a name that is cut there is lost.
_PIPE_COLUMNS: Final = 200


def standard_output() -> Console:
    """Standard output: a terminal as wide as it is, a pipe or a file as wide as a table needs."""
    console = Console()
    if console.is_terminal or "COLUMNS" in os.environ:
        return console
    return Console(width=_PIPE_COLUMNS)
