"""Around every request: problems told, time measured, one line logged, callers let in."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Final, assert_never

from aiohttp import web

from api.auth import Caller
from api.database import DatabaseUnavailable, QueryTooLong
from api.limits import SERVICE_FACTOR
from api.problems import Fault, Problem, render
from api.routes import Access, Route
from api.services import CALLER, COMMAND_ID, SERVICES, Call, Services

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_FAULT_OF_STATUS: Final = {
    404: Fault.NO_SUCH_PATH,
    405: Fault.METHOD_NOT_ALLOWED,
    413: Fault.BODY_TOO_LARGE,
}


@web.middleware
async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every failure as a problem, measure, and log the request."""
    started = monotonic()
    services = request.app[SERVICES]
    response = await _answered(request, handler, services)
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    seconds = monotonic() - started
    method, route = _labels(request)
    services.metrics.requests.labels(method, route, str(response.status)).inc()
    services.metrics.seconds.labels(method, route).observe(seconds)
    log.info(
        "request",
        extra={
            "method": request.method,
            "path": request.path,
            "status": response.status,
            "milliseconds": round(seconds * 1000, 2),
            "caller": request.get(CALLER),
            "command_id": request.get(COMMAND_ID),
        },
    )
    return response


def _labels(request: web.Request) -> tuple[str, str]:
    """Method and route; what is not served has one label, as anybody can invent it."""
    resource = request.match_info.route.resource
    if resource is None:
        return "other", "none"
    return request.method, resource.canonical.rstrip("/") or "/"


async def _answered(
    request: web.Request, handler: Handler, services: Services
) -> web.StreamResponse:
    try:
        return await handler(request)
    except Problem as problem:
        told = problem
    except DatabaseUnavailable as error:
        log.warning("the database does not answer", extra={"reason": str(error)})
        told = Problem(Fault.DATABASE_UNAVAILABLE)
    except QueryTooLong:
        told = Problem(Fault.QUERY_TOO_LONG)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        allow = error.headers.get("Allow")
        told = Problem(
            _FAULT_OF_STATUS.get(error.status, Fault.BAD_REQUEST),
            headers={"Allow": allow} if allow else None,
        )
    except Exception:
        # The last door before the caller: told as what it is, and logged in full.
        log.exception("a request failed", extra={"path": request.path})
        told = Problem(Fault.INTERNAL)
    services.metrics.problems.labels(told.code.value).inc()
    return render(told, request.path)


def guarded(route: Route) -> Handler:
    """The route's handler, for those alone who may call it, and not too often."""

    async def handler(request: web.Request) -> web.StreamResponse:
        services = request.app[SERVICES]
        peer = request.remote or "unknown"
        try:
            caller = await services.authenticator.caller(request.headers.get("Authorization"))
        except Problem:
            # Whoever guesses tokens is slowed by address.
            _limit(services, f"address {peer}", 1)
            raise
        request[CALLER] = caller.subject
        _limit(services, caller.subject, SERVICE_FACTOR if caller.is_service else 1)
        _admit(route.access, caller)
        return await route.handler(Call(request=request, services=services, caller=caller))

    return handler


def _limit(services: Services, caller: str, factor: int) -> None:
    seconds = services.limit.take(caller, factor)
    if seconds:
        raise Problem(Fault.RATE_LIMITED, headers={"Retry-After": str(math.ceil(seconds))})


def _admit(access: Access, caller: Caller) -> None:
    match access:
        case Access.USER:
            if caller.user_id is None:
                raise Problem(Fault.NOT_A_USER)
        case Access.SERVICE:
            if not caller.is_service:
                raise Problem(Fault.SCOPE_MISSING)
        case Access.EITHER:
            if caller.user_id is None and not caller.is_service:
                raise Problem(Fault.NOT_A_USER)
        case _:
            assert_never(access)
