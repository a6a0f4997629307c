"""The local stack's database as its roles see it: one URL each, made by the superuser."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, urlsplit, urlunsplit

from db.roles import API, OWNER, PAYER, ROLES, WATCHER, WORKER, ensure_database, ensure_roles

__all__ = ["API", "OWNER", "PAYER", "ROLES", "WATCHER", "WORKER", "bootstrap", "url_as"]


def url_as(superuser_url: str, database: str, role: str | None = None, password: str = "") -> str:
    """The same server's URL for another database, and for another role if one is named."""
    parts = urlsplit(superuser_url)
    netloc = parts.netloc
    if role is not None:
        host = netloc.rpartition("@")[2]
        netloc = f"{role}:{quote(password, safe='')}@{host}"
    return urlunsplit(parts._replace(netloc=netloc, path=f"/{database}"))


def bootstrap(superuser_url: str, database: str, passwords: Mapping[str, str]) -> None:
    """Make the roles with these passwords, and the database, which the owner owns."""
    ensure_roles(superuser_url, passwords)
    ensure_database(superuser_url, database, owner=OWNER)
