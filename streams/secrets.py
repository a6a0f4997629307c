"""AWS Secrets Manager, where the account's private key lies: the one module that asks it.

The key is read once, at start, and never again: nobody rotates it behind our back, since another
key is another account, to which all coins would have to be moved first.
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
    """The account's private key, and what is known of it."""

    xprv: Hidden
    xpub: str
    fingerprint: str
    #: Secrets Manager's name for this state of the secret.
    version: str


class Secrets:
    """The one secret that ``settings.account_secret`` names."""

    def __init__(self, settings: Settings, *, credentials: tuple[str, str] | None = None) -> None:
        """Asks nothing yet; raises ``SettingsError`` if no secret is named.

        Without ``credentials`` they are looked for as every AWS client does: environment, files,
        and the machine's role.
        """
        settings.require("account_secret")
        self.name = settings.account_secret
        self._settings = settings
        self._credentials = credentials or (None, None)

    def read(self) -> AccountKey:
        """The key, from one request; raises a ``SecretFault`` that says what is wrong in a line.

        It is the key of the account that ``account_xpub`` names, on the network of the settings.
        """
        self._settings.require("account_xpub")
        key = self._read()
        wanted = Keychain(self._settings.account_xpub, self._settings.network).fingerprint
        if key.fingerprint != wanted:
            raise SecretOfAnotherAccount(self.name, key.fingerprint, wanted)
        return key

    def store(self, xprv: Hidden, *, replace: bool = False) -> bool:
        """Put the key there; False if it was there already.

        Another account's key is replaced only if asked to: without it, its coins stand still.
        Raises ``PrivateKeyUnusable`` or a ``SecretFault``.
        """
        account = PrivateAccount(xprv, self._settings.network)
        fingerprint = account.public.fingerprint
        document = _document(account, xprv, self._settings.network)
        try:
            there = self._read().fingerprint
        except SecretMissing:
            self._ask("create_secret", document, Name=self.name)
            return True
        except SecretUnreadable:
            if not replace:
                raise
            there = "unknown"
        if there == fingerprint:
            return False
        if not replace:
            raise SecretOfAnotherAccount(self.name, there, fingerprint)
        self._ask("put_secret_value", document, SecretId=self.name)
        return True

    def _read(self) -> AccountKey:
        text, version = self._ask("get_secret_value", SecretId=self.name)
        found = _understood(text, version, self._settings.network)
        if isinstance(found, str):
            raise SecretUnreadable(self.name, found)
        return found

    def _ask(
        self, operation: str, document: Hidden | None = None, **parameters: str
    ) -> tuple[Hidden, str]:
        """The secret's text and version, as far as the operation answers with them.

        Faults are raised outside the handlers, so that no error of the library, whose frames hold
        the document, hangs on them.
        """
        try:
            call = getattr(self._client(), operation)
            answer: dict[str, Any] = (
                call(**parameters)
                if document is None
                else call(**parameters, SecretString=document.reveal())
            )
            return Hidden(answer.get("SecretString", "")), str(answer.get("VersionId", ""))
        except ClientError as error:
            told = error.response.get("Error", {})
            fault = self._fault_of(told.get("Code", "unknown"), told.get("Message", ""), operation)
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

    def _fault_of(self, code: str, message: str, operation: str) -> SecretFault:
        if code in _MISSING:
            return SecretMissing(self.name)
        if code in _DENIED:
            return SecretDenied(self.name, code)
        if code == "DecryptionFailure":
            return SecretDenied(self.name, "KMS will not decrypt it")
        return SecretsAway(f"{operation} of {self.name} was answered {code}: {message:.200}")

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
    """The signer of the configured account; raises a ``SecretFault`` or ``SettingsError``."""
    key = Secrets(settings).read()
    return AccountSigner(key.xprv, settings.network, fee_max=parse_amount(settings.fee_max))


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


def _understood(text: Hidden, version: str, network: str) -> AccountKey | str:
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
    return AccountKey(xprv, account.account_xpub, told, version)
