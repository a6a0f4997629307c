"""The application: routes, middleware, and the life of what they need."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

from aiohttp import web

from api import operations
from api.middleware import guarded, observe
from api.openapi import document
from api.routes import PREFIX, ROUTES
from api.services import SERVICES, Services

log = logging.getLogger(__name__)


def build_app(services: Services, on_failure: Callable[[], None] | None = None) -> web.Application:
    """The application on its services, which it closes when it ends.

    ``on_failure`` is called if the task that follows the worker ends of itself: without it
    nobody would be told of an outcome any more.
    """
    app = web.Application(
        middlewares=[observe], client_max_size=services.settings.api_body_max_bytes
    )
    app[SERVICES] = services
    for route in ROUTES:
        handler = guarded(route)
        for path in (PREFIX + route.path, PREFIX + route.path + "/"):
            app.router.add_route(route.method, path, handler)
    contract = operations.Contract(document())
    for path, answer in {
        "/": contract.front,
        "/healthz": operations.health,
        "/readyz": operations.ready,
        "/metrics": operations.metrics,
        "/openapi.json": contract.openapi,
        "/docs": contract.docs,
        "/docs.js": contract.script,
        "/docs.css": contract.style,
    }.items():
        app.router.add_route("GET", path, answer)
    app.cleanup_ctx.append(_life(services, on_failure))
    return app


def _life(
    services: Services, on_failure: Callable[[], None] | None
) -> Callable[[web.Application], AsyncIterator[None]]:
    async def life(_: web.Application) -> AsyncIterator[None]:
        following = asyncio.create_task(services.outcomes.run(), name="outcomes")

        def ended(task: asyncio.Task[None]) -> None:
            if task.cancelled():
                return
            log.critical("nobody is told of outcomes any more", exc_info=task.exception())
            if on_failure is not None:
                on_failure()

        following.add_done_callback(ended)
        yield
        following.cancel()
        await asyncio.wait([following])
        await services.sender.close()
        await services.pool.close()

    return life
