"""AWS Secrets Manager, where the accounts' private keys lie: the one module that asks it.

Each is read once, at start, and never again: nobody rotates it behind our back, since another key
is another account. After a rotation there are several, a secret for each.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
)

from processors.dogecoin.derivation import (
    AccountKeyUnusable,
    Keychain,
    PrivateAccount,
    PrivateKeyUnusable,
    account_path,
)
from processors.dogecoin.hidden import Hidden
from processors.dogecoin.keyring import Keyring
from processors.dogecoin.signing import AccountSigner
from schemas.amounts import parse_amount
from schemas.settings import Settings
from streams import aws

VERSION: Final = 1
_CONNECT_SECONDS: Final = 5
_ANSWER_SECONDS: Final = 10
_TRIES: Final = 4

_MISSING: Final = frozenset({"ResourceNotFoundException"})
_DENIED: Final = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "ExpiredTokenException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "UnrecognizedClientException",
    }
)


class SecretFault(Exception):
    """The account's private key cannot be had; the text says why and what to do."""


class SecretMissing(SecretFault):
    """There is no such secret."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"there is no secret {name} (WALLET_ACCOUNT_SECRET) in this account and region: "
            "`wallet keys store` puts it there"
        )


class SecretDenied(SecretFault):
    """We may not read it."""

    def __init__(self, name: str, code: str) -> None:
        super().__init__(
            f"the secret {name} is not ours to read ({code}): give this process's role "
            "secretsmanager:GetSecretValue on it, and kms:Decrypt on its key"
        )


class SecretUnreadable(SecretFault):
    """It is there, and is not what it should be."""

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(f"the secret {name} cannot be used: {detail}")


class SecretOfAnotherAccount(SecretFault):
    """It is the key of coins that are not ours."""

    def __init__(self, name: str, found: str, wanted: str) -> None:
        super().__init__(
            f"the secret {name} is the key of account {found}, and WALLET_ACCOUNT_XPUB is of "
            f"account {wanted}: one of the two settings names the wrong one"
        )


class KeyOfAccountMissing(SecretFault):
    """No secret that is named has the key of one of our accounts."""

    def __init__(self, names: str, account_key: str) -> None:
        super().__init__(
            f"WALLET_ACCOUNT_XPUB names account {account_key}, and no secret of "
            f"WALLET_ACCOUNT_SECRET ({names}) is its key: name that one too, with a comma between "
            "them; or, where all coins of a former account have left it, take its public key out "
            "of this process's settings"
        )


class SecretsAway(SecretFault):
    """Secrets Manager does not answer, or not as it should."""

    def __init__(self, detail: str) -> None:
        super().__init__(f"AWS Secrets Manager cannot be asked: {detail}")


class _Document(msgspec.Struct, frozen=True, kw_only=True):
    """What the secret holds, as JSON."""

    v: int
    network: str
    path: str
    xprv: str
    xpub: str

    def __repr__(self) -> str:
        return "_Document(********)"


class AccountKey(NamedTuple):
    """An account's private key, and what is known of it."""

    #: Of the secret that holds it.
    name: str
    xprv: Hidden
    xpub: str
    fingerprint: str
    #: Secrets Manager's name for this state of the secret.
    version: str


