"""Holds each version of the rules against the command that made it.

The outcome tells the new version's number alone, but the stored hash of the request covers all that
was asked for. Who changes a fee or a limit in the table does not have the request for it.
"""

from __future__ import annotations

from itertools import pairwise

import msgspec

from db.audit.snapshot import FIRST_MAX, Snapshot, StoredRules
from processors.ledger.rules import applied, asked_for
from schemas.commands import CommandType, RotateAccount
from schemas.envelope import request_hash_of
from schemas.records import Rules
from streams.doctor.report import Tally

RULES_SAYS = "each version of the rules is what its command asked for"


def check_rules(snapshot: Snapshot) -> Tally:
    """All versions but the first, which no command made: the manifests tell of that one."""
    tally = Tally("rules as told", FIRST_MAX)
    stored = snapshot.rules()
    tally.subjects = len(stored)
    for before, after in pairwise(stored):
        if after.request_hash is None:
            # Another check has that.
            continue
        if not _follows(before.rules, after):
            tally.find(
                f"version {after.version}",
                f"it is not what {after.made_by} makes of version {before.version}",
            )
    return tally


def _follows(before: Rules, after: StoredRules) -> bool:
    rules = after.rules
    if after.made_by == CommandType.SET_RULES:
        asked = asked_for(rules)
        expected = applied(before, asked)
        hashed = request_hash_of(CommandType.SET_RULES, asked)
    else:
        expected = msgspec.structs.replace(before, account_key=rules.account_key)
        hashed = request_hash_of(
            CommandType.ROTATE_ACCOUNT, RotateAccount(account_key=rules.account_key)
        )
    expected = msgspec.structs.replace(expected, version=after.version)
    return (rules, after.request_hash) == (expected, hashed)
