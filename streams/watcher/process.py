"""The watcher as a process: checks what it was given, serves its probe, ends on SIGTERM."""

from __future__ import annotations

from collections.abc import Callable

from db import chain
from db.engine import connect, require_schema
from schemas.settings import Settings
from streams.probe import run_with_probe
from streams.watcher.follower import Watcher


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
