"""The worker as a process: checks what it was given, serves its probe, ends on SIGTERM."""

from __future__ import annotations

import logging
from collections.abc import Callable

from db.engine import connect
from db.rules import read_rules
from processors.dogecoin.derivation import EXTERNAL_CHAIN
from processors.seed import keychain_of, require_same_account
from schemas.settings import Settings
from streams.probe import run_with_probe
from streams.worker import Worker

log = logging.getLogger(__name__)


def run_worker(
    settings: Settings,
    *,
    announce: Callable[[str], None] = lambda line: None,
    step: Callable[[str], None] = lambda name: None,
) -> None:
    """Run until SIGTERM or SIGINT, then finish the batch in hand and leave the group.

    Raises ``SettingsError``, ``RulesOfAnotherAccount`` or ``SchemaMismatchError`` where the worker
    must not start. ``step`` is called at each named step, for tests that kill it there.
    """
    settings.require("worker_database_url", "kafka")
    keychain = keychain_of(settings)
    with (
        connect(settings.worker_database_url, application_name="wallet-worker") as connection,
        connection.cursor() as cursor,
    ):
        require_same_account(read_rules(cursor), keychain, settings.network)
    worker = Worker(
        settings, derive=lambda index: keychain.address(EXTERNAL_CHAIN, index), step=step
    )
    run_with_probe(worker, "worker", settings.worker_host, settings.worker_port, announce)
