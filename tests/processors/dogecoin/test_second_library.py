"""A second implementation agrees: libdogecoin, in C, derives the same keys, signs the same bytes.

The seed of what is drawn is told when one differs.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final

import libdogecoin as other
import pytest
from bip_utils import Base58Decoder, Base58Encoder

from processors.dogecoin.building import Template, build, unsigned, withdrawal
from processors.dogecoin.derivation import (
    Keychain,
    PrivateAccount,
    account_keys,
    account_path,
    mnemonic_of,
    seed_of,
)
from processors.dogecoin.fees import FeePolicy
from processors.dogecoin.hidden import Hidden
from processors.dogecoin.selection import Coin
from processors.dogecoin.signing import AccountSigner
from processors.dogecoin.transactions import Transaction
from schemas.addresses import NETWORKS, encode_address
from tests.processors.dogecoin.account import DOGE, address, change, keys, signer

HARDENED: Final = 2**31
PATHS: Final = 1_000
TRANSACTIONS: Final = 1_000
THEIR_SIGNATURE_BYTES_MIN: Final = 70
SEED: Final = 20261124
PARAMETERS: Final = {
    "mainnet": other.MAINNET,
    "testnet": other.TESTNET,
    "regtest": other.REGTEST,
}


@pytest.fixture(autouse=True)
def their_curve() -> Iterator[None]:
    """Their library wants to be opened and closed."""
    other.w_context_start()
    yield
    other.w_context_stop()


def their_account(seed: bytes, network: str) -> other.HDNode:
    """The first account of a seed, by them."""
    node = other.HDNode.from_seed(seed)
    for level in account_path(network).split("/")[1:]:
        node = node.derive_private(int(level.rstrip("'")) + HARDENED)
    return node


def in_form(version: str, extended_key: str) -> str:
    """The same key with other version bytes, in hex."""
    payload = Base58Decoder.CheckDecode(extended_key)
    text: str = Base58Encoder.CheckEncode(bytes.fromhex(version) + payload[4:])
    return text


def test_mnemonics_give_the_same_seeds() -> None:
    draw = random.Random(SEED)
    for length in (16, 32):
        words = mnemonic_of(draw.randbytes(length))
        for passphrase in ("", "TREZOR", "much wow"):
            theirs = other.w_dogecoin_seed_from_mnemonic(words.reveal(), passphrase)
            assert seed_of(words, Hidden(passphrase)) == theirs


def test_a_thousand_random_paths_lead_to_the_same_keys_and_addresses() -> None:
    draw = random.Random(SEED)
    for round_ in range(10):
        seed = draw.randbytes(64)
        network = sorted(NETWORKS)[round_ % 3]
        private, public = account_keys(seed, network)
        account = PrivateAccount(Hidden(private), network)
        keychain = Keychain(public, network)
        theirs = their_account(seed, network)
        told = f"seed {SEED}, round {round_}, {network}"
        theirs_public = theirs.serialize_public(PARAMETERS[network])
        assert in_form(Base58Decoder.CheckDecode(public)[:4].hex(), theirs_public) == public, told
        for _ in range(PATHS // 10):
            chain, index = draw.randrange(2), draw.randrange(HARDENED)
            path = f"{told}, {chain}/{index}"
            child = theirs.derive_public(chain).derive_public(index)
            assert keychain.public_key(chain, index) == child.public_key, path
            secret = theirs.derive_private(chain).derive_private(index).private_key
            assert account.secret(chain, index) == secret, path
            wanted = other.w_get_address_from_pubkey(child.public_key.hex(), network != "mainnet")
            if network != "regtest":
                assert keychain.address(chain, index) == wanted, path


def drawn(draw: random.Random) -> Template:
    """A template of some coins and some payees of both kinds."""
    coins = [
        Coin(
            txid=draw.randbytes(32).hex(),
            vout=draw.randrange(300),
            amount=draw.randrange(DOGE, 1_000 * DOGE),
            chain=(chain := draw.randrange(2)),
            derivation_index=(index := draw.randrange(10)),
            address=address(chain, index),
        )
        for _ in range(draw.randrange(1, 30))
    ]
    total = sum(each.amount for each in coins)
    count = draw.randrange(1, 20)
    payees = [
        withdrawal(
            str(number),
            encode_address(draw.choice((0x1E, 0x16)), draw.randbytes(20)),
            draw.randrange(1_000_000, max(2 * (total // (3 * count)), 1_000_001)),
        )
        for number in range(count)
    ]
    return build(
        coins,
        payees,
        change(draw.randrange(10)),
        network="mainnet",
        rate=draw.randrange(1_000_000, 50_000_000),
        policy=FeePolicy(),
    )


def their_bytes(template: Template) -> bytes:
    """The template signed by them, input by input."""
    account = PrivateAccount(Hidden(keys("mainnet")[0]), "mainnet")
    raw = unsigned(template).serialize().hex()
    for index, spent in enumerate(template.inputs):
        wif = Base58Encoder.CheckEncode(
            b"\x9e" + account.secret(spent.chain, spent.derivation_index) + b"\x01"
        )
        script = f"76a914{other.w_dogecoin_address_to_pubkey_hash(spent.address)}88ac"
        signed = other.w_sign_raw_transaction(index, raw, script, 1, wif)
        assert isinstance(signed, str), f"they do not sign input {index} of {template}"
        raw = signed
    return bytes.fromhex(raw)


def lengths(transaction: Transaction) -> list[int]:
    """Of the DER signatures: the first byte of each script pushes one and its hash type."""
    return [each.script_sig[0] - 1 for each in transaction.inputs]


def compare(seed: int, count: int) -> None:
    """Sign so many random transactions by both libraries."""
    draw = random.Random(seed)
    compared = number = 0
    while compared < count:
        number += 1
        template = drawn(draw)
        ours = signer().sign(template)
        # Theirs ends the process at a shorter signature, as one in 256 is: an assertion in
        # `dogecoin_tx_sign_input` of tx.c. Those are held to RFC 6979 elsewhere.
        if min(lengths(ours)) < THEIR_SIGNATURE_BYTES_MIN:
            continue
        raw = ours.serialize()
        assert raw == their_bytes(template), f"seed {seed}, transaction {number}"
        assert Transaction.parse(raw) == ours
        compared += 1


@pytest.mark.proof
def test_a_thousand_random_transactions_are_signed_byte_for_byte_alike() -> None:
    compare(SEED, TRANSACTIONS)


def test_a_sample_of_random_transactions_is_signed_byte_for_byte_alike() -> None:
    compare(SEED + 1, 30)


@pytest.mark.parametrize(
    ("network", "form"),
    [
        ("mainnet", "02fac398"),
        ("mainnet", "0488ade4"),
        ("testnet", "0432a243"),
        ("testnet", "04358394"),
        ("regtest", "0432a243"),
        ("regtest", "04358394"),
    ],
)
def test_a_private_key_signs_the_same_in_every_form(network: str, form: str) -> None:
    text = in_form(form, keys(network)[0])
    assert text[:4] in ("dgpv", "xprv", "tgpv", "tprv")
    by_form = AccountSigner(Hidden(text), network, fee_max=DOGE)
    (theirs,), (ours,) = by_form.account_xpubs, signer(network).account_xpubs
    assert Keychain(theirs, network).fingerprint == Keychain(ours, network).fingerprint
