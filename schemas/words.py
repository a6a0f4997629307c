"""The base of the wallet's enumerations."""

from __future__ import annotations

from enum import StrEnum


class Word(StrEnum):
    """Text that is one of a few; it equals and hashes like the text that it is.

    ``Enum`` hashes by name, in Python; a batch looks words up ten times a command.
    """

    __hash__ = str.__hash__
