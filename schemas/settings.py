"""Every setting, read from ``WALLET_*`` here alone: nothing else looks at the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import msgspec

from schemas.addresses import NETWORKS

PREFIX: Final = "WALLET_"
KAFKA_PREFIX: Final = "WALLET_KAFKA_"

#: Parts of a variable's name whose value is never printed.
_SECRET: Final = re.compile(r"SECRET|PASSWORD|TOKEN|MNEMONIC|XPRV|KEY_PEM")
#: Where a password stands in an address: before the host, or as a parameter.
_IN_ADDRESS: Final = re.compile(
    r"(://[^:@/\s]*:)\S*(?=@)|(\b(?:ssl)?password=)[^&\s]*", re.IGNORECASE
)

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Count = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]
Network = Annotated[str, msgspec.Meta(pattern=f"^({'|'.join(NETWORKS)})$")]
LogLevel = Annotated[str, msgspec.Meta(pattern="^(?i:debug|info|warning|error|critical)$")]


class SettingsError(Exception):
    """A setting is missing or cannot be read."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The service's settings; a field ``x_y`` is read from ``WALLET_X_Y``.

    Everything that starts with ``WALLET_KAFKA_`` is passed to librdkafka as it is:
    ``WALLET_KAFKA_SASL_USERNAME`` becomes ``sasl.username``. ``WALLET_X_Y_FILE`` names a file
    with the value, as containers get their secrets; of Kafka's settings, only secrets have it.
    """

    #: Folder of all that must survive: data of the embedded servers, keys, endpoints.json.
    home: str = ".wallet"

    #: A superuser of the server: used by ``wallet roles`` alone, once.
    superuser_database_url: str = ""
    #: Owner of the tables: used by ``wallet migrate`` and the roles' setup alone.
    database_url: str = ""
    #: The worker's role: may write the ledger, may not change or delete an entry.
    worker_database_url: str = ""
    #: The API's role: may read.
    api_database_url: str = ""
    #: The watcher's role: writes the chain as it follows it, and sees no balance.
    watcher_database_url: str = ""
    #: The payer's role: writes payouts, and can touch neither balances nor entries.
    payer_database_url: str = ""

    #: Partitions of every command and event topic. Fixed for the life of a topic.
    partitions: Count = 12
    #: Copies of each topic's partitions; 3 in production.
    replication: Count = 1
    #: The consumer group of the workers.
    group: str = "wallet-worker"
    #: Put before every topic's name, so that several wallets can share a cluster.
    topic_prefix: str = ""

    #: Most commands in one database transaction; 5,000 was measured as best.
    batch_max: Count = 5000
    #: How long a published batch stays in the outbox, against a broker that loses its tail.
    outbox_keep_seconds: Seconds = 86400.0
    #: Port of the worker's metrics and health; 0 takes a free one.
    worker_port: Port = 0
    #: Address on which the worker serves them.
    worker_host: str = "127.0.0.1"

    #: mainnet, testnet or regtest: decides which addresses are ours.
    network: Network = "regtest"
    #: Account extended public key (xpub/tpub/dgub/tgub) from which deposit addresses are derived.
    #: After a rotation those of former accounts too, with commas between them; the rules say which
    #: account new addresses come from, and the first is that of a new database.
    account_xpub: str = ""

    #: Dogecoin Core's RPC, as http://HOST:PORT.
    node_url: str = ""
    #: Its user, where it has one; else the cookie's file says who.
    node_user: str = ""
    #: Its user's password.
    node_password: str = ""
    #: Core's own `.cookie`, where no user is set.
    node_cookie: str = ""
    #: A second node, run by somebody else if possible: a deposit is credited only when both agree
    #: on its block. Given as http://USER:PASSWORD@HOST:PORT.
    node_second_url: str = ""
    #: How long one call of a node may take.
    node_timeout_seconds: Seconds = 30.0
    #: Between two looks for a new block, or for withdrawals to pay.
    poll_seconds: Seconds = 2.0
    #: The block to start following at: none of our addresses is older. Fixed by the first start.
    birthday_height: Annotated[int, msgspec.Meta(ge=0)] = 0
    #: A fork that is deeper stops the watcher until an operator has looked.
    reorganisation_max: Count = 120
    #: Port of the watcher's metrics and health; 0 takes a free one.
    watcher_port: Port = 0
    #: Address on which the watcher serves them.
    watcher_host: str = "127.0.0.1"

    #: The secret in AWS Secrets Manager with the account's private key; the payer alone reads it.
    #: One for each account, with commas between them, in any order.
    account_secret: str = ""
    #: AWS endpoint, where it is not AWS itself.
    aws_endpoint_url: str = ""
    #: AWS region.
    aws_region: str = ""
    #: Most withdrawals in one transaction.
    payout_withdrawals_max: Annotated[int, msgspec.Meta(ge=1, le=2000)] = 200
    #: How long the oldest withdrawal waits for others to share its transaction.
    payout_wait_seconds: Annotated[float, msgspec.Meta(ge=0)] = 10.0
    #: Least of a fee for 1,000 bytes, in DOGE, paid also where the node knows none.
    fee_rate: str = "0.01000000"
    #: Most of a fee for 1,000 bytes, in DOGE, whatever the node says.
    fee_rate_max: str = "1.00000000"
    #: Most of a fee for one transaction, in DOGE.
    fee_max: str = "10.00000000"
    #: Blocks after which a withdrawal counts as paid for good.
    withdrawal_confirmations: Count = 6
    #: Blocks after which a transaction that conflicts with ours has won for good.
    conflict_confirmations: Count = 60
    #: A transaction of ours that is not in a block after so long gets a higher fee.
    bump_seconds: Seconds = 3600.0
    #: Seconds after which a transaction of ours is sent again, if no block came meanwhile.
    rebroadcast_seconds: Seconds = 600.0
    #: Port of the payer's metrics and health; 0 takes a free one.
    payer_port: Port = 0
    #: Address on which the payer serves them.
    payer_host: str = "127.0.0.1"

    #: The bus of EventBridge that the bridge puts events on.
    event_bus: str = "default"
    #: The `Source` that its entries have.
    event_source: str = "wallet"
    #: The consumer group of the bridges.
    bridge_group: str = "wallet-bridge"
    #: Most calls of PutEvents under way at a time.
    bridge_calls: Count = 8
    #: Most events that the bridge holds; it reads no further while they wait for AWS.
    bridge_buffer: Count = 10000
    #: Port of the bridge's metrics and health; 0 takes a free one.
    bridge_port: Port = 0
    #: Address on which the bridge serves them.
    bridge_host: str = "127.0.0.1"

    #: The consumer group of the views, and the id of their Faust app.
    views_group: str = "wallet-views"
    #: Port of the views' JSON, metrics and health; 0 takes a free one.
    views_port: Port = 0
    #: Address on which the views serve them; they name users, so keep it to yourself.
    views_host: str = "127.0.0.1"
    #: File of the rules of alerts, where they are not our own (`streams/views/rules.toml`).
    views_rules: str = ""
    #: Between two looks at lag and hot wallet.
    views_look_seconds: Seconds = 5.0
    #: How long a dead member of the views keeps its partitions.
    views_session_seconds: Annotated[float, msgspec.Meta(ge=6)] = 10.0

    #: Where the API listens.
    api_host: str = "127.0.0.1"
    #: 0 takes a free port.
    api_port: Port = 8003
    #: How long a POST waits for its outcome before it answers 202.
    api_wait_seconds: Seconds = 5.0
    #: Requests a minute for one caller; 0 switches the limit off.
    api_rate_per_minute: Annotated[int, msgspec.Meta(ge=0)] = 600
    #: Largest request body.
    api_body_max_bytes: Count = 16384
    #: File of the certificate chain, where the API itself speaks TLS.
    api_tls_certificate: str = ""
    #: File of the certificate's private key.
    api_tls_key: str = ""

    #: The `iss` that a token must have.
    jwt_issuer: str = "wallet"
    #: The `aud` that a token must have.
    jwt_audience: str = "wallet"
    #: Shared secret of HS256; no default, so that no deployment runs on a known one.
    jwt_secret: str = ""
    #: File or https URL of a JWKS with RS256/ES256 keys.
    jwt_jwks: str = ""

    # Seed of the first version of the rules; afterwards ``set_rules`` alone changes them.
    #: The house's share of a sale, in hundredths of a percent.
    rules_escrow_fee_basis_points: Annotated[int, msgspec.Meta(ge=0, le=10000)] = 250
    #: What a withdrawal costs on top of its amount, in DOGE.
    rules_withdrawal_fee: str = "1.00000000"
    #: Smallest withdrawal, in DOGE.
    rules_withdrawal_minimum: str = "10.00000000"
    #: Largest withdrawal, in DOGE.
    rules_withdrawal_maximum: str = "1000000.00000000"
    #: Smallest deposit that is credited, in DOGE.
    rules_deposit_minimum: str = "1.00000000"
    #: Confirmations by the exposure of a user's recent deposits, as "CONFIRMATIONS[@FROM_AMOUNT]".
    rules_confirmations: str = "20,40@100000,60@1000000"

    #: DEBUG, INFO, WARNING, ERROR or CRITICAL.
    log_level: LogLevel = "INFO"

    #: Settings of librdkafka, from ``WALLET_KAFKA_*``.
    kafka: dict[str, str] = {}

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the settings; raises ``SettingsError`` naming the variable that is wrong."""
        source = os.environ if environ is None else environ
        known = set(cls.__struct_fields__) - {"kafka"}
        values: dict[str, object] = {}
        kafka: dict[str, str] = {}
        for name, value in _with_files_read(source, known).items():
            if name.startswith(KAFKA_PREFIX):
                kafka[name[len(KAFKA_PREFIX) :].lower().replace("_", ".")] = value
            elif name.startswith(PREFIX):
                field = name[len(PREFIX) :].lower()
                if field not in known:
                    raise SettingsError(
                        f"{name} is not a setting; `wallet settings --all` lists those there are."
                    )
                values[field] = value
        try:
            return msgspec.convert({**values, "kafka": kafka}, cls, strict=False)
        except msgspec.ValidationError as error:
            field = str(error).rpartition("$.")[2].rstrip("`").upper()
            raise SettingsError(f"{PREFIX}{field} cannot be read: {error}") from None

    def require(self, *fields: str) -> None:
        """Raise ``SettingsError`` if one of the named settings is empty."""
        where = (
            "`wallet up` starts everything embedded. If it runs in another folder, set WALLET_HOME "
            "to that folder's .wallet."
        )
        for field in fields:
            if field == "kafka":
                if not self.kafka.get("bootstrap.servers"):
                    raise SettingsError(f"WALLET_KAFKA_BOOTSTRAP_SERVERS is not set; {where}")
            elif not getattr(self, field):
                raise SettingsError(f"{PREFIX}{field.upper()} is not set; {where}")

    def __repr__(self) -> str:
        """What ``redacted`` shows: a traceback or a log may print a settings object."""
        return f"Settings({self.redacted()})"

    def redacted(self) -> dict[str, str]:
        """Variable name to value as an operator may see it: secrets and passwords are starred."""
        shown = {
            f"{PREFIX}{field.upper()}": str(getattr(self, field))
            for field in self.__struct_fields__
            if field != "kafka"
        }
        shown |= {
            KAFKA_PREFIX + key.upper().replace(".", "_"): value for key, value in self.kafka.items()
        }
        return {name: _redact(name, value) for name, value in shown.items()}


