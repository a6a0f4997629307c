"""Progress of the local stack's start: one line a step, with the time that it took."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from rich.console import Console


class Step(Protocol):
    """A step under way."""

    def update(self, detail: str) -> None:
        """Say how far it is."""


class Progress(Protocol):
    """Where steps are told."""

    def step(self, text: str) -> contextlib.AbstractContextManager[Step]:
        """A step that lasts as long as the context."""

    def note(self, text: str) -> None:
        """Something worth knowing that is no step."""


class Silent:
    """Tells nobody; for tests."""

    @contextlib.contextmanager
    def step(self, text: str) -> Iterator[Step]:
        """A step that nobody sees."""
        yield _SilentStep()

    def note(self, text: str) -> None:
        """Nothing."""


class _SilentStep:
    def update(self, detail: str) -> None:
        pass


class OnConsole:
    """Tells a terminal with a spinner, a file with plain lines."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(file=sys.stdout, highlight=False, soft_wrap=True)

    @contextlib.contextmanager
    def step(self, text: str) -> Iterator[Step]:
        """Show the text while the step lasts, then the text with its seconds."""
        started = time.monotonic()
        if self._console.is_terminal:
            with self._console.status(text) as status:
                yield _SpinningStep(text, status.update)
        else:
            self._say(f"  … {text}")
            yield _SilentStep()
        took = time.monotonic() - started
        self._say(f"  ✓ {text} ({took:.1f} s)")

    def note(self, text: str) -> None:
        """A line."""
        self._say(f"  • {text}")

    def _say(self, line: str) -> None:
        # A full disk under the log must not end the one who starts the servers again.
        with contextlib.suppress(OSError):
            self._console.print(line, markup=False)


class _SpinningStep:
    def __init__(self, text: str, show: Callable[[str], None]) -> None:
        self._text = text
        self._show = show

    def update(self, detail: str) -> None:
        self._show(f"{self._text}: {detail}")
