"""The rules of alerts: read from one file, ``rules.toml``, each a struct of what it watches."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import msgspec

from schemas.amounts import parse_share
from schemas.events import EventType
from schemas.ledger import WithdrawalStatus
from schemas.rejections import Malformed
from schemas.settings import Settings, SettingsError
from streams.views.windows import Limit

RULES: Final = Path(__file__).with_name("rules.toml")

Name = Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9-]*$")]
#: As long as views are kept.
Minutes = Annotated[int, msgspec.Meta(ge=1, le=1440)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class _Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``name`` is the alert's kind, ``do`` what an operator is told to do."""

    name: Name
    do: str


class _Tagged(_Rule, frozen=True, kw_only=True, tag_field="watches"):
    """Any rule; ``watches`` in the file says which one."""


class Velocity(_Tagged, frozen=True, kw_only=True, tag="velocity"):
    """A user's events of some types, within a sliding window: so many, or so much."""

    events: Annotated[tuple[EventType, ...], msgspec.Meta(min_length=1)]
    minutes: Minutes
    count: Count | None = None
    amount: str | None = None

    @property
    def limit(self) -> Limit:
        """The limit in koinu."""
        return Limit(self.count, None if self.amount is None else parse_share(self.amount))


class Rejections(_Tagged, frozen=True, kw_only=True, tag="rejections"):
    """Rejected commands of all users: so many, and so many of a hundred."""

    minutes: Minutes
    count: Count
    percent: Annotated[int, msgspec.Meta(ge=0, le=100)]


class Shortfall(_Tagged, frozen=True, kw_only=True, tag="shortfall"):
    """A user owes so much."""

    amount: str


class Ageing(_Tagged, frozen=True, kw_only=True, tag="ageing"):
    """A withdrawal stands in one of the statuses for so long."""

    statuses: tuple[WithdrawalStatus, ...]
    minutes: Count


class HotWallet(_Tagged, frozen=True, kw_only=True, tag="hot-wallet"):
    """The hot wallet has less than so much more than withdrawals wait for."""

    amount: str


class Silence(_Tagged, frozen=True, kw_only=True, tag="silence"):
    """No event came for so long, and commands wait, where that is asked."""

    minutes: Count
    commands_wait: bool


class BridgeLag(_Tagged, frozen=True, kw_only=True, tag="bridge-lag"):
    """An event has waited for the bridge for so long."""

    minutes: Count


Rule = Velocity | Rejections | Shortfall | Ageing | HotWallet | Silence | BridgeLag


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rule: tuple[Rule, ...] = ()


def read_rules(settings: Settings) -> tuple[Rule, ...]:
    """The rules of the file that is set, or of our own; raises ``SettingsError``."""
    path = Path(settings.views_rules) if settings.views_rules else RULES
    try:
        rules = msgspec.toml.decode(path.read_bytes(), type=_File).rule
        for rule in rules:
            _check(rule)
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
    except (msgspec.MsgspecError, Malformed) as error:
        raise SettingsError(f"{path} is no file of rules: {error}") from error
    names = [rule.name for rule in rules]
    if twice := {name for name in names if names.count(name) > 1}:
        raise SettingsError(f"{path} names a rule twice: {', '.join(sorted(twice))}")
    return rules


def _check(rule: Rule) -> None:
    """Raises ``Malformed`` for an amount that is none, ``ValidationError`` for no limit at all."""
    match rule:
        case Velocity(count=None, amount=None):
            raise msgspec.ValidationError(f"{rule.name} has neither count nor amount")
        case Velocity():
            _ = rule.limit
        case Shortfall(amount=amount) | HotWallet(amount=amount):
            parse_share(amount)
        case _:
            pass
