"""A bus that only says yes: what is left of the time when nobody keeps the events.

``python -m bench.bus`` serves it; its first line says where.
"""

from __future__ import annotations

import asyncio

import msgspec
from aiohttp import web


class _Entries(msgspec.Struct):
    """What is looked at of a call."""

    Entries: list[msgspec.Raw]


async def _put_events(request: web.Request) -> web.Response:
    count = len(msgspec.json.decode(await request.read(), type=_Entries).Entries)
    answer = {"FailedEntryCount": 0, "Entries": [{"EventId": "taken"}] * count}
    return web.Response(body=msgspec.json.encode(answer), content_type="application/x-amz-json-1.1")


async def _serve() -> None:
    app = web.Application()
    app.router.add_post("/", _put_events)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    print(f"http://{host}:{port}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve())
