"""Asks a process of ours by its address whether it is well or ready, and what it says if not."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from typing import Final

from schemas.settings import SettingsError

_TIMEOUT_SECONDS: Final = 3.0


def fault_of(url: str, certificate: str = "") -> str | None:
    """What the process says that is wrong; None where it answers with 200.

    ``certificate`` is the file that a process behind https serves. Raises ``OSError`` where nobody
    answers, and ``SettingsError`` where that file cannot be read.
    """
    context = _pinned(certificate) if url.startswith("https:") else None
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS, context=context):  # noqa: S310
            return None
    except urllib.error.HTTPError as answer:
        with answer:
            return _status_of(answer)


def answers(url: str, certificate: str = "") -> bool:
    """Whether the URL answers with 200."""
    try:
        return fault_of(url, certificate) is None
    except OSError:
        return False


def refusal(url: str, certificate: str = "") -> str | None:
    """What a process says that keeps it from being ready; None if it says nothing."""
    try:
        return fault_of(url, certificate)
    except OSError:
        return None


def _status_of(answer: urllib.error.HTTPError) -> str:
    try:
        document = json.load(answer)
        missing = [name for name, there in document.get("checks", {}).items() if there is False]
        return f"without {', '.join(missing)}" if missing else str(document["status"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"it answers {answer.code}"


def _pinned(certificate: str) -> ssl.SSLContext:
    """Trust the very certificate that the process serves: on the loopback it has no other name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(certificate)
    except OSError as error:
        raise SettingsError(
            f"WALLET_API_TLS_CERTIFICATE names {certificate}, which cannot be read: {error}"
        ) from None
    return context
