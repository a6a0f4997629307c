"""The client agrees with the service, though neither knows the other's code."""

from __future__ import annotations

import inspect
import json
import sys
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wallet_client import Amount, AsyncWalletClient, WalletClient, errors, requests
from wallet_client.base import Model, convert, encode
from wallet_client.errors import Malformed, Refused, Rejected, family_of
from wallet_client.events import Accepted, Unknown, read_event
from wallet_client.ids import Place, command_id, place_of
from wallet_client.kafka import producer
from wallet_client.requests import Request
from wallet_client.tables import COMMANDS, HOUSE, HOUSE_COMMANDS, TOPICS

from api.openapi import document
from api.problems import Fault, status_of
from clients.generate.__main__ import stale
from schemas import ids
from schemas.amounts import KOINU_MAX, format_amount
from schemas.commands import TOPIC_OF, CommandType
from schemas.envelope import read_command
from schemas.events import EventType
from schemas.ledger import HOUSE as WALLETS_HOUSE
from schemas.rejections import Rejection, is_dead_letter
from schemas.topics import COMMAND_TOPIC_NAMES, CommandTopic
from streams.kafka import produce
from tests.test_house import ROOT, imports_of

CLIENT: Final = Path("clients/python/wallet_client")
#: The one place where a foreign library is imported.
ADAPTERS: Final = {"confluent_kafka": "kafka", "httpx": "rest.py"}
EXAMPLES: Final = ROOT / "schemas/examples"
ID: Final = "00000100-0300-8000-8000-0000f0000000"
#: An argument of each name that a request takes.
ARGUMENTS: Final = {
    "amount": "1.5", "to_seller": "1", "to_buyer": "0", "address": "x", "reason": "broken",
    "reference_type": "auction", "reference_id": "7", "order_id": "o1",
}  # fmt: skip


def test_nothing_that_is_made_is_stale() -> None:
    assert list(stale()) == [], "`make docs` writes it again"


def test_the_client_knows_nothing_of_the_service() -> None:
    allowed = {*sys.stdlib_module_names, "wallet_client", "msgspec", *ADAPTERS}
    for path in sorted((ROOT / CLIENT).rglob("*.py")):
        relative = path.relative_to(ROOT)
        for module in imports_of(relative):
            name = module.partition(".")[0]
            own = relative.is_relative_to(CLIENT / ADAPTERS.get(name, "."))
            assert name in allowed and own, f"{relative} imports {name}"


def test_it_asks_for_what_it_imports_and_no_more() -> None:
    project = tomllib.loads((ROOT / "clients/python/pyproject.toml").read_text())["project"]
    names = [requirement.partition(">=")[0] for requirement in project["dependencies"]]
    assert names == ["httpx", "msgspec"]
    assert [r.partition(">=")[0] for r in project["optional-dependencies"]["kafka"]] == [
        "confluent-kafka"
    ]


@given(
    st.sampled_from(CommandTopic),
    st.integers(0, 2**16 - 1),
    st.integers(0, 2**16 - 1),
    st.integers(0, 2**56 - 1),
)
def test_a_place_has_the_id_that_the_wallet_gives_it(
    topic: CommandTopic, generation: int, partition: int, offset: int
) -> None:
    number = ids.number_of(ids.Place(topic, generation, partition, offset))
    place = Place(topic, generation, partition, offset)
    assert command_id(place) == ids.text_of(number)
    assert place_of(ids.text_of(number + ids.EVENT_LEG)) == place


@pytest.mark.parametrize("text", ["x", "5b2cf6a8-7f35-4a38-9a53-0b9c1f6f8f10"])
def test_another_id_is_no_place(text: str) -> None:
    with pytest.raises(ValueError, match=r"not an id|badly formed"):
        place_of(text)


@pytest.mark.parametrize("code", list(Rejection))
def test_each_rejection_has_a_class(code: Rejection) -> None:
    family = family_of(code.value)
    if is_dead_letter(code):
        assert family is Malformed
    else:
        assert issubclass(family, Rejected)
        assert family is not Rejected
    assert family_of(code.value, status_of(code)) is family


@pytest.mark.parametrize("fault", list(Fault))
def test_each_fault_of_the_api_has_a_class(fault: Fault) -> None:
    family = family_of(fault.value, fault.status)
    assert issubclass(family, Refused)
    assert family is not Refused


