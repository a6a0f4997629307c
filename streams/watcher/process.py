"""The watcher as a process: checks what it was given, serves its probe, ends on SIGTERM."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from db.engine import connect, require_schema
from db.treasury import chain
from schemas.settings import Settings
from streams.probe import run_with_probe
from streams.watcher.follower import Watcher

_LOOK_SECONDS: Final = 1.0


def run_watcher(
    settings: Settings,
    *,
    genesis_hash: str | None = None,
    announce: Callable[[str], None] = lambda line: None,
    step: Callable[[str], None] = lambda name: None,
) -> None:
    """Follow the chain until SIGTERM or SIGINT; the block in hand is finished.

    Raises ``SettingsError``, ``SchemaMismatchError`` or ``ChainOfAnother`` where the watcher must
    not start. ``step`` is called at each named step, for tests that kill it there.
    """
    settings.require("watcher_database_url", "kafka", "node_url")
    watcher = Watcher(settings, genesis_hash=genesis_hash, step=step)
    run_with_probe(watcher, "watcher", settings.watcher_host, settings.watcher_port, announce)


class CannotReadAgain(Exception):
    """Blocks cannot be read again now; the text says why."""


def read_again(settings: Settings, height: int, tell: Callable[[str], None]) -> None:
    """Have the watcher that runs read blocks from a height on again, and tell how far it is.

    Raises ``CannotReadAgain`` where none runs, or it is halted: it is done once one follows.
    """
    settings.require("watcher_database_url")
    with connect(
        settings.watcher_database_url, application_name="wallet-operator", autocommit=True
    ) as connection:
        require_schema(connection)
        with connection.transaction(), connection.cursor() as cursor:
            if chain.read_state(cursor) is None:
                raise CannotReadAgain("no block was followed yet: there is nothing to read again")
            chain.ask_rescan(cursor, height)
        while True:
            with connection.transaction(), connection.cursor() as cursor:
                state, tip = chain.read_state(cursor), chain.tip(cursor)
            if state is None or state.rescan_from is None:
                tell("all was read again, and what was found is booked")
                return
            if state.halted is not None:
                raise CannotReadAgain(
                    f"the watcher is halted: {state.halted}; blocks are read again once it goes on"
                )
            if not chain.is_led(connection):
                raise CannotReadAgain("no watcher follows: blocks are read again once one does")
            if state.rescan_height is not None and tip is not None:
                tell(f"block {state.rescan_height} of {tip[0]}")
            time.sleep(_LOOK_SECONDS)


def resume(settings: Settings) -> str | None:
    """Let a halted watcher go on; the reason that it had, None if it was not halted.

    It looks at the node again, and halts again if the reason still stands.
    """
    settings.require("watcher_database_url")
    with connect(
        settings.watcher_database_url, application_name="wallet-operator", autocommit=True
    ) as connection:
        require_schema(connection)
        with connection.transaction(), connection.cursor() as cursor:
            state = chain.read_state(cursor)
            if state is None or state.halted is None:
                return None
            chain.resume(cursor)
            return state.halted
