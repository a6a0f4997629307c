"""The rules as versions in a table, and the one row that every batch locks shared."""

from __future__ import annotations

from typing import Any

import msgspec
import psycopg

from db.engine import Cursor
from db.together import Answer, Prepared, Together
from schemas.records import Rules


class RulesMissing(Exception):
    """The database has no rules yet; run `wallet migrate`, which seeds version 1."""


def has_rules(connection: psycopg.Connection) -> bool:
    """Whether there is a version of the rules in force."""
    return connection.execute("SELECT FROM rules_head").fetchone() is not None


def seed_rules(connection: psycopg.Connection, rules: Rules) -> bool:
    """Make version 1 where there is none; True if it was made."""
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO rules (version, data) VALUES (1, %s) ON CONFLICT DO NOTHING",
            (encode_rules(rules),),
        )
        made = cursor.rowcount == 1
        cursor.execute(
            "INSERT INTO rules_head (singleton, version) VALUES (true, 1) ON CONFLICT DO NOTHING"
        )
    return made


def lock_rules(server: Together, *, to_change: bool) -> Answer[int]:
    """The present version, locked shared, or for the batch that holds a ``set_rules``."""
    strength = "NO KEY UPDATE" if to_change else "SHARE"
    found = server.ask(f"SELECT version FROM rules_head FOR {strength}")
    return lambda: _version(found.fetchone())


def _version(row: tuple[Any, ...] | None) -> int:
    if row is None:
        raise RulesMissing
    return int(row[0])


def read_rules(cursor: Cursor, version: int | None = None) -> Rules:
    """One version of the rules, or the present one."""
    cursor.execute(
        """
        SELECT data::text FROM rules
         WHERE version = coalesce(%s::int, (SELECT version FROM rules_head))
        """,
        (version,),
    )
    row = cursor.fetchone()
    if row is None:
        raise RulesMissing
    return decode_rules(row[0])


def write_rules(changes: Prepared, rules: Rules, command_id: str, time_seconds: float) -> None:
    """A new version, from here on the present one."""
    changes.ask(
        "INSERT INTO rules (version, data, command_id, created_at)"
        " VALUES (%s, %s, %s, to_timestamp(%s))",
        (rules.version, encode_rules(rules), command_id, time_seconds),
    )
    changes.ask("UPDATE rules_head SET version = %s", (rules.version,))


def encode_rules(rules: Rules) -> str:
    """Rules as JSON, amounts in koinu."""
    return msgspec.json.encode(rules).decode()


def decode_rules(text: str | bytes) -> Rules:
    """Rules from their JSON."""
    return msgspec.json.decode(text, type=Rules)