def test_codes_of_tomorrow_are_judged_by_their_status() -> None:
    assert family_of("of_tomorrow", 409) is Rejected
    assert family_of("of_tomorrow", 403) is errors.Forbidden
    assert family_of("of_tomorrow") is Rejected


def builders() -> dict[str, Request[Any]]:
    """A request of each kind, by the name of the function that builds it."""
    made = {}
    for name, build in inspect.getmembers(requests, inspect.isfunction):
        if name.startswith("_") or build.__module__ != requests.__name__:
            continue
        given = {
            parameter: ARGUMENTS.get(parameter, ID)
            for parameter, facts in inspect.signature(build).parameters.items()
            if facts.kind is not facts.KEYWORD_ONLY
        }
        made[name] = build(**given)
    return made


def test_each_route_has_a_method_in_both_colours() -> None:
    paths: Any = document()["paths"]
    routes = {
        (method.upper(), path.rstrip("/"))
        for path, operations in paths.items()
        for method in operations
        if path.startswith(requests.PREFIX)
    }
    made = builders()
    assert {(r.method, r.path.replace(ID, "{id}")) for r in made.values()} == routes
    for client in (WalletClient, AsyncWalletClient):
        methods = {name for name in vars(client) if not name.startswith("_")}
        assert methods == {*made, "run", "close"}


@pytest.mark.parametrize("name", builders())
def test_a_request_moves_money_under_a_key_or_reads_without(name: str) -> None:
    made = builders()
    assert (made[name].key is not None) == (made[name].method == "POST")
    assert made[name].key is None or made[name].key != builders()[name].key


@pytest.mark.parametrize("kind", list(EventType))
def test_each_event_is_read_as_its_type(kind: EventType) -> None:
    value = (EXAMPLES / f"events/{kind}.json").read_bytes()
    event = read_event(value, 3, 41)
    assert event.type == kind
    assert not isinstance(event.data, Unknown)
    shown = json.loads(value)["data"]
    if isinstance(event.data, Accepted):
        document = {"result": event.data.result, "balance": event.data.balance}
        assert json.loads(encode(document)) == shown


@pytest.mark.parametrize("kind", list(CommandType))
def test_the_worker_reads_each_command_that_the_client_writes(kind: CommandType) -> None:
    example = json.loads((EXAMPLES / f"commands/{kind}.json").read_text())
    (struct,) = [struct for struct, facts in COMMANDS.items() if facts[0] == kind]
    data: Model = convert(example["data"], struct)
    value = encode({**example, "data": data})
    topic = TOPIC_OF[kind]
    assert COMMANDS[struct][1] == topic
    assert (example["user_id"] == HOUSE) is (struct in HOUSE_COMMANDS)
    command = read_command(topic, example["user_id"].encode(), value)
    assert command.kind is kind


def test_topics_and_the_house_have_the_same_names() -> None:
    assert list(COMMAND_TOPIC_NAMES.values()) == TOPICS
    assert WALLETS_HOUSE == HOUSE


@given(st.integers(0, KOINU_MAX))
def test_an_amount_is_written_as_the_wallet_writes_it(koinu: int) -> None:
    amount = Amount.of_koinu(koinu)
    assert str(amount) == format_amount(koinu)
    assert amount.koinu == koinu
    assert Amount(str(amount)) == amount == Amount(Decimal(amount))


def test_an_amount_reckons_as_a_decimal() -> None:
    assert Amount("0.1") + Amount("0.2") == Decimal("0.3")
    assert Amount(Decimal("1E+2")) == 100
    assert repr(Amount(5)) == "Amount('5.00000000')"
    assert sum([Amount("1.5"), Amount(1)]) == Decimal("2.5")


@pytest.mark.parametrize(
    "wrong", ["", "1.", ".5", "-1", "1e2", "0.123456789", "01", "1,5", "92233720368.54775808", "½"]
)
def test_what_the_wallet_would_refuse_is_no_amount(wrong: str) -> None:
    with pytest.raises(ValueError, match="DOGE"):
        Amount(wrong)


@pytest.mark.parametrize("wrong", [1.5, True, None])
def test_a_float_is_no_amount(wrong: Any) -> None:
    with pytest.raises(TypeError, match="text"):
        Amount(wrong)
    with pytest.raises(TypeError, match="text"):
        requests.withdraw(wrong, "x")


def test_after_the_same_errors_both_know_that_a_record_is_not_on_the_topic() -> None:
    assert producer._DEFINITE == produce._DEFINITE
