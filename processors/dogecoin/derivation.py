"""Keys and addresses by BIP32, BIP39 and BIP44: a ``Keychain`` from the account's public key, and
a ``PrivateAccount`` for the one process that signs.

Whoever has the public key and one private key of a child can reckon the account's private key, so
no child key ever leaves the signer. This module alone imports bip-utils, which takes over a second
to load.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final, NamedTuple, NoReturn

from bip_utils import (
    Base58ChecksumError,
    Base58Decoder,
    Bip32KeyError,
    Bip32KeyNetVersions,
    Bip32Slip10Secp256k1,
    Bip39MnemonicGenerator,
    Bip39MnemonicValidator,
    Bip39SeedGenerator,
    P2PKHAddrEncoder,
)

from processors.dogecoin.hidden import CannotBeKept, Hidden
from schemas.addresses import NETWORKS

EXTERNAL_CHAIN: Final = 0
CHANGE_CHAIN: Final = 1
#: Indices from here on are hardened, and cannot be derived from a public key.
INDEX_END: Final = 2**31

#: m / 44' / coin' / account' is three levels below the master key.
_ACCOUNT_DEPTH: Final = 3
_TEST_NETWORKS: Final = ("testnet", "regtest")


class _Form(NamedTuple):
    """One way to write extended keys: the version bytes and the networks that use it."""

    prefix: str
    private_prefix: str
    public: str
    private: str
    networks: tuple[str, ...]

    def versions(self) -> Bip32KeyNetVersions:
        return Bip32KeyNetVersions(bytes.fromhex(self.public), bytes.fromhex(self.private))


#: Dogecoin has dgub and tgub of its own; Core writes test keys as tpub, many tools all as xpub.
_FORMS: Final = (
    _Form("dgub", "dgpv", "02facafd", "02fac398", ("mainnet",)),
    _Form("xpub", "xprv", "0488b21e", "0488ade4", ("mainnet",)),
    _Form("tgub", "tgpv", "0432a9a8", "0432a243", _TEST_NETWORKS),
    _Form("tpub", "tprv", "043587cf", "04358394", _TEST_NETWORKS),
)


class AccountKeyUnusable(Exception):
    """The account's extended public key cannot be used to derive addresses."""

    def __init__(self, detail: str) -> None:
        # The key itself is never shown: whoever has it sees every address.
        super().__init__(f"WALLET_ACCOUNT_XPUB cannot be used: {detail}")


class PrivateKeyUnusable(Exception):
    """The account's extended private key cannot be used to sign."""

    def __init__(self, detail: str) -> None:
        super().__init__(f"the account's private key cannot be used: {detail}")


class MnemonicUnusable(Exception):
    """These are not 12 to 24 words of BIP39 in their order: look at each word, and at the last."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class Keychain:
    """The addresses of one BIP44 account on one network."""

    def __init__(self, account_xpub: str, network: str) -> None:
        """``account_xpub`` is m/44'/coin'/account' as dgub, xpub, tgub or tpub.

        Raises ``AccountKeyUnusable`` for anything else, private keys above all.
        """
        if network not in NETWORKS:
            raise AccountKeyUnusable(f"{network} is no network; take one of {', '.join(NETWORKS)}.")
        form = _form_of(account_xpub)
        if network not in form.networks:
            raise AccountKeyUnusable(f"a {form.prefix} key is not for {network}.")
        try:
            account = Bip32Slip10Secp256k1.FromExtendedKey(account_xpub, form.versions())
        except (Bip32KeyError, ValueError):
            # Without the cause, whose message may show parts of the key.
            raise AccountKeyUnusable("its point is not on the curve.") from None
        if account.Depth().ToInt() != _ACCOUNT_DEPTH:
            raise AccountKeyUnusable(
                "it is not an account's; export m/44'/3'/0', or m/44'/1'/0' on a test network."
            )
        self._chains = {chain: account.ChildKey(chain) for chain in (EXTERNAL_CHAIN, CHANGE_CHAIN)}
        self._version = bytes((NETWORKS[network].p2pkh,))
        public = account.PublicKey()
        #: The account's name in the ledger, the same for each way to write the key: 16 digits of
        #: SHA-256 over public key and chain code.
        self.fingerprint: Final[str] = sha256(
            public.RawCompressed().ToBytes() + public.ChainCode().ToBytes()
        ).hexdigest()[:16]

    def __repr__(self) -> str:
        return f"Keychain({self.fingerprint})"

    def address(self, chain: int, index: int) -> str:
        """The P2PKH address at ``chain`` (0 deposits, 1 change) and ``index`` below 2^31."""
        address: str = P2PKHAddrEncoder.EncodeKey(
            self._child(chain, index).PublicKey().KeyObject(), net_ver=self._version
        )
        return address

    def public_key(self, chain: int, index: int) -> bytes:
        """The 33 bytes of the public key of that address."""
        key: bytes = self._child(chain, index).PublicKey().RawCompressed().ToBytes()
        return key

    def _child(self, chain: int, index: int) -> Bip32Slip10Secp256k1:
        check_index(index)
        return self._chains[chain].ChildKey(index)


class PrivateAccount:
    """The private keys of one account: in the signer's memory, and nowhere else."""

    __slots__ = ("_chains", "account_xpub", "public")

    def __init__(self, account_xprv: Hidden, network: str) -> None:
        """``account_xprv`` is m/44'/coin'/account' as dgpv, xprv, tgpv or tprv.

        Raises ``PrivateKeyUnusable``, which shows nothing of the key, as no error of this class
        does. Callers must not keep the key either: read it, give it, forget it.
        """
        account = _private_account(account_xprv, network)
        if isinstance(account, str):
            raise PrivateKeyUnusable(account)
        self._chains = {chain: account.ChildKey(chain) for chain in (EXTERNAL_CHAIN, CHANGE_CHAIN)}
        #: The account's public key, in the form (dgub, xpub, tgub, tpub) of the private one.
        self.account_xpub: str = account.PublicKey().ToExtended()
        #: Its addresses and public keys.
        self.public = Keychain(self.account_xpub, network)

    def secret(self, chain: int, index: int) -> bytes:
        """The 32 bytes of one child's private key."""
        check_index(index)
        key: bytes = self._chains[chain].ChildKey(index).PrivateKey().Raw().ToBytes()
        return key

    def __repr__(self) -> str:
        return "PrivateAccount(********)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise CannotBeKept("an account's private keys are not pickled or copied")