class Secrets:
    """The secrets that ``settings.account_secret`` names: one, or one for each account."""

    def __init__(self, settings: Settings, *, credentials: tuple[str, str] | None = None) -> None:
        """Asks nothing yet; raises ``SettingsError`` if no secret is named.

        Without ``credentials`` they are looked for as every AWS client does: environment, files,
        and the machine's role.
        """
        settings.require("account_secret")
        self.names = tuple(name.strip() for name in settings.account_secret.split(","))
        self._settings = settings
        self._credentials = credentials or (None, None)

    def read(self) -> tuple[AccountKey, ...]:
        """The keys, one request each; raises a ``SecretFault`` that says what is wrong in a line.

        They are those of the accounts that ``account_xpub`` names, in its order, on the network of
        the settings: no key less, and no key more.
        """
        self._settings.require("account_xpub")
        ours = Keyring(self._settings.account_xpub, self._settings.network)
        found: dict[str, AccountKey] = {}
        for name in self.names:
            key = self._read(name)
            if key.fingerprint not in ours:
                raise SecretOfAnotherAccount(name, key.fingerprint, ours.names)
            found[key.fingerprint] = key
        for account_key in ours.fingerprints:
            if account_key not in found:
                raise KeyOfAccountMissing(", ".join(self.names), account_key)
        return tuple(found[account_key] for account_key in ours.fingerprints)

    def store(self, xprv: Hidden, *, replace: bool = False) -> bool:
        """Put the key into the one secret that is named; False if it was there already.

        Another account's key is replaced only if asked to: without it, its coins stand still.
        Raises ``PrivateKeyUnusable`` or a ``SecretFault``, or ``ValueError`` where several are
        named.
        """
        (name,) = self.names
        account = PrivateAccount(xprv, self._settings.network)
        fingerprint = account.public.fingerprint
        document = _document(account, xprv, self._settings.network)
        try:
            there = self._read(name).fingerprint
        except SecretMissing:
            self._ask("create_secret", name, document)
            return True
        except SecretUnreadable:
            if not replace:
                raise
            there = "unknown"
        if there == fingerprint:
            return False
        if not replace:
            raise SecretOfAnotherAccount(name, there, fingerprint)
        self._ask("put_secret_value", name, document)
        return True

    def _read(self, name: str) -> AccountKey:
        text, version = self._ask("get_secret_value", name)
        found = _understood(name, text, version, self._settings.network)
        if isinstance(found, str):
            raise SecretUnreadable(name, found)
        return found

    def _ask(self, operation: str, name: str, document: Hidden | None = None) -> tuple[Hidden, str]:
        """The secret's text and version, as far as the operation answers with them.

        Faults are raised outside the handlers, so that no error of the library, whose frames hold
        the document, hangs on them.
        """
        try:
            call = getattr(self._client(), operation)
            parameters = {"Name" if operation == "create_secret" else "SecretId": name}
            answer: dict[str, Any] = (
                call(**parameters)
                if document is None
                else call(**parameters, SecretString=document.reveal())
            )
            return Hidden(answer.get("SecretString", "")), str(answer.get("VersionId", ""))
        except ClientError as error:
            told = error.response.get("Error", {})
            fault = _fault_of(name, told.get("Code", "unknown"), told.get("Message", ""), operation)
        except (NoCredentialsError, PartialCredentialsError):
            fault = SecretsAway(
                "there are no credentials; give this process a role, or AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY"
            )
        except NoRegionError:
            fault = SecretsAway("no region is set; set WALLET_AWS_REGION")
        except (BotoCoreError, ValueError) as error:
            fault = SecretsAway(str(error)[:300])
        raise fault

    def _client(self) -> Any:
        """A client of its own each time: it is used once or twice in a process's life."""
        return aws.client(
            self._settings,
            "secretsmanager",
            connect_seconds=_CONNECT_SECONDS,
            answer_seconds=_ANSWER_SECONDS,
            tries=_TRIES,
            credentials=self._credentials,
        )


def account_signer(settings: Settings) -> AccountSigner:
    """The signer of the configured accounts; raises a ``SecretFault`` or ``SettingsError``."""
    first, *others = (key.xprv for key in Secrets(settings).read())
    fee_max = parse_amount(settings.fee_max)
    return AccountSigner(first, settings.network, fee_max=fee_max, others=others)


def _fault_of(name: str, code: str, message: str, operation: str) -> SecretFault:
    if code in _MISSING:
        return SecretMissing(name)
    if code in _DENIED:
        return SecretDenied(name, code)
    if code == "DecryptionFailure":
        return SecretDenied(name, "KMS will not decrypt it")
    return SecretsAway(f"{operation} of {name} was answered {code}: {message:.200}")


def _document(account: PrivateAccount, xprv: Hidden, network: str) -> Hidden:
    return Hidden(
        msgspec.json.encode(
            _Document(
                v=VERSION,
                network=network,
                path=account_path(network),
                xprv=xprv.reveal(),
                xpub=account.account_xpub,
            )
        ).decode()
    )


def _understood(name: str, text: Hidden, version: str, network: str) -> AccountKey | str:
    """The key in the secret's text, or what is wrong with it; never a part of the text itself."""
    try:
        document = msgspec.json.decode(text.reveal(), type=_Document)
    except (msgspec.DecodeError, UnicodeError):
        return 'it is not {"v": 1, "network": …, "path": …, "xprv": …, "xpub": …}.'
    if document.v != VERSION:
        return f"its form is of version {document.v}, and this release reads {VERSION}."
    if document.network != network:
        return f"it is for {document.network!r:.40}, and WALLET_NETWORK is {network}."
    if document.path != account_path(network):
        return f"its path is {document.path!r:.40}, and not {account_path(network)}."
    xprv = Hidden(document.xprv)
    try:
        account = PrivateAccount(xprv, network)
        told = Keychain(document.xpub, network).fingerprint
    except PrivateKeyUnusable as error:
        return str(error)
    except AccountKeyUnusable:
        return "its xpub is no public key of an account on this network."
    if told != account.public.fingerprint:
        return "its xpub and its xprv are of two accounts."
    return AccountKey(name, xprv, account.account_xpub, told, version)