def is_secret(name: str) -> bool:
    """Whether a variable's value is never printed."""
    return _SECRET.search(name) is not None


def _with_files_read(source: Mapping[str, str], known: set[str]) -> dict[str, str]:
    """The variables, each ``NAME_FILE`` replaced by ``NAME`` with its file's content."""
    values: dict[str, str] = {}
    for given, value in source.items():
        name = given.removesuffix("_FILE")
        if name == given or not _may_be_in_a_file(name, known):
            values[given] = value
        elif name in source:
            raise SettingsError(f"{name} and {given} are both set: keep one of them.")
        else:
            values[name] = _content(given, value)
    return values


def _may_be_in_a_file(name: str, known: set[str]) -> bool:
    # librdkafka has settings of its own that end in `.file`; none of them is a secret's name.
    if name.startswith(KAFKA_PREFIX):
        return is_secret(name)
    return name.startswith(PREFIX) and name[len(PREFIX) :].lower() in known


def _content(name: str, path: str) -> str:
    """The file's text without the line's end that editors put after it."""
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingsError(f"{name} names {path}, which cannot be read: {reason}") from None


def _redact(name: str, value: str) -> str:
    if value and is_secret(name):
        return "********"
    return _IN_ADDRESS.sub(lambda found: f"{found[1] or found[2]}********", value)
