"""What background processes measure, each name once with the line that explains it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

registry: Final = CollectorRegistry()

COMMANDS: Final = Counter(
    "wallet_worker_commands_total",
    "Records applied, by outcome: accepted, rejected, replayed, key_reused, dead_letters.",
    ["outcome"],
    registry=registry,
)
ENTRIES: Final = Counter(
    "wallet_worker_entries_total", "Entries written to the ledger.", registry=registry
)
BATCH_COMMANDS: Final = Histogram(
    "wallet_worker_batch_commands",
    "Records in one batch.",
    buckets=(1, 10, 100, 500, 1000, 2000, 5000, 10000),
    registry=registry,
)
BATCH_SECONDS: Final = Histogram(
    "wallet_worker_batch_seconds",
    "From the first record of a batch to its commit in the database.",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
    registry=registry,
)
RECORD_AGE_SECONDS: Final = Histogram(
    "wallet_worker_record_age_seconds",
    "From the broker's time-stamp of a batch's oldest record to its commit.",
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5, 30, 120, 600),
    registry=registry,
)
PARTITIONS: Final = Gauge(
    "wallet_worker_partitions", "Partitions that this worker applies.", registry=registry
)
PARTITIONS_ALL: Final = Gauge(
    "wallet_worker_partitions_all",
    "Partitions of the command topics, whoever applies them.",
    registry=registry,
)
HALTED: Final = Gauge(
    "wallet_worker_partitions_halted",
    "Partitions that wait for an operator; `wallet doctor` says why.",
    registry=registry,
)
TAKE_OVERS: Final = Counter(
    "wallet_worker_take_overs_total", "Times that partitions were taken over.", registry=registry
)
REPUBLISHED: Final = Counter(
    "wallet_worker_republished_slices_total",
    "Slices published from the outbox at a take-over.",
    registry=registry,
)
OUTAGES: Final = Counter(
    "wallet_worker_outages_total", "Times that a server was away.", ["server"], registry=registry
)
REJOINS: Final = Counter(
    "wallet_worker_rejoins_total",
    "Times that the worker left the group and joined again, being fenced.",
    registry=registry,
)

SENDS: Final = Counter(
    "wallet_payer_sends_total",
    "Transactions sent to the node, by its answer: accepted, already_there, refused, unknown.",
    ["answer"],
    registry=registry,
)
PAYOUTS: Final = Counter(
    "wallet_payer_payouts_total",
    "Payouts by what became of them: reserved, confirmed, unconfirmed, bumped, failed, abandoned.",
    ["event"],
    registry=registry,
)
PAYOUTS_OPEN: Final = Gauge(
    "wallet_payer_payouts_open", "Payouts that are not confirmed yet.", registry=registry
)
STRANDED: Final = Gauge(
    "wallet_payer_withdrawals_stranded",
    "Withdrawals under way in the ledger that no payout pays: the payer's tables were lost.",
    registry=registry,
)
COINS_MISSING: Final = Gauge(
    "wallet_payer_coins_missing_doge",
    "What the hot wallet lacks to pay the withdrawals that wait.",
    registry=registry,
)

ORDERS_LATE: Final = Gauge(
    "wallet_relay_commands_late",
    "Commands that were sent long ago and have no outcome, by outbox.",
    ["outbox"],
    registry=registry,
)
REFUSED: Final = Gauge(
    "wallet_watcher_commands_refused",
    "Commands that the ledger refused while the chain still says so.",
    registry=registry,
)

TIP_HEIGHT: Final = Gauge(
    "wallet_watcher_tip_height", "The highest block that was followed.", registry=registry
)
LAG_BLOCKS: Final = Gauge(
    "wallet_watcher_lag_blocks", "How many blocks the node is ahead.", registry=registry
)
BLOCKS: Final = Counter(
    "wallet_watcher_blocks_total",
    "Blocks, by direction: followed, undone.",
    ["direction"],
    registry=registry,
)
RECEIPTS: Final = Counter(
    "wallet_watcher_receipts_total",
    "Payments to users, by what happened: received, insufficient, credited, reversed.",
    ["event"],
    registry=registry,
)
COINS_SPENT: Final = Counter(
    "wallet_watcher_coins_spent_total", "Coins of ours that blocks spend.", registry=registry
)
WATCHED: Final = Counter(
    "wallet_watcher_addresses_total", "Addresses taken under watch.", registry=registry
)
RELAYED: Final = Counter(
    "wallet_relay_commands_total", "Commands put on the treasury's topic.", registry=registry
)
STUCK: Final = Gauge(
    "wallet_watcher_stuck",
    "1 while nothing is followed, for a reason that /readyz tells.",
    registry=registry,
)


BRIDGED: Final = Counter(
    "wallet_bridge_events_total",
    "Events, by what became of a try to send them: delivered, retried, dead_letters.",
    ["outcome"],
    registry=registry,
)
BRIDGE_HELD: Final = Gauge(
    "wallet_bridge_events_held", "Events read and not yet acknowledged by AWS.", registry=registry
)
BRIDGE_LAG: Final = Gauge(
    "wallet_bridge_lag_records",
    "Records of this bridge's partitions, as the broker tells their ends, that AWS has not"
    " acknowledged.",
    registry=registry,
)

VIEWED: Final = Counter(
    "wallet_views_events_total",
    "Events read by the views: counted, double, unreadable.",
    ["outcome"],
    registry=registry,
)
VIEW_ALERTS: Final = Counter(
    "wallet_views_alerts_total",
    "Incidents told on the topic of alerts, by rule and state: started, ended.",
    ["rule", "state"],
    registry=registry,
)
VIEW_INCIDENTS: Final = Gauge(
    "wallet_views_incidents_open", "Incidents that stand, by rule.", ["rule"], registry=registry
)
VIEW_FLOW_EVENTS: Final = Gauge(
    "wallet_views_flow_events",
    "Events of the last full minute, by type.",
    ["type"],
    registry=registry,
)
VIEW_FLOW_DOGE: Final = Gauge(
    "wallet_views_flow_doge",
    "DOGE of the last full minute, by the event's type.",
    ["type"],
    registry=registry,
)
VIEW_OUTCOMES: Final = Gauge(
    "wallet_views_commands",
    "Commands decided in the last full minute: accepted, replayed, or the rejection's code.",
    ["outcome"],
    registry=registry,
)
VIEW_WITHDRAWALS: Final = Gauge(
    "wallet_views_withdrawals_open",
    "Withdrawals that are not done, by status.",
    ["status"],
    registry=registry,
)
VIEW_WITHDRAWAL_SECONDS: Final = Gauge(
    "wallet_views_withdrawal_oldest_seconds",
    "How long the oldest of them has been in its status.",
    ["status"],
    registry=registry,
)
VIEW_LAG: Final = Gauge(
    "wallet_views_lag_records",
    "The most that a group can be behind: worker, bridge, views.",
    ["group"],
    registry=registry,
)
VIEW_LAG_SECONDS: Final = Gauge(
    "wallet_views_lag_seconds",
    "Age of the oldest record that waits for a group.",
    ["group"],
    registry=registry,
)
VIEW_GAPS: Final = Gauge(
    "wallet_views_users_with_gaps",
    "Users of whose events some have not come.",
    registry=registry,
)
VIEW_PARTITIONS: Final = Gauge(
    "wallet_views_partitions", "Partitions that this member counts.", registry=registry
)


#: A series that begins with its first event counts none: Prometheus sees no rise from nothing.
_BEFORE_THE_FIRST: Final = (
    (COMMANDS, ("accepted", "rejected", "replayed", "key_reused", "dead_letters")),
    (OUTAGES, ("broker", "database")),
    (SENDS, ("accepted", "already_there", "refused", "unknown")),
    (PAYOUTS, ("reserved", "confirmed", "unconfirmed", "bumped", "failed", "abandoned")),
    (BLOCKS, ("followed", "undone")),
    (RECEIPTS, ("received", "insufficient", "credited", "reversed")),
    (BRIDGED, ("delivered", "retried", "dead_letters")),
    (VIEWED, ("counted", "double", "unreadable")),
)
for _counter, _values in _BEFORE_THE_FIRST:
    for _value in _values:
        _counter.labels(_value)

#: What the one that works sees; who stands by knows nothing of it.
_SEEN_BY_ONE: Final = {
    "watcher": (LAG_BLOCKS, REFUSED),
    "payer": (PAYOUTS_OPEN, STRANDED, COINS_MISSING),
}
_RELAYS: Final = frozenset({"watcher", "payer"})


def stand_by(process: str) -> None:
    """Another watcher or payer works: what this one saw as long as it did is over."""
    for gauge in _SEEN_BY_ONE[process]:
        gauge.set(0)
    ORDERS_LATE.clear()


class _Own(Collector):
    def __init__(self, process: str) -> None:
        relays = ("wallet_relay_",) if process in _RELAYS else ()
        self._prefixes = (f"wallet_{process}_", *relays)

    def collect(self) -> Iterable[Metric]:
        return (metric for metric in registry.collect() if metric.name.startswith(self._prefixes))


def exposition(process: str) -> bytes:
    """What this process measures, in Prometheus' text format.

    Nothing of the others: a zero that is told for them would hide that they are gone.
    """
    return generate_latest(_Own(process))
