"""Running the API: listening, TLS, and a shutdown that lets whoever waits have the answer."""

from __future__ import annotations

import asyncio
import logging
import signal
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final

from aiohttp import web

from api.app import build_app
from api.ports import KafkaSender
from api.services import Services
from db.engine import parts_of
from schemas.settings import Settings, SettingsError

log = logging.getLogger(__name__)

#: So long may whoever waits go on waiting after SIGTERM; then they are told where to look (202).
GRACE_SECONDS: Final = 4.0
#: After that time connections are cut. The rest of ten seconds is for producer and database.
CUT_SECONDS: Final = 5.0


def tls_of(settings: Settings) -> ssl.SSLContext | None:
    """The TLS context of the settings, None without; raises ``SettingsError``."""
    certificate, key = settings.api_tls_certificate, settings.api_tls_key
    if not certificate and not key:
        return None
    if not certificate or not key:
        raise SettingsError("WALLET_API_TLS_CERTIFICATE and WALLET_API_TLS_KEY belong together.")
    _require_readable("WALLET_API_TLS_CERTIFICATE", certificate)
    _require_readable("WALLET_API_TLS_KEY", key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        # Without a password of its own, OpenSSL would ask whoever sits at the terminal, if anybody.
        context.load_cert_chain(certificate, key, password=_refuse_encrypted)
    except ssl.SSLError as error:
        raise SettingsError(
            f"{certificate} and {key} (WALLET_API_TLS_CERTIFICATE, WALLET_API_TLS_KEY) are no "
            f"certificate and its key, as PEM: {error.reason or error}"
        ) from None
    return context


def _require_readable(name: str, path: str) -> None:
    try:
        with Path(path).open("rb"):
            return
    except OSError as error:
        raise SettingsError(
            f"{name} names {path}, which cannot be read: {error.strerror}"
        ) from None


def _refuse_encrypted() -> str:
    raise SettingsError("WALLET_API_TLS_KEY is encrypted: give the key without a passphrase.")


async def serve(settings: Settings, announce: Callable[[str], None]) -> bool:
    """Serve until SIGTERM or SIGINT; ``announce`` is told the address once it listens.

    False if it ended of itself, because outcomes could not be followed any more. Raises
    ``SettingsError`` and ``DatabaseUrlError`` where it must not start.
    """
    settings.require("api_database_url", "kafka")
    # Else whoever follows the outcomes would be the first to meet an address that is none.
    parts_of(settings.api_database_url)
    context = tls_of(settings)
    stop = asyncio.Event()
    failed = False

    def fail() -> None:
        nonlocal failed
        failed = True
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    services = Services.of(settings, KafkaSender(settings))
    runner = web.AppRunner(build_app(services, fail), access_log=None, shutdown_timeout=CUT_SECONDS)
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.api_host, settings.api_port, ssl_context=context)
        await site.start()
        scheme = "https" if context else "http"
        host, port = runner.addresses[0][:2]
        announce(f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}")
        await stop.wait()
        log.info("stopping", extra={"waiting": services.outcomes.count})
        loop.call_later(GRACE_SECONDS, services.submission.give_up)
    finally:
        await runner.cleanup()
    return not failed
