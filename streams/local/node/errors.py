"""What a call is refused with: Core's codes (src/rpc/protocol.h) and its texts."""

from __future__ import annotations

from enum import IntEnum


class RpcCode(IntEnum):
    """Those that this node uses."""

    INVALID_REQUEST = -32600
    METHOD_NOT_FOUND = -32601
    PARSE_ERROR = -32700
    MISC = -1
    TYPE = -3
    ADDRESS_OR_KEY = -5
    INSUFFICIENT_FUNDS = -6
    PARAMETER = -8
    DESERIALIZATION = -22
    TRANSACTION = -25
    REJECTED = -26
    ALREADY_IN_CHAIN = -27
    WARMING_UP = -28


class RpcError(Exception):
    """A call that is answered by an error; told to fail, a node may use any code."""

    def __init__(self, code: int, message: str) -> None:
        self.code = int(code)
        self.message = message
        super().__init__(f"{message} ({self.code})")
