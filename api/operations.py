"""What operators and programs ask of the process itself: health, readiness, metrics, contract."""

from __future__ import annotations

import asyncio
from importlib import resources
from typing import Final

import msgspec
from aiohttp import web

from api.database import DatabaseUnavailable, QueryTooLong
from api.reading import as_json
from api.services import SERVICES, Services
from api.shapes import Health

READY_SECONDS: Final = 2.5

#: The page loads nothing from elsewhere, and says so to the browser.
_POLICY: Final = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'"
_FILES: Final = {"docs.html": "text/html", "docs.js": "text/javascript", "docs.css": "text/css"}


async def health(request: web.Request) -> web.Response:
    """The process runs and its event loop turns."""
    return as_json(Health(status="ok"))


async def ready(request: web.Request) -> web.Response:
    """Whether a command could be sent, decided and answered just now."""
    services = request.app[SERVICES]
    database, broker = await asyncio.gather(_database(services), _broker(services))
    checks = {
        "database": database,
        "outcomes": services.outcomes.listening,
        "broker": broker,
    }
    if all(checks.values()):
        return as_json(Health(status="ok", checks=checks))
    return as_json(Health(status="unready", checks=checks), status=503)


async def _database(services: Services) -> bool:
    try:
        async with asyncio.timeout(READY_SECONDS):
            return bool(await services.pool.fetch("SELECT 1"))
    except (DatabaseUnavailable, QueryTooLong, TimeoutError):
        return False


async def _broker(services: Services) -> bool:
    try:
        async with asyncio.timeout(READY_SECONDS):
            return await services.sender.reachable()
    except TimeoutError:
        return False


async def metrics(request: web.Request) -> web.Response:
    """Measurements in Prometheus' text format."""
    services = request.app[SERVICES]
    services.metrics.waiting.set(services.outcomes.count)
    services.metrics.listening.set(services.outcomes.listening)
    services.metrics.wakeups.set(services.outcomes.wakeups)
    return web.Response(
        body=services.metrics.expose(), headers={"Content-Type": services.metrics.content_type}
    )


class Contract:
    """The OpenAPI document and the page that shows it, made once."""

    def __init__(self, document: dict[str, object]) -> None:
        self._document = msgspec.json.encode(document)
        folder = resources.files("api") / "static"
        self._files = {name: (folder / name).read_bytes() for name in _FILES}

    async def openapi(self, request: web.Request) -> web.Response:
        """The contract, for programs."""
        return web.Response(body=self._document, content_type="application/json")

    async def front(self, request: web.Request) -> web.Response:
        """Whoever comes by the bare address is shown the page."""
        raise web.HTTPFound("/docs")

    async def docs(self, request: web.Request) -> web.Response:
        """The contract, for people."""
        return self._page("docs.html")

    async def script(self, request: web.Request) -> web.Response:
        """What draws the page."""
        return self._page("docs.js")

    async def style(self, request: web.Request) -> web.Response:
        """How the page looks."""
        return self._page("docs.css")

    def _page(self, name: str) -> web.Response:
        return web.Response(
            body=self._files[name],
            content_type=_FILES[name],
            charset="utf-8",
            headers={"Content-Security-Policy": _POLICY},
        )
