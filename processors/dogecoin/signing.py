"""The signer: turns a template into a transaction, and trusts nothing but the keys it holds.

What is signed does not commit to the amounts that are spent, so that a wrong record could burn
coins as a fee: hence the sums and the cap. Everything that can be derived again is.
"""

from __future__ import annotations

from typing import NoReturn

from processors.dogecoin.building import Purpose, Template, unsigned
from processors.dogecoin.checking import TemplateUnsound, check
from processors.dogecoin.curve import sign_digest, verifies
from processors.dogecoin.derivation import CHANGE_CHAIN, PrivateAccount
from processors.dogecoin.hashes import hash160
from processors.dogecoin.hidden import CannotBeKept, Hidden
from processors.dogecoin.scripts import p2pkh_script, script_of_address
from processors.dogecoin.transactions import SIGHASH_ALL, Transaction


class SignatureWrong(Exception):
    """A signature that was just made does not verify: memory or library is broken. Stop."""

    def __init__(self, index: int) -> None:
        super().__init__(f"{self.__doc__} (input {index})")


class AccountSigner:
    """Signs for one account on one network. No repr, error or pickle of it shows a key."""

    __slots__ = ("_account", "_fee_max", "network")

    def __init__(self, account_xprv: Hidden, network: str, *, fee_max: int) -> None:
        """``account_xprv`` as dgpv, xprv, tgpv or tprv; ``fee_max`` koinu a transaction.

        Raises ``PrivateKeyUnusable``.
        """
        # First, since a traceback may show the signer before it is whole.
        self.network = network
        self._fee_max = fee_max
        self._account = PrivateAccount(account_xprv, network)

    @property
    def fingerprint(self) -> str:
        """The account's name, as ``Keychain.fingerprint`` of its public key."""
        return self._account.public.fingerprint

    @property
    def account_xpub(self) -> str:
        """The account's public key, in the form of the private one."""
        return self._account.account_xpub

    def sign(self, template: Template) -> Transaction:
        """The signed transaction; the same template gives the same bytes, always (RFC 6979).

        Raises ``TemplateUnsound`` unless the template's own sums hold, its fee is within the cap,
        every input's address and every change address are this account's at the index that the
        template names, and ``SignatureWrong`` if a signature does not verify.
        """
        check(template, network=self.network, fee_max=self._fee_max)
        self._derive_again(template)
        transaction = unsigned(template)
        scripts = []
        for index, spent in enumerate(template.inputs):
            script = script_of_address(spent.address, self.network)
            digest = transaction.sighash(index, script)
            public_key = self._account.public.public_key(spent.chain, spent.derivation_index)
            signature = self._sign(spent.chain, spent.derivation_index, digest)
            if p2pkh_script(hash160(public_key)) != script or not verifies(
                public_key, signature, digest
            ):
                raise SignatureWrong(index)
            scripts.append(script_sig(signature, public_key))
        return transaction.with_scripts(scripts)

    def __repr__(self) -> str:
        return f"AccountSigner({self.network})"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise CannotBeKept("a signer is not pickled or copied")

    def _sign(self, chain: int, index: int, digest: bytes) -> bytes:
        # The child's key has no name here: a traceback that shows variables would show it.
        return sign_digest(self._account.secret(chain, index), digest)

    def _derive_again(self, template: Template) -> None:
        for spent in template.inputs:
            path = (spent.chain, spent.derivation_index)
            if spent.address != self._account.public.address(*path):
                raise TemplateUnsound(f"{spent.address} is not this account's address {path}.")
        for each in template.outputs:
            if each.purpose is Purpose.CHANGE and each.derivation_index is not None:
                path = (CHANGE_CHAIN, each.derivation_index)
                if each.address != self._account.public.address(*path):
                    raise TemplateUnsound(f"{each.address} is not this account's change {path}.")


def script_sig(signature: bytes, public_key: bytes) -> bytes:
    """What spends P2PKH: a push of the DER signature with its hash type, and one of the key."""
    signed = signature + bytes((SIGHASH_ALL,))
    return bytes((len(signed),)) + signed + bytes((len(public_key),)) + public_key
