"""Signatures: byte for byte those of other implementations, and nothing that does not add up."""

from __future__ import annotations

import copy
import pickle
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any

import msgspec
import pytest

from processors.dogecoin import curve, signing
from processors.dogecoin.building import (
    Purpose,
    Template,
    TemplateInput,
    TemplateOutput,
    build,
    join,
    unsigned,
    withdrawal,
)
from processors.dogecoin.checking import TemplateUnsound, check
from processors.dogecoin.curve import SigningFailed
from processors.dogecoin.derivation import (
    Keychain,
    PrivateAccount,
    PrivateKeyUnusable,
    account_keys,
)
from processors.dogecoin.fees import DUST_HARD, FeePolicy
from processors.dogecoin.hashes import hash160
from processors.dogecoin.hidden import CannotBeKept, Hidden
from processors.dogecoin.scripts import script_of_address
from processors.dogecoin.signing import AccountSigner, SignatureWrong, script_sig
from processors.dogecoin.transactions import MONEY_MAX, SEQUENCE_FINAL, Transaction
from tests.processors.dogecoin import golden
from tests.processors.dogecoin.account import DOGE, FEE_MAX, address, change, coin, keys, signer


def sound() -> Template:
    """A template that may be signed: two coins, one payee, change."""
    return build(
        [coin(1, 5 * DOGE), coin(2, 7 * DOGE, chain=1)],
        [withdrawal("w1", "DAcDAtJRztxBHyA6D6h8du1HguyTR43Mas", 11 * DOGE)],
        change(3),
        network="mainnet",
        rate=1_000_000,
        policy=FeePolicy(),
    )


def of_two_accounts() -> Template:
    """A coin of each of two accounts, joined."""
    other = account_keys(bytes(64), "mainnet")[1]
    ours, theirs = coin(1, 5 * DOGE), coin(2, 7 * DOGE)
    theirs = theirs._replace(address=Keychain(other, "mainnet").address(0, theirs.derivation_index))
    return join([ours, theirs], change(3), network="mainnet", rate=1_000_000, policy=FeePolicy())


def test_coins_of_several_accounts_are_spent_by_who_has_all_their_keys() -> None:
    template, other = of_two_accounts(), Hidden(account_keys(bytes(64), "mainnet")[0])
    mine = Hidden(keys("mainnet")[0])
    both = AccountSigner(mine, "mainnet", fee_max=FEE_MAX, others=[other])
    signed = both.sign(template)
    assert signed == AccountSigner(other, "mainnet", fee_max=FEE_MAX, others=[mine]).sign(template)
    pushed = [each.script_sig[-33:] for each in signed.inputs]
    assert [hash160(key) for key in pushed] == [
        script_of_address(each.address, "mainnet")[3:23] for each in template.inputs
    ]


def test_a_coin_of_an_account_whose_key_is_not_there_is_not_spent() -> None:
    with pytest.raises(TemplateUnsound, match="is no address of ours"):
        signer().sign(of_two_accounts())


def test_the_golden_transaction_is_signed_byte_for_byte() -> None:
    wanted = Transaction.parse(golden.RAW)
    template = Template(
        network="mainnet",
        inputs=tuple(
            TemplateInput(
                txid=each.txid,
                vout=each.vout,
                amount=600_000_000,
                chain=0,
                derivation_index=index,
                address=address(0, index),
            )
            for index, each in enumerate(wanted.inputs)
        ),
        outputs=(
            withdrawal("a", address(0, 1), wanted.outputs[0].amount),
            withdrawal("b", address(0, 2), wanted.outputs[1].amount),
        ),
        fee=1_222_000,
    )
    signed = signer().sign(template)
    # What we sign can be replaced; the golden one cannot, and that is all they differ in.
    assert [each._replace(script_sig=b"", sequence=SEQUENCE_FINAL) for each in signed.inputs] == [
        each._replace(script_sig=b"") for each in wanted.inputs
    ]
    assert signed.outputs == wanted.outputs
    account = PrivateAccount(Hidden(keys("mainnet")[0]), "mainnet")
    scripts = []
    for index, spent in enumerate(golden.SPENT):
        signature = curve.sign_digest(account.secret(0, index), wanted.sighash(index, spent))
        scripts.append(script_sig(signature, account.public.public_key(0, index)))
    again = wanted.with_scripts(scripts)
    assert again.serialize() == golden.RAW
    assert again.txid == golden.TXID


def test_the_same_template_gives_the_same_bytes_from_any_signer() -> None:
    other = AccountSigner(Hidden(keys("mainnet")[0]), "mainnet", fee_max=FEE_MAX)
    assert signer().sign(sound()).serialize() == other.sign(sound()).serialize()


