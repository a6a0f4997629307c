"""Runs the checks one after the other in one snapshot, each with its time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from db.audit import coins
from db.audit.books import Check
from db.audit.snapshot import CHECKS, Snapshot, snapshot
from processors.seed import keyring_of
from schemas.settings import Settings, SettingsError
from streams.doctor import chain, log, onchain, rules
from streams.doctor.log import Log
from streams.doctor.report import Examined, Finding, LeftOut, Progress, Report, Tally
from streams.kafka.config import KafkaUnavailable


@dataclass(frozen=True, kw_only=True)
class Options:
    """How closely to look."""

    #: Leave out what reads every row of the ledger once more.
    quick: bool = False
    #: Read the manifests and the whole command topics, too.
    log: bool = False
    #: From which age on a batch that is not published is a finding.
    unpublished_seconds: float = 60.0


def examine(settings: Settings, options: Options | None = None) -> list[Finding]:
    """What is wrong with the books, the first findings of each check; empty if nothing is."""
    return examination(settings, options or Options()).findings


def examination(
    settings: Settings,
    options: Options,
    *,
    progress: Progress = lambda check, done, total: None,
) -> Report:
    """Examine the books of the first database that the settings name: the worker's, the owner's or
    the API's role, of which the last may not read everything.

    Raises ``SettingsError`` where none is named, ``SchemaMismatchError`` for tables of another
    release, and what psycopg raises where the database does not answer.
    """
    url = settings.worker_database_url or settings.database_url or settings.api_database_url
    if not url:
        raise SettingsError(
            "No database is named: set WALLET_WORKER_DATABASE_URL; `wallet up` starts one."
        )
    # Before the snapshot: what is published by now is applied in it.
    broker, reason = _broker(settings)
    report = Report()
    with snapshot(url) as books:
        for examined in _examined(settings, options, books, broker, reason, progress):
            report.checks.append(examined)
    return report


def _broker(settings: Settings) -> tuple[Log | None, str]:
    if not settings.kafka.get("bootstrap.servers"):
        return None, "no broker is named (WALLET_KAFKA_BOOTSTRAP_SERVERS)"
    try:
        return Log(settings), ""
    except KafkaUnavailable as unavailable:
        return None, f"the broker was asked in vain: {unavailable}"


def _examined(
    settings: Settings,
    options: Options,
    books: Snapshot,
    broker: Log | None,
    reason: str,
    progress: Progress,
) -> Iterator[Examined]:
    runner = _Runner(books, options, progress)
    for check in CHECKS:
        yield runner.query(check)
    yield runner.run(
        "rules as told", rules.RULES_SAYS, ("rules", "commands"), lambda: rules.check_rules(books)
    )
    yield from _onchain(settings, books, runner)
    yield runner.run(
        "chain",
        chain.CHAIN_SAYS,
        ("batch_slices", "entries", "commands"),
        lambda: chain.check_chain(books, progress),
        slow=True,
    )
    yield runner.run(
        "derivation",
        chain.ADDRESSES_SAYS,
        ("deposit_addresses", "watched_scripts"),
        lambda: chain.check_addresses(books, keyring_of(settings), progress),
        slow=True,
        left_out=None if settings.account_xpub else "WALLET_ACCOUNT_XPUB is not set",
    )
    if broker is None:
        for name, says in (("published", log.PUBLISHED_SAYS), ("topics", log.TOPICS_SAYS)):
            yield Examined(check=name, says=says, left_out=reason)
        return
    yield runner.run(
        "published",
        log.PUBLISHED_SAYS,
        ("partitions", "batches", "batch_slices", "outbox"),
        lambda: broker.check_published(books, options.unpublished_seconds),
    )
    yield runner.run("topics", log.TOPICS_SAYS, ("partitions",), lambda: broker.check_topics(books))
    left_out = None if options.log else "only with --log"
    tables = ("partitions", "batch_slices", "commands", "dead_letters")
    yield runner.run(
        "manifests",
        log.MANIFESTS_SAYS,
        (*tables, "batches", "rules"),
        lambda: broker.check_manifests(books, progress),
        left_out=left_out,
    )
    yield runner.run(
        "records",
        log.RECORDS_SAYS,
        tables,
        lambda: broker.check_records(books, progress),
        left_out=left_out,
    )


def _onchain(settings: Settings, books: Snapshot, runner: _Runner) -> Iterator[Examined]:
    """The chain's side: what holds always, what holds at the tip, the books by it, and the node."""
    played = settings.network != "mainnet"
    closed = books.unreadable(("chain_state", "blocks"))
    where = None if closed else books.followed()
    idle = "nothing is followed on a chain" if where is None else None
    if closed:
        idle = f"{books.role()} may not read {', '.join(closed)}"
    for check in coins.FOLLOWED:
        yield runner.query(check, left_out=idle)
    reason = onchain.not_at_tip(where) if where is not None and idle is None else idle
    for check in coins.at_tip(played=played):
        yield runner.query(check, left_out=reason)
    yield runner.run(
        "books and coins",
        onchain.CLOSING_SAYS,
        coins.CLOSING_TABLES,
        lambda: onchain.check_closing(books, where, played=played),
        left_out=reason,
    )
    if not settings.node_url and reason is None:
        reason = "no node is named (WALLET_NODE_URL)"
    yield runner.run(
        "node",
        onchain.NODE_SAYS,
        ("coins", "spends"),
        lambda: onchain.check_node(settings, books, where),
        left_out=reason,
    )


class _Runner:
    """Runs a check, unless it is not to be or cannot be made."""

    def __init__(self, books: Snapshot, options: Options, progress: Progress) -> None:
        self._books = books
        self._quick = options.quick
        self._progress = progress

    def query(self, check: Check, *, left_out: str | None = None) -> Examined:
        """A check that is one query."""

        def look() -> Tally:
            found = self._books.look(check)
            tally = Tally(check.name, len(found.first))
            for subject, detail in found.first:
                tally.find(subject, detail)
            tally.subjects, tally.wrong = found.subjects, found.wrong
            return tally

        return self.run(
            check.name, check.says, check.tables, look, slow=check.slow, left_out=left_out
        )

    def run(
        self,
        name: str,
        says: str,
        tables: Sequence[str],
        look: Callable[[], Tally],
        *,
        slow: bool = False,
        left_out: str | None = None,
    ) -> Examined:
        """Any check."""
        closed = self._books.unreadable(tables)
        if slow and self._quick:
            left_out = "left out by --quick"
        elif closed:
            left_out = f"{self._books.role()} may not read {', '.join(closed)}"
        if left_out is not None:
            return Examined(check=name, says=says, left_out=left_out)
        self._progress(name, 0, 0)
        started = time.monotonic()
        try:
            tally = look()
        except KafkaUnavailable as unavailable:
            reason = f"the broker stopped answering: {unavailable}"
            return Examined(check=name, says=says, left_out=reason)
        except LeftOut as reason_told:
            return Examined(check=name, says=says, left_out=str(reason_told))
        return Examined(
            check=name,
            says=says,
            subjects=tally.subjects,
            wrong=tally.wrong,
            first=tuple(tally.first),
            seconds=time.monotonic() - started,
            note=tally.note,
        )
