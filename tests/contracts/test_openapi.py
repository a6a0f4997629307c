"""The OpenAPI document is true: valid, with every route, and no answer that it doesn't name."""

from __future__ import annotations

import asyncio
import re
import threading
import uuid
import zlib
from collections.abc import Iterator
from typing import Any, Final

import msgspec
import pytest
import schemathesis
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import HealthCheck, settings
from jsonschema import Draft202012Validator
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core import NotSet

from api.app import build_app
from api.openapi import document
from api.problems import REJECTIONS
from api.routes import PREFIX, ROUTES
from api.services import Services
from schemas.commands import UUID_PATTERN
from schemas.rejections import is_dead_letter
from tests.api.harness import ELSEWHERE, LocalLog, Marketplace, settings_for
from tests.conftest import Databases
from tests.support.as_sent import Sent, faults_of

DOCUMENT: Final = document()
#: A token that is good goes with each request, so none is made up: what was spoilt of a made up one
#: the good one mended on the way, and ``negative_data_rejection`` held it against the API that it
#: let the request in, which was valid as sent. That a token is needed ``ignored_auth`` proves.
_OUR_TOKENS: Final = schemathesis.Config.from_dict(
    {"generation": {"with-security-parameters": False}}
)
SCHEMA: Final = schemathesis.openapi.from_dict(DOCUMENT, config=_OUR_TOKENS)

load_all_checks()
#: What may be asked of an API that knows more than a schema can say: text that looks like a cursor
#: or an address may be none, and a body may be refused for what the ledger holds.
EXCLUDED: Final[list[Any]] = [CHECKS.get_one("positive_data_acceptance")]


def test_every_route_stands_in_the_document() -> None:
    paths: Any = DOCUMENT["paths"]
    for route in ROUTES:
        assert route.method.lower() in paths[f"{PREFIX}{route.path}/"]
    assert {"/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"} <= set(paths)


def test_operations_have_names_of_their_own() -> None:
    names = [operation["operationId"] for item in _items() for operation in item.values()]
    assert len(names) == len(set(names))


def test_the_schemas_are_json_schema() -> None:
    components: Any = DOCUMENT["components"]
    for schema in components["schemas"].values():
        Draft202012Validator.check_schema(schema)


def _items() -> list[dict[str, Any]]:
    paths: Any = DOCUMENT["paths"]
    return list(paths.values())


class Running:
    """An API on a thread of its own, with a buyer who has money, an escrow and a withdrawal."""

    def __init__(self, databases: Databases) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._database = databases.fresh()
        self._run(self._start())

    def _run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    async def _start(self) -> None:
        wanted = settings_for(self._database)
        log = LocalLog(self._database)
        self._client = TestClient(TestServer(build_app(Services.of(wanted, log))))
        await self._client.start_server()
        self.url = str(self._client.make_url("")).rstrip("/")
        market = Marketplace(self._client, log, wanted)
        self.buyer, self.seller = str(uuid.uuid4()), str(uuid.uuid4())
        self.user, self.service = market.user(self.buyer), market.service()
        await market.deposit(self.buyer, "1000000")
        self.escrow = await market.escrow(self.buyer, self.seller, "1000")
        self.withdrawal = await self._withdraw(market, ELSEWHERE)
        self.refused = await self._withdraw(market, "DBus3bamQjgJULBJtYXpEzDWQRwF5iwxgC")

    async def _withdraw(self, market: Marketplace, address: str) -> str:
        body = {"amount": "10", "address": address}
        asked = await market.post("/withdraw", self.user, body)
        # A withdrawal has the id of the command that asked for it.
        return str((await asked.json())["command_id"])

    def close(self) -> None:
        """Stop it."""
        self._run(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@pytest.fixture(scope="module")
def running(databases: Databases) -> Iterator[Running]:
    """An API to throw requests at."""
    api = Running(databases)
    yield api
    api.close()


#: The same requests in each run; the long run draws others each time.
SAMPLE: Final = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
LONG: Final = settings(SAMPLE, max_examples=2000, derandomize=False, print_blob=True)


@SCHEMA.parametrize()
@SAMPLE
def test_no_answer_is_undocumented(case: schemathesis.Case[Any], running: Running) -> None:
    _call(case, running)


@pytest.mark.proof
@SCHEMA.parametrize()
@LONG
def test_no_answer_is_undocumented_in_the_long_run(
    case: schemathesis.Case[Any], running: Running
) -> None:
    _call(case, running)


def _call(case: schemathesis.Case[Any], running: Running) -> None:
    _make_true(case, running)
    security = case.operation.definition.raw.get("security") or []
    by_service = any("service" in scheme for scheme in security)
    case.call_and_validate(
        base_url=running.url,
        headers=running.service if by_service else running.user,
        additional_checks=[_what_is_let_in_is_valid],
        excluded_checks=EXCLUDED,
    )


def _what_is_let_in_is_valid(_: Any, response: Any, case: schemathesis.Case[Any]) -> None:
    """By what was sent; ``negative_data_rejection`` knows what was meant to be wrong with it.

    It also lets parameters pass that nobody knows, which this API must refuse.
    """
    if _is_let_in(response.status_code, response.content):
        assert faults_of(DOCUMENT, case.operation.path, Sent.of(response.request)) == []


def _is_let_in(status: int, content: bytes) -> bool:
    """True where the request was read to its end, so that the ledger has answered."""
    if status < 400:
        return True
    code = REJECTIONS.get(msgspec.json.decode(content).get("code"))
    return code is not None and not is_dead_letter(code)


def _is_id(value: object) -> bool:
    """What was made wrong on purpose stays wrong."""
    return isinstance(value, str) and re.fullmatch(UUID_PATTERN, value) is not None


def _is_address(value: object) -> bool:
    """By its schema, which knows no check sum: hardly ever is a true one made up."""
    return isinstance(value, str) and 1 <= len(value) <= 100


def _make_true(case: schemathesis.Case[Any], running: Running) -> None:
    """Let half of the requests be about what there is, so that they get past the look-ups."""
    # By what is asked, so that a request is sent again as it was; a GET has nothing but its path.
    asked = None if isinstance(case.body, NotSet) else case.body
    lot = zlib.crc32(repr((case.path_parameters, asked)).encode())
    if lot % 2:
        return
    body = case.body
    if isinstance(body, dict):
        if _is_id(body.get("user_id")):
            body["user_id"] = running.buyer
        if _is_id(body.get("escrow_id")):
            body["escrow_id"] = running.escrow
        if _is_address(body.get("address")):
            body["address"] = ELSEWHERE
    if _is_id(case.path_parameters.get("id")):
        command = running.refused if "/commands/" in case.path and lot % 4 else running.withdrawal
        case.path_parameters["id"] = running.escrow if "/escrows/" in case.path else command
