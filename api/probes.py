"""Where each process of ours tells of itself: the API by its pages, the others by their probes."""

from __future__ import annotations

from typing import Final

from schemas.settings import Settings, SettingsError

#: Addresses that stand for all of the machine's; it is asked by the loopback then.
_ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - compared


def address_of(name: str, settings: Settings) -> str:
    """The process's address as this machine reaches it.

    Raises ``SettingsError`` where its port is drawn.
    """
    port, host = getattr(settings, f"{name}_port"), getattr(settings, f"{name}_host")
    if not port:
        raise SettingsError(
            f"WALLET_{name.upper()}_PORT is 0, which takes a free port: set one to ask the {name}."
        )
    host = _ANY.get(host, host)
    scheme = "https" if name == "api" and settings.api_tls_certificate else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