def test_what_is_signed_is_the_template_with_scripts_and_nothing_else() -> None:
    template = sound()
    bare = unsigned(template)
    signed = signer().sign(template)
    assert signed.with_scripts([b""] * len(signed.inputs)) == bare
    assert signed.outputs_hash == bare.outputs_hash
    assert len(signed.serialize()) <= template.size_max
    assert all(each.sequence == 0xFFFFFFFD for each in signed.inputs)
    assert (signed.version, signed.locktime) == (1, 0)


def changed(template: Template, place: str, index: int = 0, **fields: Any) -> Template:
    """The template with fields of one input or output changed."""
    parts: list[Any] = list(getattr(template, place))
    parts[index] = msgspec.structs.replace(parts[index], **fields)
    return msgspec.structs.replace(template, **{place: tuple(parts)})


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda t: msgspec.structs.replace(t, inputs=()), "it spends nothing"),
        (lambda t: msgspec.structs.replace(t, outputs=()), "it pays nothing"),
        (lambda t: msgspec.structs.replace(t, network="regtest"), "it is for regtest"),
        (lambda t: msgspec.structs.replace(t, fee=t.fee + 1), "and its fee says"),
        (lambda t: changed(t, "inputs", amount=t.inputs[0].amount + 1), "and its fee says"),
        (lambda t: changed(t, "outputs", amount=t.outputs[0].amount - 1), "and its fee says"),
        (lambda t: msgspec.structs.replace(t, inputs=t.inputs[:1] * 2), "a coin twice"),
        (lambda t: changed(t, "inputs", txid="00"), "is no txid"),
        (lambda t: changed(t, "inputs", txid="Z" * 64), "is no txid"),
        (lambda t: changed(t, "inputs", vout=2**32), "output 4294967296 cannot be"),
        (lambda t: changed(t, "inputs", vout=-1), "output -1 cannot be"),
        (lambda t: changed(t, "inputs", amount=0), "a coin of 0 koinu"),
        (lambda t: changed(t, "inputs", amount=MONEY_MAX + 1), "a coin of"),
        (lambda t: changed(t, "inputs", chain=2), "there is no chain 2"),
        (lambda t: changed(t, "inputs", derivation_index=2**31), "there is no index"),
        (lambda t: changed(t, "inputs", derivation_index=-1), "there is no index"),
        (lambda t: changed(t, "inputs", derivation_index=8), "is no address of ours"),
        (lambda t: changed(t, "inputs", chain=0), "is no address of ours"),
        (lambda t: changed(t, "outputs", amount=99_999), "99999 koinu is not relayed"),
        (lambda t: changed(t, "outputs", amount=MONEY_MAX + 1), "koinu is not relayed"),
        (lambda t: changed(t, "outputs", address="D"), "is no Dogecoin address"),
        (
            lambda t: changed(t, "outputs", address="mkpZhYtJu2r87Js3pDiWJDmPte2NRZ8bJV"),
            "is not an address of mainnet",
        ),
        (lambda t: changed(t, "outputs", derivation_index=1), "nothing else has one"),
        (lambda t: changed(t, "outputs", 1, derivation_index=None), "change has an index"),
        (lambda t: changed(t, "outputs", 1, derivation_index=4), "is no address of ours"),
        (lambda t: changed(t, "outputs", 1, derivation_index=-1), "there is no index -1"),
        (lambda t: changed(t, "outputs", 1, derivation_index=2**31), "there is no index"),
        (
            lambda t: changed(t, "outputs", 1, address="DAcDAtJRztxBHyA6D6h8du1HguyTR43Mas"),
            "is no address of ours",
        ),
    ],
)
def test_a_template_that_does_not_hold_together_is_not_signed(
    spoil: Callable[[Template], Template], told: str
) -> None:
    with pytest.raises(TemplateUnsound, match=told):
        signer().sign(spoil(sound()))


def test_a_template_whose_numbers_are_at_their_limits_is_sound() -> None:
    template = changed(sound(), "inputs", vout=2**32 - 1, derivation_index=2**31 - 1)
    template = changed(template, "inputs", 1, vout=0, derivation_index=0, amount=MONEY_MAX)
    template = changed(template, "outputs", amount=DUST_HARD)
    template = changed(template, "outputs", 1, derivation_index=2**31 - 1)
    template = msgspec.structs.replace(template, fee=2_000_000)
    # The first coin pays the payee and the fee, and the second comes back whole.
    template = changed(template, "inputs", amount=DUST_HARD + template.fee)
    template = changed(template, "outputs", 1, amount=MONEY_MAX)
    check(template, network="mainnet", fee_max=FEE_MAX)


