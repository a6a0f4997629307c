"""The REST API of the wallet, for sync and for async code: one client in two colours."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Generic, ParamSpec, Self, TypeVar, overload

import httpx

from wallet_client import requests
from wallet_client.exchange import Call, Lost, Pause, Policy, Reply, exchange
from wallet_client.requests import Request

P = ParamSpec("P")
T = TypeVar("T")

#: A token, or what gives the one that is good now.
Token = str | Callable[[], str]

#: Where the connection was not made, nothing was sent.
_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class _Now(Generic[P, T]):
    """A method of the sync client, made of the function that builds its request."""

    def __init__(self, build: Callable[P, Request[T]]) -> None:
        self._build = build
        self.__doc__ = build.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: WalletClient, owner: type) -> Callable[P, T]: ...
    def __get__(self, client: WalletClient | None, owner: type) -> Self | Callable[P, T]:
        if client is None:
            return self

        @functools.wraps(self._build)
        def method(*args: P.args, **kwargs: P.kwargs) -> T:
            return client.run(self._build(*args, **kwargs))

        return method


class _Later(Generic[P, T]):
    """A method of the async client, made of the same function."""

    def __init__(self, build: Callable[P, Request[T]]) -> None:
        self._build = build
        self.__doc__ = build.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: AsyncWalletClient, owner: type) -> Callable[P, Awaitable[T]]: ...
    def __get__(
        self, client: AsyncWalletClient | None, owner: type
    ) -> Self | Callable[P, Awaitable[T]]:
        if client is None:
            return self

        @functools.wraps(self._build)
        def method(*args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
            return client.run(self._build(*args, **kwargs))

        return method


class _Client:
    """What both colours know."""

    def __init__(self, base_url: str, token: Token, policy: Policy | None) -> None:
        self._base_url = base_url.rstrip("/")
        self._token = token
        self._policy = policy or Policy()

    def _arguments(self, call: Call) -> dict[str, Any]:
        token = self._token if isinstance(self._token, str) else self._token()
        return {
            "method": call.method,
            "url": self._base_url + call.path,
            "params": dict(call.query),
            "headers": {**call.headers, "Authorization": f"Bearer {token}"},
            "content": call.body,
            "timeout": call.timeout_seconds,
        }

    @staticmethod
    def _reply(response: httpx.Response) -> Reply:
        return Reply(response.status_code, response.headers, response.content)

    @staticmethod
    def _lost(error: httpx.TransportError) -> Lost:
        why = f"{type(error).__name__}: {error}"
        return Lost(why, sent=not isinstance(error, _UNSENT))


class WalletClient(_Client):
    """The wallet over REST. Calls block; one client may be used by many threads.

    Each method returns what the wallet committed, or raises ``WalletError``: ``Rejected`` and
    ``Refused`` with a code, ``OutcomeUnknown`` with the key to send again.
    """

    def __init__(
        self,
        base_url: str,
        token: Token,
        *,
        policy: Policy | None = None,
        http: httpx.Client | None = None,
    ) -> None:
        """``base_url`` as in "http://127.0.0.1:8003"; ``http`` brings TLS or proxies of yours."""
        super().__init__(base_url, token, policy)
        self._http = http or httpx.Client()

    def run(self, request: Request[T]) -> T:
        """Carry a request through that was built by ``wallet_client.requests``."""
        talk = exchange(request, self._policy, time.monotonic)
        came: Reply | Lost | None = None
        while True:
            try:
                step = talk.send(came)
            except StopIteration as end:
                answer: T = end.value
                return answer
            if isinstance(step, Pause):
                time.sleep(step.seconds)
                came = None
                continue
            try:
                came = self._reply(self._http.request(**self._arguments(step)))
            except httpx.TransportError as error:
                came = self._lost(error)

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    balance = _Now(requests.balance)
    deposit_address = _Now(requests.deposit_address)
    history = _Now(requests.history)
    withdraw = _Now(requests.withdraw)
    withdrawal = _Now(requests.withdrawal)
    cancel_withdrawal = _Now(requests.cancel_withdrawal)
    escrow = _Now(requests.escrow)
    command = _Now(requests.command)
    lock = _Now(requests.lock)
    unlock = _Now(requests.unlock)
    pay_order = _Now(requests.pay_order)
    convert_to_escrow = _Now(requests.convert_to_escrow)
    release_escrow = _Now(requests.release_escrow)
    refund_escrow = _Now(requests.refund_escrow)
    dispute_escrow = _Now(requests.dispute_escrow)
    resolve_dispute = _Now(requests.resolve_dispute)


class AsyncWalletClient(_Client):
    """The same for async code, with the same promises."""

    def __init__(
        self,
        base_url: str,
        token: Token,
        *,
        policy: Policy | None = None,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        """``base_url`` as in "http://127.0.0.1:8003"; ``http`` brings TLS or proxies of yours."""
        super().__init__(base_url, token, policy)
        self._http = http or httpx.AsyncClient()

    async def run(self, request: Request[T]) -> T:
        """Carry a request through that was built by ``wallet_client.requests``."""
        talk = exchange(request, self._policy, time.monotonic)
        came: Reply | Lost | None = None
        while True:
            try:
                step = talk.send(came)
            except StopIteration as end:
                answer: T = end.value
                return answer
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
                came = None
                continue
            try:
                came = self._reply(await self._http.request(**self._arguments(step)))
            except httpx.TransportError as error:
                came = self._lost(error)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    balance = _Later(requests.balance)
    deposit_address = _Later(requests.deposit_address)
    history = _Later(requests.history)
    withdraw = _Later(requests.withdraw)
    withdrawal = _Later(requests.withdrawal)
    cancel_withdrawal = _Later(requests.cancel_withdrawal)
    escrow = _Later(requests.escrow)
    command = _Later(requests.command)
    lock = _Later(requests.lock)
    unlock = _Later(requests.unlock)
    pay_order = _Later(requests.pay_order)
    convert_to_escrow = _Later(requests.convert_to_escrow)
    release_escrow = _Later(requests.release_escrow)
    refund_escrow = _Later(requests.refund_escrow)
    dispute_escrow = _Later(requests.dispute_escrow)
    resolve_dispute = _Later(requests.resolve_dispute)
