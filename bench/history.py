"""A past for the books: millions of entries of the same users, made by the database itself.

Each user was paid in once, then locked and unlocked a bid again and again: per command its
outcome and two entries, per bid a lock, all with the values, sizes and indexes that the worker
would have left. Their ids are of generation 0, before all that the run's own topics give.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from math import ceil
from typing import Final

from bench.plans import PARTITIONS, Plan
from bench.stage import Stage, Told
from db.engine import connect
from schemas.ledger import HOUSE
from streams.kafka.config import partition_of
from streams.loadgen.pieces import DOGE

#: Entries of one statement: the trigger that adds them up keeps them all until its end.
_CHUNK: Final = 400_000
#: What a user was paid in, and what each bid locks.
_PAID_IN: Final = 500_000 * DOGE
_BID: Final = 5 * DOGE
#: Between two commands of a user.
_STEP: Final = "interval '7 minutes'"

#: Users by partition and place in it, so that offsets are dense in time.
_USERS: Final = """
CREATE UNLOGGED TABLE history_users
       (user_id uuid PRIMARY KEY, partition int, place int, crowd int, half int)
"""

#: The command of round ``k``: a deposit in round 0, then locks and unlocks in turn.
_ROUND: Final = f"""
WITH round AS MATERIALIZED (
    SELECT u.user_id, k, k::bigint * u.crowd + u.place AS moment,
           CASE WHEN k = 0 THEN '02' ELSE '00' END || '0000' || lpad(to_hex(u.partition), 4, '0')
               || '008000' AS head,
           now() - {_STEP} * (%(rounds)s - k) AS at,
           CASE WHEN k = 0 THEN 'process_deposit' WHEN k %% 2 = 1 THEN 'lock_funds'
                ELSE 'unlock_funds' END AS kind,
           'bid-past-' || (k + 1) / 2 || '-' || u.place AS reference
      FROM generate_series(%(first)s::int, %(last)s::int) AS k CROSS JOIN history_users u
     WHERE u.half = %(half)s
     ORDER BY k, u.partition, u.place
)
"""


def _id(leg: str) -> str:
    """The id of a round's command or of one of its entries: the layout of ``schemas.ids``."""
    return f"(head || to_hex((-9223372036854775808) | (moment << 26) | {leg}))::uuid"


_COMMANDS: Final = f"""{_ROUND}
INSERT INTO commands (id, user_id, topic, type, idempotency_key, request_hash, outcome, document,
                      batch_id, decided_at)
SELECT {_id("0")}, user_id, CASE WHEN k = 0 THEN 2 ELSE 0 END, kind,
       'past:' || kind || ':' || moment, decode(md5(kind || moment), 'hex'), 'accepted',
       format('{{"result":{{"reference_type":"auction","reference_id":"%%s","locked":"%%s"}},'
              '"balance":{{"user_id":"%%s","available":"499995.00000000","locked":"5.00000000",'
              '"bids":"5.00000000","escrow":"0.00000000","pending":"0.00000000",'
              '"shortfall":"0.00000000","frozen":false,"version":%%s,"updated_at":"%%s"}}}}',
              reference, CASE WHEN k %% 2 = 1 THEN '5.00000000' ELSE '0.00000000' END, user_id,
              k + 1, to_char(at, 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'))::json,
       0, at
  FROM round
"""

