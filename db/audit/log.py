"""What must hold of partitions, batches and outcomes, one query each.

Every query answers (subject, detail) for all that it looked at; ``detail`` is NULL where all is
well.
"""

from __future__ import annotations

from typing import Final

from db.audit.books import Check

_HALTED: Final = """
SELECT format('topic %s, partition %s', topic, partition) AS subject, halted AS detail
  FROM partitions
"""

_OFFSETS: Final = """
WITH parts AS (
    SELECT *, lag(last_offset) OVER (PARTITION BY topic, partition, generation
                                         ORDER BY first_offset) AS offset_before,
           lag(batch_id) OVER of_partition AS batch_before,
           lead(batch_id) OVER of_partition IS NULL AS is_last
      FROM batch_slices
    WINDOW of_partition AS (PARTITION BY topic, partition ORDER BY generation, first_offset)
)
SELECT format('topic %s, partition %s, batch %s', topic, partition, s.batch_id) AS subject,
       CASE WHEN s.first_offset <= s.offset_before
            THEN format('it begins at offset %s, but the slice before ends at %s',
                        s.first_offset, s.offset_before)
            WHEN s.batch_id <= s.batch_before
            THEN format('it comes after batch %s', s.batch_before)
            WHEN s.is_last AND (p.topic IS NULL OR s.generation > p.generation)
            THEN 'no such partition was ever taken over'
            -- A partition that was adopted has no last offset until its next batch.
            WHEN s.is_last AND p.last_offset IS NOT NULL
             AND (p.generation, p.next_offset, p.last_offset)
                 <> (s.generation, s.last_offset + 1, s.last_offset)
            THEN format('the last slice ends at offset %s of generation %s, but the partition '
                        'goes on at %s of %s', s.last_offset, s.generation, p.next_offset,
                        p.generation)
            WHEN s.is_last AND p.chain <> s.chain
            THEN 'the chain of the last slice is not the partition''s'
       END AS detail
  FROM parts s LEFT JOIN partitions p USING (topic, partition)
UNION ALL
SELECT format('topic %s, partition %s', topic, partition),
       CASE WHEN p.last_offset IS NOT NULL
            THEN 'offsets are applied, but there are no slices' END
  FROM partitions p
 WHERE NOT EXISTS (SELECT FROM batch_slices s
                    WHERE s.topic = p.topic AND s.partition = p.partition)
"""

_OUTCOMES: Final = """
WITH decided AS (
    SELECT batch_id, count(*) AS commands FROM commands GROUP BY batch_id
), buried AS (
    SELECT batch_id, count(*) AS letters FROM dead_letters GROUP BY batch_id
), parts AS (
    SELECT batch_id, sum(commands) AS commands, sum(entries) AS entries,
           sum(last_offset - first_offset + 1) AS offsets
      FROM batch_slices GROUP BY batch_id
)
SELECT 'batch ' || batch_id AS subject,
       CASE WHEN b.id IS NULL THEN 'there are outcomes or slices, but no such batch'
            WHEN p.batch_id IS NULL THEN 'it has no slices'
            WHEN b.commands <> coalesce(d.commands, 0)
            THEN format('%s outcomes are counted, %s are there',
                        b.commands, coalesce(d.commands, 0))
            WHEN (b.commands, b.entries) <> (p.commands, p.entries)
            THEN format('%s outcomes and %s entries, but %s and %s by its slices',
                        b.commands, b.entries, p.commands, p.entries)
            WHEN coalesce(d.commands, 0) + coalesce(l.letters, 0) > p.offsets
            THEN format('%s outcomes and %s dead letters of %s offsets',
                        d.commands, l.letters, p.offsets)
       END AS detail
  FROM (SELECT id AS batch_id, * FROM batches) b
  FULL JOIN decided d USING (batch_id)
  FULL JOIN buried l USING (batch_id)
  FULL JOIN parts p USING (batch_id)
UNION ALL
SELECT 'dead letter ' || d.id,
       CASE WHEN s.batch_id IS NULL THEN 'it lies outside of its batch''s slices' END
  FROM dead_letters d
  LEFT JOIN batch_slices s
    ON s.batch_id = d.batch_id AND s.topic = d.topic AND s.partition = d.partition
   AND s.generation = d.generation AND d."offset" BETWEEN s.first_offset AND s.last_offset
"""

_OUTBOX: Final = """
SELECT format('topic %s, partition %s, offset %s', topic, partition, o.first_offset) AS subject,
       CASE WHEN s.batch_id IS NULL
            THEN format('no slice of batch %s is what this row would publish', o.batch_id)
       END AS detail
  FROM outbox o
  LEFT JOIN batch_slices s USING (batch_id, topic, partition, first_offset, last_offset)
"""

_RULES: Final = """
WITH listed AS (
    SELECT version, command_id, row_number() OVER (ORDER BY version) AS place FROM rules
)
SELECT 'version ' || version AS subject,
       CASE WHEN version <> place THEN 'a version before it is missing'
            WHEN version > 1 AND c.id IS NULL THEN 'no accepted command made it'
       END AS detail
  FROM listed l
  LEFT JOIN commands c ON c.id = l.command_id AND c.outcome = 'accepted'
   AND c.type IN ('set_rules', 'rotate_account')
UNION ALL
SELECT 'the rules in force',
       CASE WHEN h.version IS DISTINCT FROM m.newest
            THEN format('version %s is in force, the newest is %s', h.version, m.newest) END
  FROM (SELECT max(version) AS newest FROM rules) m LEFT JOIN rules_head h ON true
"""

_KEYS: Final = """
SELECT c.id::text AS subject,
       CASE WHEN f.id IS NULL THEN format('its first, %s, is not there', c.first_id)
            WHEN (f.user_id, f.topic, f.idempotency_key)
                 <> (c.user_id, c.topic, c.idempotency_key)
              OR f.outcome NOT IN ('accepted', 'rejected')
            THEN format('%s is not the first of its key', c.first_id)
            WHEN (c.outcome = 'replayed') <> (f.request_hash = c.request_hash)
            THEN format('it is called %s, but the requests are %s', c.outcome,
                        CASE WHEN f.request_hash = c.request_hash THEN 'the same'
                             ELSE 'different' END)
       END AS detail
  FROM commands c LEFT JOIN commands f ON f.id = c.first_id
 WHERE c.outcome IN ('replayed', 'key_reused')
"""

_REFERENCES: Final = """
SELECT e.id::text AS subject,
       CASE WHEN c.id IS NULL
            THEN format('no accepted command %s stands behind this entry', e.command_id)
       END AS detail
  FROM entries e LEFT JOIN commands c ON c.id = e.command_id AND c.outcome = 'accepted'
"""

LOG: Final = (
    Check("halted", "every partition is applied", ("partitions",), _HALTED),
    Check(
        "offsets",
        "slices follow one another up to where their partition goes on",
        ("batch_slices", "partitions"),
        _OFFSETS,
    ),
    Check(
        "outcomes",
        "every batch has the outcomes that it counted, each within its slices",
        ("batches", "batch_slices", "commands", "dead_letters"),
        _OUTCOMES,
    ),
    Check("outbox", "what is to publish is what was applied", ("outbox", "batch_slices"), _OUTBOX),
    Check("rules", "versions are dense, the newest holds", ("rules", "rules_head"), _RULES),
    Check("keys", "replays point to the first of their key", ("commands",), _KEYS),
    Check(
        "references",
        "an accepted command stands behind every entry",
        ("entries", "commands"),
        _REFERENCES,
        slow=True,
    ),
)