def check_index(index: int) -> None:
    """Raise ``ValueError`` unless the index can be derived from a public key."""
    if not 0 <= index < INDEX_END:
        raise ValueError(f"index {index} is not between 0 and 2^31 - 1")


def account_path(network: str) -> str:
    """Where a seed's first account is; BIP44 gives all test networks coin type 1."""
    return "m/44'/3'/0'" if network == "mainnet" else "m/44'/1'/0'"


def account_keys(seed: bytes, network: str) -> tuple[str, str]:
    """Private and public key of a BIP39 seed's first account: (dgpv…, dgub…) or (tgpv…, tgub…).

    The private one belongs to the payer alone.
    """
    form = next(form for form in _FORMS if network in form.networks)
    master = Bip32Slip10Secp256k1.FromSeed(seed, form.versions())
    account = master.DerivePath(account_path(network))
    return account.PrivateKey().ToExtended(), account.PublicKey().ToExtended()


def mnemonic_of(entropy: bytes) -> Hidden:
    """The English words of BIP39 for 16 to 32 bytes of chance: 12 for 16 bytes, 24 for 32."""
    return Hidden(Bip39MnemonicGenerator().FromEntropy(entropy).ToStr())


def seed_of(mnemonic: Hidden, passphrase: Hidden | None = None) -> bytes:
    """The 64 bytes of BIP39's seed, in some tenths of a second.

    Raises ``MnemonicUnusable`` for words that are not BIP39's or whose checksum does not hold.
    """
    words = Hidden(" ".join(mnemonic.reveal().split()).lower())
    if not Bip39MnemonicValidator().IsValid(words.reveal()):
        raise MnemonicUnusable
    salt = passphrase.reveal() if passphrase is not None else ""
    seed: bytes = Bip39SeedGenerator(words.reveal()).Generate(salt)
    return seed


def _private_account(account_xprv: Hidden, network: str) -> Bip32Slip10Secp256k1 | str:
    """The account, or what is wrong with its key; told by value, so that no traceback has it."""
    if network not in NETWORKS:
        return f"{network} is no network; take one of {', '.join(NETWORKS)}."
    version = _version_of(account_xprv.reveal())
    if version is None:
        return "it is not Base58Check; copy every letter."
    form = next((form for form in _FORMS if version in (form.private, form.public)), None)
    if form is None:
        return f"it is none of {', '.join(form.private_prefix for form in _FORMS)}."
    if version == form.public:
        return f"it is a public key ({form.prefix}); nothing can be signed with it."
    if network not in form.networks:
        return f"a {form.private_prefix} key is not for {network}."
    try:
        account = Bip32Slip10Secp256k1.FromExtendedKey(account_xprv.reveal(), form.versions())
    except (Bip32KeyError, ValueError):
        return "its number is no private key."
    if account.Depth().ToInt() != _ACCOUNT_DEPTH:
        return f"it is not an account's; export {account_path(network)}."
    return account


def _version_of(extended_key: str) -> str | None:
    """The version bytes of an extended key, in hex; None unless its checksum holds."""
    try:
        decoded: bytes = Base58Decoder.CheckDecode(extended_key)
    except (Base58ChecksumError, ValueError):
        return None
    return decoded[:4].hex()


def _form_of(account_xpub: str) -> _Form:
    version = _version_of(account_xpub)
    if version is None:
        raise AccountKeyUnusable("it is not Base58Check; copy every letter.")
    for form in _FORMS:
        if version == form.public:
            return form
        if version == form.private:
            raise AccountKeyUnusable(
                "it is a PRIVATE key. Take it out of the settings, and give the public one."
            )
    prefixes = ", ".join(form.prefix for form in _FORMS)
    raise AccountKeyUnusable(f"it is none of {prefixes}.")
