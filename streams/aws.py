"""Clients of AWS: the one module that makes them, all by the same settings.

Credentials are looked for as every AWS client does: environment, files, the machine's role.
"""

from __future__ import annotations

import logging
from typing import Any

import boto3
from botocore.config import Config

from schemas.settings import Settings

# At DEBUG these write whole requests and answers, and so the key.
for _name in ("boto3", "botocore", "urllib3"):
    logging.getLogger(_name).setLevel(logging.WARNING)


def has_region(settings: Settings) -> bool:
    """Whether a client would know where to ask: by our setting, or as every AWS client does."""
    return bool(settings.aws_region or boto3.Session().region_name)


def client(
    settings: Settings,
    service: str,
    *,
    connect_seconds: float,
    answer_seconds: float,
    tries: int,
    connections: int = 10,
    credentials: tuple[str | None, str | None] = (None, None),
) -> Any:
    """A new client, of a session of its own, so that renewed credentials are seen.

    Raises botocore's errors where no region is known.
    """
    return boto3.Session().client(
        service,
        region_name=settings.aws_region or None,
        endpoint_url=settings.aws_endpoint_url or None,
        aws_access_key_id=credentials[0],
        aws_secret_access_key=credentials[1],
        config=Config(
            connect_timeout=connect_seconds,
            read_timeout=answer_seconds,
            max_pool_connections=connections,
            retries={"mode": "standard", "total_max_attempts": tries},
        ),
    )
