"""A wallet on the test's own servers: topics, rules and an account, and a worker in a thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from db.engine import connect
from db.ledger.rules import seed_rules
from processors.dogecoin.derivation import account_keys
from processors.seed import first_rules, keyring_of
from schemas.settings import Settings
from streams.kafka.admin import create_topics
from streams.worker.worker import Worker


def prepared(settings: Settings) -> Settings:
    """Make topics, two accounts and rules of the first; nothing applies commands yet."""
    xpubs = [account_keys(bytes([seed]) * 64, settings.network)[1] for seed in (0, 1)]
    whole = msgspec.structs.replace(settings, account_xpub=",".join(xpubs))
    create_topics(whole)
    with connect(whole.database_url, application_name="test") as connection:
        seed_rules(connection, first_rules(whole, keyring_of(whole)))
    return whole


@contextmanager
def worker_on(settings: Settings) -> Iterator[None]:
    """A worker, until the block ends."""
    worker = Worker(settings, derive=keyring_of(settings).deposit_address)
    thread = threading.Thread(target=worker.run, name="worker")
    thread.start()
    try:
        yield
    finally:
        worker.stop()
        thread.join(timeout=20.0)
        assert not thread.is_alive()
