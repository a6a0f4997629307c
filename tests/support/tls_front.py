"""A front for PostgreSQL that speaks TLS: the wheel's server is built without it.

It does what the server itself would before the first message: answers the client's request for
TLS, and lets nobody through who does not make it. What follows is passed on byte by byte.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tests.support.authority import ServerFiles

#: Lengths and codes of the two requests that may come before the first message.
_WANTS_TLS: Final = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")
_WANTS_GSS: Final = (8).to_bytes(4, "big") + (80877104).to_bytes(4, "big")
_CHUNK: Final = 65536
_LOOPBACK: Final = "127.0.0.1"


@contextmanager
def tls_in_front_of(host: str, port: int, files: ServerFiles) -> Iterator[int]:
    """Serve by TLS what the server serves without; the port on the loopback."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)
    loop = asyncio.new_event_loop()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ssl.SSLError, asyncio.IncompleteReadError):
            await _through(reader, writer, context, host, port)
        writer.close()

    server = loop.run_until_complete(asyncio.start_server(serve, _LOOPBACK, 0))
    thread = threading.Thread(target=loop.run_forever, name="tls-front")
    thread.start()
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        asyncio.run_coroutine_threadsafe(_end(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _through(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    context: ssl.SSLContext,
    host: str,
    port: int,
) -> None:
    request = await reader.readexactly(len(_WANTS_TLS))
    if request == _WANTS_GSS:
        writer.write(b"N")
        request = await reader.readexactly(len(_WANTS_TLS))
    if request != _WANTS_TLS:
        return
    writer.write(b"S")
    await writer.start_tls(context)
    behind_reader, behind_writer = await asyncio.open_connection(host, port)
    try:
        await asyncio.gather(_pump(reader, behind_writer), _pump(behind_reader, writer))
    finally:
        behind_writer.close()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while chunk := await source.read(_CHUNK):
        target.write(chunk)
        await target.drain()
    target.close()


async def _end(server: asyncio.Server) -> None:
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