def with_fee(fee: int) -> Template:
    """A template whose change leaves that fee."""
    template = sound()
    left = template.outputs[1].amount + template.fee - fee
    spoilt = changed(template, "outputs", 1, amount=left)
    return msgspec.structs.replace(spoilt, fee=fee)


def test_a_fee_above_the_cap_or_below_what_nodes_relay_is_not_signed() -> None:
    strict = AccountSigner(Hidden(keys("mainnet")[0]), "mainnet", fee_max=5_000_000)
    assert strict.sign(with_fee(5_000_000))
    with pytest.raises(TemplateUnsound, match=r"passes the 0\.05000000 allowed"):
        strict.sign(with_fee(5_000_001))
    least = sound().size_max * 100
    assert strict.sign(with_fee(least))
    with pytest.raises(TemplateUnsound, match="that nodes relay"):
        strict.sign(with_fee(least - 1))


def test_a_transaction_that_is_too_large_is_not_signed() -> None:
    payees = [
        TemplateOutput(amount=DOGE, address=address(0, 1), purpose=Purpose.COLD)
        for _ in range(2_950)
    ]
    spent = sound().inputs[0]
    template = Template(
        network="mainnet",
        inputs=(msgspec.structs.replace(spent, amount=2_951 * DOGE),),
        outputs=tuple(payees),
        fee=DOGE,
    )
    with pytest.raises(TemplateUnsound, match="bytes are not relayed"):
        signer().sign(template)


def test_a_signature_that_does_not_verify_stops_the_signer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing, "verifies", lambda *_: False)
    with pytest.raises(SignatureWrong, match="input 0"):
        signer().sign(sound())


@pytest.mark.parametrize("text", [*keys("mainnet"), "", "dgpv", "nonsense"])
def test_an_error_about_a_key_never_shows_it(text: str) -> None:
    with pytest.raises(PrivateKeyUnusable) as raised:
        AccountSigner(Hidden(text), "regtest", fee_max=FEE_MAX)
    # The frame of this test itself knows the text.
    told = everything_told(raised.value.with_traceback(inner(raised.tb)))
    assert "Hidden(********)" in told
    assert len(text) < 10 or text[4:40] not in told


@pytest.mark.parametrize(
    ("network", "prefix", "told"),
    [
        ("mainnet", "dgub", "a public key \\(dgub\\)"),
        ("regtest", "tgub", "a public key \\(tgub\\)"),
    ],
)
def test_a_public_key_signs_nothing(network: str, prefix: str, told: str) -> None:
    with pytest.raises(PrivateKeyUnusable, match=told):
        AccountSigner(Hidden(keys(network)[1]), network, fee_max=FEE_MAX)


def inner(trace: TracebackType) -> TracebackType | None:
    """The traceback without its outermost frame."""
    return trace.tb_next


def everything_told(error: BaseException) -> str:
    """The traceback as the most talkative of reporters prints it: with each frame's variables."""
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    return "".join(told.format(chain=True))


def secrets_of(template: Template) -> list[str]:
    """Every way in which a key that signs the template could be printed."""
    account = PrivateAccount(Hidden(keys("mainnet")[0]), "mainnet")
    forms = [keys("mainnet")[0][4:40]]
    for each in template.inputs:
        secret = account.secret(each.chain, each.derivation_index)
        forms += [secret.hex(), repr(secret)[2:-1], str(int.from_bytes(secret, "big"))]
    return forms


def test_no_traceback_of_a_failed_signature_shows_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Transaction, "sighash", lambda *_: b"too short")
    with pytest.raises(SigningFailed) as failed:
        signer().sign(sound())
    monkeypatch.undo()
    monkeypatch.setattr(signing, "verifies", lambda *_: False)
    with pytest.raises(SignatureWrong) as wrong:
        signer().sign(sound())
    told = everything_told(failed.value) + everything_told(wrong.value)
    assert "self = AccountSigner(mainnet)" in told
    assert not [secret for secret in secrets_of(sound()) if secret in told]


def test_nothing_that_holds_a_key_shows_it_or_can_be_kept() -> None:
    account = PrivateAccount(Hidden(keys("mainnet")[0]), "mainnet")
    for holder in (signer(), account, Hidden(keys("mainnet")[0])):
        shown = repr(holder) + str(holder) + f"{holder}"
        assert not [secret for secret in secrets_of(sound()) if secret in shown]
        assert not hasattr(holder, "__dict__")
        for keep in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(CannotBeKept):
                keep(holder)


def test_the_signers_public_key_is_the_accounts() -> None:
    assert signer().account_xpubs == (keys("mainnet")[1],)
    assert signer("regtest").account_xpubs == (keys("regtest")[1],)
