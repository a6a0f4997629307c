"""The worker as a process: checks what it was given, serves its probe, ends on SIGTERM."""

from __future__ import annotations

import logging
from collections.abc import Callable

from db.engine import connect
from db.ledger.rules import read_rules
from processors.seed import keyring_of, require_known_account
from schemas.settings import Settings
from streams.probe import run_with_probe
from streams.worker.worker import Worker

log = logging.getLogger(__name__)


def run_worker(
    settings: Settings,
    *,
    announce: Callable[[str], None] = lambda line: None,
    step: Callable[[str], None] = lambda name: None,
) -> None:
    """Run until SIGTERM or SIGINT, then finish the batch in hand and leave the group.

    Raises ``SettingsError``, ``RulesOfAnotherAccount`` or ``SchemaMismatchError`` where the worker
    must not start, and ``AccountUnknown`` where it must not go on, since another worker has rotated
    to an account that this one does not know. ``step`` is called at each named step, for tests that
    kill it there.
    """
    settings.require("worker_database_url", "kafka")
    keyring = keyring_of(settings)
    with (
        connect(settings.worker_database_url, application_name="wallet-worker") as connection,
        connection.cursor() as cursor,
    ):
        require_known_account(read_rules(cursor), keyring, settings.network)
    worker = Worker(settings, derive=keyring.deposit_address, step=step)
    run_with_probe(worker, "worker", settings.worker_host, settings.worker_port, announce)
