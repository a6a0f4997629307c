"""Columns and constraints as the tables are put together from, and the metadata that holds all."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Enum,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.types import TypeEngine

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "ck": "%(table_name)s_%(constraint_name)s",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    }
)


def native_enum(values: type[StrEnum], name: str) -> Enum:
    """A native enum with the values of a StrEnum, in its order."""
    return Enum(
        values,
        name=name,
        values_callable=lambda members: [member.value for member in members],
        metadata=metadata,
    )


#: Rows that are only ever added: frozen by their first vacuum, so that no later one has to come
#: back for them, and with statistics fresh enough while the tables are young and grow fast.
APPEND_ONLY_STORAGE: Final = {
    "autovacuum_freeze_min_age": 0,
    "autovacuum_vacuum_insert_scale_factor": 0.05,
    "autovacuum_vacuum_insert_threshold": 50000,
    "autovacuum_analyze_scale_factor": 0.05,
}
#: Rows that are changed in place: room on the page for the new version, and early vacuums.
IN_PLACE_STORAGE: Final = {
    "autovacuum_vacuum_scale_factor": 0.05,
    "autovacuum_analyze_scale_factor": 0.05,
}


def _column(kind: TypeEngine[Any]) -> Callable[..., Column[Any]]:
    """Makes columns of one type, NOT NULL unless told."""

    def make(name: str, **options: Any) -> Column[Any]:
        return Column(name, kind, **{"nullable": False, **options})

    return make


uuid = _column(Uuid(as_uuid=False))
big = koinu = _column(BigInteger())
integer = _column(Integer())
small = _column(SmallInteger())
words = _column(Text())
octets = _column(LargeBinary())
boolean = _column(Boolean())
json = _column(JSON())
moment = _column(TIMESTAMP(timezone=True))


def zero(name: str) -> Column[Any]:
    """A count or an amount that starts at nothing."""
    return big(name, server_default=text("0"))


def check(name: str, condition: str) -> CheckConstraint:
    """A constraint, whose name gets the table's before it."""
    return CheckConstraint(text(condition), name=name)


def not_negative(*columns: str) -> tuple[CheckConstraint, ...]:
    """A constraint for each of the columns: at zero or above."""
    return tuple(check(f"{column}_not_negative", f"{column} >= 0") for column in columns)


def quoted(*values: str) -> str:
    """The values as a list of SQL's."""
    return ", ".join(f"'{value}'" for value in values)


EPOCH: Final = func.to_timestamp(text("0"))
