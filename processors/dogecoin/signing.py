"""The signer: turns a template into a transaction, and trusts nothing but the keys it holds.

What is signed does not commit to the amounts that are spent, so that a wrong record could burn
coins as a fee: hence the sums and the cap. Everything that can be derived again is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

from processors.dogecoin.building import Purpose, Template, TemplateInput, unsigned
from processors.dogecoin.checking import TemplateUnsound, check
from processors.dogecoin.curve import sign_digest, verifies
from processors.dogecoin.derivation import CHANGE_CHAIN, PrivateAccount
from processors.dogecoin.hashes import hash160
from processors.dogecoin.hidden import CannotBeKept, Hidden
from processors.dogecoin.scripts import p2pkh_script, script_of_address
from processors.dogecoin.transactions import SIGHASH_ALL, Transaction

#: The chain of an account, and an index on it.
Path = tuple[int, int]


class SignatureWrong(Exception):
    """A signature that was just made does not verify: memory or library is broken. Stop."""

    def __init__(self, index: int) -> None:
        super().__init__(f"{self.__doc__} (input {index})")


class AccountSigner:
    """Signs for our accounts on one network. No repr, error or pickle of it shows a key."""

    __slots__ = ("_accounts", "_fee_max", "network")

    def __init__(
        self, account_xprv: Hidden, network: str, *, fee_max: int, others: Iterable[Hidden] = ()
    ) -> None:
        """``account_xprv`` as dgpv, xprv, tgpv or tprv; ``fee_max`` koinu a transaction.

        ``others`` are further accounts' keys, as there are after a rotation. Raises
        ``PrivateKeyUnusable``.
        """
        # First, since a traceback may show the signer before it is whole.
        self.network = network
        self._fee_max = fee_max
        self._accounts = tuple(PrivateAccount(key, network) for key in (account_xprv, *others))

    @property
    def account_xpubs(self) -> tuple[str, ...]:
        """The accounts' public keys, each in the form of its private one."""
        return tuple(account.account_xpub for account in self._accounts)

    def sign(self, template: Template) -> Transaction:
        """The signed transaction; the same template gives the same bytes, always (RFC 6979).

        Raises ``TemplateUnsound`` unless the template's own sums hold, its fee is within the cap,
        every input's address and every change address are of one of its accounts at the index that
        the template names, and ``SignatureWrong`` if a signature does not verify.
        """
        check(template, network=self.network, fee_max=self._fee_max)
        self._derive_change_again(template)
        owners = [self._owner(each.address, _path_of(each)) for each in template.inputs]
        transaction = unsigned(template)
        scripts = []
        for index, (spent, owner) in enumerate(zip(template.inputs, owners, strict=True)):
            script = script_of_address(spent.address, self.network)
            digest = transaction.sighash(index, script)
            public_key = owner.public.public_key(*_path_of(spent))
            signature = _sign(owner, _path_of(spent), digest)
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

    def _derive_change_again(self, template: Template) -> None:
        for each in template.outputs:
            if each.purpose is Purpose.CHANGE and each.derivation_index is not None:
                self._owner(each.address, (CHANGE_CHAIN, each.derivation_index))

    def _owner(self, address: str, path: Path) -> PrivateAccount:
        """The account that has this address at its place; raises ``TemplateUnsound`` if none has.

        The template does not say whose it is: who can derive it is who can sign for it.
        """
        for account in self._accounts:
            if account.public.address(*path) == address:
                return account
        raise TemplateUnsound(f"{address} is no address of ours at {path}.")


def _path_of(spent: TemplateInput) -> Path:
    return spent.chain, spent.derivation_index


def _sign(owner: PrivateAccount, path: Path, digest: bytes) -> bytes:
    # The child's key has no name here: a traceback that shows variables would show it.
    return sign_digest(owner.secret(*path), digest)


def script_sig(signature: bytes, public_key: bytes) -> bytes:
    """What spends P2PKH: a push of the DER signature with its hash type, and one of the key."""
    signed = signature + bytes((SIGHASH_ALL,))
    return bytes((len(signed),)) + signed + bytes((len(public_key),)) + public_key
