"""What every handler needs, put together once a process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from aiohttp import web

from api.auth import Authenticator, Caller
from api.database import Pool
from api.limits import RateLimit
from api.metrics import Metrics
from api.outcomes import Outcomes
from api.ports import CommandSender
from api.submission import Submission
from schemas.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Services:
    """One process's settings and connections."""

    settings: Settings
    pool: Pool
    outcomes: Outcomes
    sender: CommandSender
    submission: Submission
    authenticator: Authenticator
    limit: RateLimit
    metrics: Metrics

    @classmethod
    def of(cls, settings: Settings, sender: CommandSender) -> Services:
        """Services on these settings; nothing is connected before it is used."""
        metrics = Metrics()
        pool = Pool(settings.api_database_url)
        outcomes = Outcomes(settings.api_database_url, pool)
        return cls(
            settings=settings,
            pool=pool,
            outcomes=outcomes,
            sender=sender,
            submission=Submission(sender, outcomes, metrics),
            authenticator=Authenticator(settings),
            limit=RateLimit(settings.api_rate_per_minute),
            metrics=metrics,
        )


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request of a caller who may make it."""

    request: web.Request
    services: Services
    caller: Caller

    @property
    def user_id(self) -> str:
        """The user that the caller is; only routes that demand one ask for it."""
        user_id = self.caller.user_id
        if user_id is None:
            raise RuntimeError("a route for users let somebody else in")
        return user_id


SERVICES: Final = web.AppKey("services", Services)
#: For the log line of the request.
COMMAND_ID: Final = web.RequestKey("command_id", str)
CALLER: Final = web.RequestKey("caller", str)
