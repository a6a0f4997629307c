"""Whether what the database refuses by itself is still in force, in one query.

Constraints, unique indexes and triggers are half of every rule of the books. Whoever loads a dump
in parts or mends something by hand may leave one off, and nothing shows until it would have been
needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from db.audit.books import Check
from db.roles import API, PAYER, WATCHER, WORKER
from db.tables import APPEND_ONLY, metadata, triggers


def _values(rows: Iterable[tuple[str, ...]]) -> str:
    """Rows of SQL text."""
    return ", ".join(
        "(" + ", ".join(f"'{text.replace(chr(39), chr(39) * 2)}'" for text in row) + ")"
        for row in sorted(rows)
    )


_TABLES: Final = tuple(metadata.tables.values())
_CONSTRAINTS: Final = [
    (table.name, str(constraint.name)) for table in _TABLES for constraint in table.constraints
]
_INDEXES: Final = [
    (table.name, str(index.name), "unique" if index.unique else "any")
    for table in _TABLES
    for index in table.indexes
]
_CLOSED: Final = [
    (role, table.name) for role in (WORKER, API, WATCHER, PAYER) for table in APPEND_ONLY
]

_GUARDS: Final = f"""
SELECT format('constraint %s of %s', g.name, g.relation) AS subject,
       CASE WHEN c.oid IS NULL THEN 'it is not there'
            WHEN NOT c.convalidated THEN 'rows that were there before it were never held to it'
       END AS detail
  FROM (VALUES {_values(_CONSTRAINTS)}) g(relation, name)
  LEFT JOIN pg_constraint c ON c.conname = g.name AND c.conrelid = to_regclass(g.relation)
UNION ALL
SELECT format('index %s of %s', g.name, g.relation),
       CASE WHEN i.indexrelid IS NULL THEN 'it is not there'
            WHEN NOT i.indisvalid THEN 'it was not built to its end'
            WHEN g.kind = 'unique' AND NOT i.indisunique THEN 'it lets the same twice in'
       END
  FROM (VALUES {_values(_INDEXES)}) g(relation, name, kind)
  LEFT JOIN pg_index i
    ON i.indexrelid = to_regclass(g.name) AND i.indrelid = to_regclass(g.relation)
UNION ALL
SELECT format('trigger %s of %s', g.name, g.relation),
       CASE WHEN t.oid IS NULL THEN 'it is not there'
            WHEN t.tgenabled NOT IN ('O', 'A') THEN 'it is switched off'
       END
  FROM (VALUES {_values(triggers.names(APPEND_ONLY))}) g(relation, name)
  LEFT JOIN pg_trigger t ON t.tgname = g.name AND t.tgrelid = to_regclass(g.relation)
UNION ALL
SELECT format('function %s', g.name),
       CASE WHEN p.oid IS NULL THEN 'it is not there'
            WHEN btrim(p.prosrc, E'\\n') <> g.body THEN 'it is not as this release made it'
       END
  FROM (VALUES {_values(triggers.BODIES.items())}) g(name, body)
  LEFT JOIN pg_proc p ON p.oid = to_regprocedure(g.name || '()')
UNION ALL
SELECT format('%s of %s', g.relation, g.name),
       CASE WHEN has_table_privilege(r.oid, to_regclass(g.relation), 'DELETE, TRUNCATE')
              OR has_any_column_privilege(r.oid, to_regclass(g.relation), 'UPDATE')
            THEN 'this role may change or delete what is only ever added' END
  FROM (VALUES {_values(_CLOSED)}) g(name, relation)
  JOIN pg_roles r ON r.rolname = g.name
UNION ALL
SELECT 'session_replication_role',
       CASE current_setting('session_replication_role') WHEN 'origin' THEN NULL
            ELSE 'triggers are switched off for whoever connects' END
"""

GUARDS: Final = (Check("guards", "what the database refuses by itself is in force", (), _GUARDS),)
