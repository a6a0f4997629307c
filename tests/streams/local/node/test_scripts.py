"""Scripts run for real: every kind that is known, each way to fail, and Core's words for them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from processors.dogecoin.hashes import hash160
from processors.dogecoin.scripts import p2sh_script
from streams.local.node import interpreter
from streams.local.node.blocks import Carried
from streams.local.node.interpreter import ScriptFailed, verify_input
from streams.local.node.malleation import NotMalleable, malleated
from streams.local.node.opcodes import in_words, is_standard_output, kind_of, push
from streams.local.node.signatures import encode_der, parse_der, twin
from tests.streams.local.node.play import (
    ALICE,
    BOB,
    DOGE,
    NETWORK,
    UNSIGNED,
    key,
    multisig,
    payment,
    rich_node,
    signature,
)

CAROL = key("carol")
P2PKH_WORDS = f"OP_DUP OP_HASH160 {ALICE.script[3:23].hex()} OP_EQUALVERIFY OP_CHECKSIG"
P2SH_WORDS = f"OP_HASH160 {'00' * 20} OP_EQUAL"
P2SH_ADDRESS = "2MsFDzHRUAMpjHxKyoEHU3aMCMsVtMqs1PV"
P2PK_WORDS = f"{ALICE.public_key.hex()} OP_CHECKSIG"
MULTISIG_WORDS = f"2 {ALICE.public_key.hex()} {BOB.public_key.hex()} 2 OP_CHECKMULTISIG"


def check(script_sig: bytes, script: bytes, *, standard: bool = True) -> None:
    """Run both scripts; raises ``ScriptFailed``."""
    spent = UNSIGNED.inputs[0]._replace(script_sig=script_sig)
    verify_input(replace(UNSIGNED, inputs=(spent,)), 0, script, standard=standard)


def fails(script_sig: bytes, script: bytes, *, standard: bool = True) -> str:
    """In which words it fails."""
    with pytest.raises(ScriptFailed) as caught:
        check(script_sig, script, standard=standard)
    return str(caught.value)


def test_a_payment_to_a_key_is_spent_by_its_signature() -> None:
    script = push(ALICE.public_key) + b"\xac"
    check(push(signature(ALICE, script)), script)
    assert fails(push(signature(BOB, script)), script) == interpreter.NULLFAIL
    assert fails(b"\x00", script) == interpreter.EVAL_FALSE


def test_two_of_three_sign_in_the_order_of_their_keys() -> None:
    script = multisig(2, ALICE, BOB, CAROL)
    first, third = signature(ALICE, script), signature(CAROL, script)
    check(b"\x00" + push(first) + push(third), script)
    assert fails(b"\x00" + push(third) + push(first), script) == interpreter.NULLFAIL
    assert fails(b"\x00" + push(first) + push(first), script) == interpreter.NULLFAIL
    assert "Dummy" in fails(b"\x51" + push(first) + push(third), script)


def test_a_script_behind_a_hash_is_run_when_it_matches() -> None:
    inner = multisig(1, ALICE, BOB)
    script = p2sh_script(hash160(inner))
    check(b"\x00" + push(signature(BOB, inner)) + push(inner), script)
    assert fails(b"\x00" + push(inner), script) == "Operation not valid with the current stack size"
    other = multisig(1, BOB, ALICE)
    assert fails(b"\x00" + push(signature(BOB, other)) + push(other), script) == (
        interpreter.EVAL_FALSE
    )


def test_a_signature_that_is_not_strict_der_never_holds() -> None:
    loose = bytearray(signature(ALICE, ALICE.script))
    loose[1] += 1
    script_sig = push(bytes(loose)) + push(ALICE.public_key)
    for standard in (True, False):
        assert fails(script_sig, ALICE.script, standard=standard) == interpreter.NOT_DER


def test_a_high_s_holds_in_a_block_alone() -> None:
    right = signature(ALICE, ALICE.script)
    script_sig = push(twin(right[:-1]) + b"\x01") + push(ALICE.public_key)
    check(script_sig, ALICE.script, standard=False)
    assert fails(script_sig, ALICE.script) == interpreter.HIGH_S


def test_a_longer_push_and_a_stack_that_is_not_clean_hold_in_a_block_alone() -> None:
    right = signature(ALICE, ALICE.script)
    long_push = b"\x4c" + push(right) + push(ALICE.public_key)
    dirty = push(b"more") + push(right) + push(ALICE.public_key)
    check(long_push, ALICE.script, standard=False)
    check(dirty, ALICE.script, standard=False)
    assert fails(long_push, ALICE.script) == "Data push larger than necessary"
    assert fails(dirty, ALICE.script) == "Extra items left on stack after execution"


def test_another_kind_of_signature_hash_is_not_understood() -> None:
    none = signature(ALICE, ALICE.script)[:-1] + b"\x02"
    assert "hash type" in fails(push(none) + push(ALICE.public_key), ALICE.script)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (b"\x6a", "OP_RETURN was encountered"),
        (b"\xba", "Opcode missing or not understood"),
        (b"\x05ab", "Opcode missing or not understood"),
        (b"\x69", "Operation not valid with the current stack size"),
        (b"\x00\x69", "Script failed an OP_VERIFY operation"),
        (b"\x01\x80", interpreter.EVAL_FALSE),
        (b"", interpreter.EVAL_FALSE),
    ],
)
def test_odd_scripts_fail_in_cores_words(script: bytes, said: str) -> None:
    assert fails(b"", script, standard=False) == said


def test_operations_in_an_input_are_refused_where_only_pushes_belong() -> None:
    assert "non-push" in fails(b"\x76", ALICE.script)
    assert "non-push" in fails(b"\x51\x76", p2sh_script(bytes(20)), standard=False)


@pytest.mark.parametrize(
    "numbers", [(1, 1), (127, 128), (2**255, 2**256 - 1), (2**247, 2**248 - 1)]
)
def test_strict_der_is_read_as_it_is_written(numbers: tuple[int, int]) -> None:
    der = encode_der(*numbers)
    assert parse_der(der) == numbers
    assert parse_der(der + b"\0") is None
    assert parse_der(der[:-1]) is None
    padded = b"\x30" + bytes((len(der) - 1,)) + b"\x02" + bytes((der[3] + 1,)) + b"\0" + der[4:]
    assert parse_der(padded) is None or der[4] & 0x80


def test_a_malleated_payment_is_the_same_payment_by_another_name() -> None:
    node = rich_node()
    carried = payment(node, DOGE)
    other = malleated(carried)
    assert other.txid != carried.txid
    assert other.body.outputs_hash == carried.body.outputs_hash
    assert malleated(other).raw == carried.raw
    node.close()


def test_what_has_no_signature_cannot_be_malleated() -> None:
    with pytest.raises(NotMalleable):
        malleated(replace_script_sig(b"\x51"))
    with pytest.raises(NotMalleable):
        malleated(replace_script_sig(b"\x05a"))


def replace_script_sig(script_sig: bytes) -> Carried:
    """The transaction of these tests with another input script."""
    spent = UNSIGNED.inputs[0]._replace(script_sig=script_sig)
    return Carried.of(replace(UNSIGNED, inputs=(spent,)))


@pytest.mark.parametrize(
    ("script", "kind", "addresses", "words"),
    [
        (ALICE.script, "pubkeyhash", [ALICE.address], P2PKH_WORDS),
        (p2sh_script(bytes(20)), "scripthash", [P2SH_ADDRESS], P2SH_WORDS),
        (push(ALICE.public_key) + b"\xac", "pubkey", [ALICE.address], P2PK_WORDS),
        (multisig(2, ALICE, BOB), "multisig", [ALICE.address, BOB.address], MULTISIG_WORDS),
        (b"\x6a\x02ab", "nulldata", [], "OP_RETURN 25185"),
        (b"\x51", "nonstandard", [], "1"),
        (b"\x4f\xba\x05a", "nonstandard", [], "-1 OP_UNKNOWN [error]"),
    ],
)
def test_a_script_is_shown_as_core_shows_it(
    script: bytes, kind: str, addresses: list[str], words: str
) -> None:
    assert kind_of(script, NETWORK).name == kind
    assert list(kind_of(script, NETWORK).addresses) == addresses
    assert in_words(script) == words
    assert is_standard_output(script, NETWORK, 83) == (kind != "nonstandard")
