"""Text that must not be seen: private keys on their way from where they are kept to the signer."""

from __future__ import annotations

from typing import NoReturn


class CannotBeKept(TypeError):
    """Private keys are neither pickled nor copied."""


class Hidden:
    """A secret text that shows itself to nobody but who asks for it.

    A log, a traceback that prints variables, or a debugger sees stars.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself: never give it a name that outlives the line."""
        return self._text

    def __repr__(self) -> str:
        return "Hidden(********)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise CannotBeKept("a hidden text is not pickled or copied")