#: Of each pair the first leg is debited; ``available`` is the user's other side of a bid.
_ENTRIES: Final = f"""{_ROUND}
INSERT INTO entries (id, command_id, user_id, account, entry_type, debit, credit, balance_after,
                     reference_type, reference_id, wallet_version, created_at)
SELECT {_id("leg")}, {_id("0")},
       CASE WHEN k = 0 AND leg = 1 THEN '{HOUSE}'::uuid ELSE user_id END,
       CASE WHEN k = 0 AND leg = 1 THEN 'chain' WHEN k = 0 OR (leg = 1) = (k %% 2 = 1)
            THEN 'available' ELSE 'bids' END::account,
       CASE WHEN k = 0 THEN 'DEPOSIT' WHEN k %% 2 = 1 THEN 'BID_LOCK' ELSE 'BID_UNLOCK'
            END::entry_type,
       CASE WHEN leg = 1 THEN amount ELSE 0 END, CASE WHEN leg = 2 THEN amount ELSE 0 END,
       CASE WHEN k = 0 THEN CASE WHEN leg = 2 THEN amount END
            WHEN (leg = 1) = (k %% 2 = 1) THEN {_PAID_IN} - (k %% 2) * {_BID}
            ELSE (k %% 2) * {_BID} END,
       CASE WHEN k = 0 THEN 'deposit' ELSE 'auction' END, reference,
       CASE WHEN k > 0 OR leg = 2 THEN k + 1 END, at
  FROM round
 CROSS JOIN (VALUES (1), (2)) AS legs(leg)
 CROSS JOIN LATERAL (SELECT CASE WHEN k = 0 THEN {_PAID_IN} ELSE {_BID} END AS amount)
"""

_LOCKS: Final = f"""{_ROUND}
INSERT INTO locks (user_id, reference_type, reference_id, amount)
SELECT user_id, 'auction', reference, 0 FROM round WHERE k %% 2 = 1
"""

_WALLETS: Final = f"""
INSERT INTO wallets (user_id, available, version, sequence, time, opened_at)
SELECT user_id, {_PAID_IN}, %(rounds)s, %(rounds)s, now() - {_STEP},
       now() - {_STEP} * %(rounds)s
  FROM history_users
"""


def write_history(stage: Stage, plan: Plan, entries: int, told: Told) -> int:
    """Give the plan's users a past of so many entries at least; how many there are then.

    Nobody else may use the database meanwhile.
    """
    users = len(plan.players)
    # The last bid of each is unlocked, so that nothing stands open.
    rounds = 1 + 2 * max(ceil((entries / users - 2) / 4), 1)
    _list_users(stage, plan)
    per_statement = max(_CHUNK // users, 1)
    spans = [
        (first, min(first + per_statement, rounds) - 1) for first in range(0, rounds, per_statement)
    ]
    written = [0, 0]

    def write(half: int) -> None:
        with connect(
            stage.settings.database_url, application_name="wallet-bench", statement_seconds=0
        ) as connection:
            for first, last in spans:
                values = {"first": first, "last": last, "half": half, "rounds": rounds}
                for statement in (_COMMANDS, _ENTRIES, _LOCKS):
                    connection.execute(statement, values)
                connection.commit()
                written[half] += (last + 1 - first) * users
                told(f"{sum(written):,} of {rounds * users * 2:,} entries")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, (0, 1)))
    _finish(stage, rounds)
    return rounds * users * 2


def _list_users(stage: Stage, plan: Plan) -> None:
    crowds = [0] * PARTITIONS
    places = []
    for player in plan.players:
        partition = partition_of(player.key, PARTITIONS)
        places.append((player.user_id, partition, crowds[partition]))
        crowds[partition] += 1
    with connect(stage.settings.database_url, application_name="wallet-bench") as connection:
        connection.execute(_USERS)
        with (
            connection.cursor() as cursor,
            cursor.copy(
                "COPY history_users (user_id, partition, place, crowd, half) FROM STDIN"
            ) as copy,
        ):
            for user_id, partition, place in places:
                copy.write_row((user_id, partition, place, crowds[partition], partition % 2))


def _finish(stage: Stage, rounds: int) -> None:
    """The wallets, and what the database would else do in the background of the run."""
    with connect(
        stage.settings.database_url,
        application_name="wallet-bench",
        autocommit=True,
        statement_seconds=0,
    ) as connection:
        connection.execute(_WALLETS, {"rounds": rounds})
        connection.execute("DROP TABLE history_users")
        connection.execute("VACUUM (FREEZE, ANALYZE) entries, commands, locks, wallets")
