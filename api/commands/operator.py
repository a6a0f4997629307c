"""``wallet operator``: treasury commands by hand, and the ways out of a halted partition."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from api.commands.arguments import Commands, Whole
from api.commands.operating import Amount, User, database, reader, send, sending
from api.commands.operator_deposit import deposit
from api.commands.operator_partition import partition
from api.console import standard_output
from db.ledger.operating import house_balances, is_known, rules_history
from db.treasury.story import signed_as
from processors.dogecoin.derivation import AccountKeyUnusable
from processors.dogecoin.keyring import AccountUnknown
from processors.seed import keyring_of
from schemas.amounts import Koinu, format_amount
from schemas.commands import (
    HOUSE_COMMANDS,
    TOPIC_OF,
    CommandType,
    Data,
    FailWithdrawal,
    FreezeWallet,
    Fund,
    MoveCustody,
    RecordNetworkFee,
    RotateAccount,
    SetRules,
    UnfreezeWallet,
    WithdrawRevenue,
)
from schemas.envelope import decode_data
from schemas.ledger import HOUSE_ACCOUNTS, Account
from schemas.rejections import Malformed
from schemas.settings import Settings
from schemas.topics import CommandTopic
from streams.operator import desk
from streams.operator import rules as wording

_TREASURY = [kind.value for kind in CommandType if TOPIC_OF[kind] is CommandTopic.TREASURY]


@click.group("operator", cls=Commands)
def command() -> None:
    """Send treasury commands, and let halted partitions go on.

    Each command goes to wallet.commands.treasury like any other, keyed by the user it concerns or
    by the house, and is decided by the worker. It is shown and asked for before it is sent
    (--yes does not ask). Sent twice under one --key it is decided once; what has no key of its
    own by nature gets one that is printed.

    \b
    Exit codes: 0 accepted, 1 rejected or not sent, 3 unknown: no outcome in time, or no answer
    (send it again with the same --key).
    """


command.add_command(deposit)
command.add_command(partition)


def _send(
    kind: CommandType,
    data: Data,
    *,
    user: str | None = None,
    key: str | None,
    yes: bool,
    wait: float,
    as_json: bool,
) -> None:
    asked = desk.order(kind, data, user_id=user, key=key)
    send(Settings.from_environ(), asked, yes=yes, wait=wait, as_json=as_json)


@command.command("fund")
@click.argument("amount", type=Amount())
@sending
def fund(amount: Koinu, key: str | None, yes: bool, wait: float, as_json: bool) -> None:
    """Book AMOUNT of the owners' own coins into the hot wallet."""
    _send(CommandType.FUND, Fund(amount=amount), key=key, yes=yes, wait=wait, as_json=as_json)


@command.command("withdraw-revenue")
@click.argument("amount", type=Amount())
@click.option("--overdraw", is_flag=True, help="Also more than was earned.")
@sending
def withdraw_revenue(
    amount: Koinu, overdraw: bool, key: str | None, yes: bool, wait: float, as_json: bool
) -> None:
    """Book AMOUNT of earned fees out of the hot wallet.

    More than the fees that stand there is refused here, since the decision itself keeps no balance
    of the house; doctor would find it.
    """
    settings = Settings.from_environ()
    with database(reader(settings)) as connection:
        earned = -house_balances(connection).get(Account.FEES.value, 0)
    if amount > earned and not overdraw:
        raise click.ClickException(
            f"{format_amount(earned)} DOGE of fees stand there; --overdraw books more all the same"
        )
    data = WithdrawRevenue(amount=amount)
    _send(CommandType.WITHDRAW_REVENUE, data, key=key, yes=yes, wait=wait, as_json=as_json)


@command.command("move-custody")
@click.argument("amount", type=Amount())
@click.option("--to", "target", type=click.Choice(["cold", "chain"]), required=True)
@sending
def move_custody(
    amount: Koinu, target: str, key: str | None, yes: bool, wait: float, as_json: bool
) -> None:
    """Book AMOUNT that went from the hot wallet (chain) to cold storage, or back."""
    data = (
        MoveCustody(amount=amount, source="chain", target="cold")
        if target == "cold"
        else MoveCustody(amount=amount, source="cold", target="chain")
    )
    _send(CommandType.MOVE_CUSTODY, data, key=key, yes=yes, wait=wait, as_json=as_json)


@command.command("network-fee")
@click.argument("txid")
@click.argument("amount", type=Amount())
@click.option("--ordinal", type=Whole(1), default=1, show_default=True)
@click.option("--reverse", is_flag=True, help="Take that posting back.")
@sending
def network_fee(
    txid: str,
    amount: Koinu,
    ordinal: int,
    reverse: bool,
    key: str | None,
    yes: bool,
    wait: float,
    as_json: bool,
) -> None:
    """Post the miner's fee that the confirmed transaction TXID of ours really paid.

    A fee that was taken back is posted again with the next --ordinal.
    """
    data = RecordNetworkFee(txid=txid, amount=amount, ordinal=ordinal, reverse=reverse)
    what = "network-fee-reversal" if reverse else "network-fee"
    _send(
        CommandType.RECORD_NETWORK_FEE,
        data,
        key=key or f"{what}:{txid}:{ordinal}",
        yes=yes,
        wait=wait,
        as_json=as_json,
    )


def _refuse_if_unknown(user: str) -> None:
    """One letter wrong would freeze nobody, and open a wallet for nobody."""
    with database(reader(Settings.from_environ())) as connection:
        if is_known(connection, user):
            return
    raise click.ClickException(
        f"nobody has the id {user}: no command of this user was ever applied. "
        "--although-unknown sends it all the same"
    )


@command.command("freeze")
@click.argument("user", type=User())
@click.option("--reason", required=True, help="Shown in the event.")
@click.option(
    "--although-unknown",
    is_flag=True,
    help="Also a user of whom nothing came yet: a wallet is opened for them.",
)
@sending
def freeze(
    user: str,
    reason: str,
    although_unknown: bool,
    key: str | None,
    yes: bool,
    wait: float,
    as_json: bool,
) -> None:
    """Forbid USER to lock, pay, convert, request withdrawals, and have them claimed."""
    if not although_unknown:
        _refuse_if_unknown(user)
    data = FreezeWallet(reason=reason)
    _send(CommandType.FREEZE_WALLET, data, user=user, key=key, yes=yes, wait=wait, as_json=as_json)


@command.command("unfreeze")
@click.argument("user", type=User())
@sending
def unfreeze(user: str, key: str | None, yes: bool, wait: float, as_json: bool) -> None:
    """Lift an operator's freeze of USER; one that a shortfall brought lifts when it is repaid."""
    data = UnfreezeWallet()
    _send(
        CommandType.UNFREEZE_WALLET, data, user=user, key=key, yes=yes, wait=wait, as_json=as_json
    )


@command.command("set-rules")
@click.option("--escrow-fee-basis-points", metavar="N", help="Hundredths of a percent of a sale.")
@click.option("--withdrawal-fee", metavar="DOGE")
@click.option("--withdrawal-minimum", metavar="DOGE")
@click.option("--withdrawal-maximum", metavar="DOGE")
@click.option("--deposit-minimum", metavar="DOGE")
@click.option("--confirmations", metavar="N[@DOGE],…", help="By exposure, as 20,40@100000.")
@click.option(
    "--file",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="All rules as JSON: the data of a set_rules command.",
)
@sending
def set_rules(
    file: Path | None,
    key: str | None,
    yes: bool,
    wait: float,
    as_json: bool,
    **changes: str | None,
) -> None:
    """Change fees, limits and confirmations from the next command on.

    What is not named stays. The difference to the rules in force is shown before it is sent.
    """
    settings = Settings.from_environ()
    told = {name: text for name, text in changes.items() if text is not None}
    if (file is None) is not bool(told):
        raise click.UsageError("name what is to change, or give all of it by --file")
    with database(reader(settings)) as connection:
        present = next(version.rules for version in rules_history(connection) if version.in_force)
    try:
        data: SetRules = (
            wording.changed(present, told)
            if file is None
            else wording.from_document(file.read_bytes())
        )
    except Malformed as fault:
        raise click.ClickException(f"{fault.code.value}: {fault.detail}") from fault
    different = wording.differences(present, data)
    if not different:
        raise click.ClickException(f"version {present.version} of the rules says all of that")
    table = Table("rule", f"version {present.version}", "new", box=None)
    for line in different:
        table.add_row(*line)
    Console(stderr=True).print(table)
    _send(CommandType.SET_RULES, data, key=key, yes=yes, wait=wait, as_json=as_json)


@command.command("rotate-account")
@click.argument("account", metavar="ACCOUNT")
@sending
def rotate_account(account: str, key: str | None, yes: bool, wait: float, as_json: bool) -> None:
    """Derive all new addresses, and change, from ACCOUNT from the next command on.

    ACCOUNT is the fingerprint that `wallet keys generate` told. Before that, its public key must be
    in WALLET_ACCOUNT_XPUB of every process beside the present one's, and its secret in the payer's
    WALLET_ACCOUNT_SECRET: docs/runbooks/key-rotation.md.
    """
    settings = Settings.from_environ()
    try:
        keyring = keyring_of(settings)
        first = keyring.deposit_address(account, 0)
    except (AccountKeyUnusable, AccountUnknown) as fault:
        raise click.ClickException(str(fault)) from fault
    with database(reader(settings)) as connection:
        present = next(version.rules for version in rules_history(connection) if version.in_force)
    if present.account_key == account:
        raise click.ClickException(f"addresses are derived from account {account} already")
    table = Table("", "account", "its first address", box=None)
    former = present.account_key
    known = keyring.deposit_address(former, 0) if former in keyring else "unknown here"
    table.add_row("now", former, known)
    table.add_row("new", account, first)
    Console(stderr=True).print(table)
    data = RotateAccount(account_key=account)
    _send(CommandType.ROTATE_ACCOUNT, data, key=key, yes=yes, wait=wait, as_json=as_json)


@command.command("send")
@click.argument("kind", metavar="TYPE", type=click.Choice(_TREASURY))
@click.option("--user", type=User(), help="Whom it concerns; the house's commands need none.")
@click.option("--data", "document", default="{}", show_default=True, help="Its data as JSON.")
@click.option(
    "--although-signed",
    is_flag=True,
    help="Let a withdrawal fail though signed bytes pay it: whoever has them can still pay it.",
)
@sending
def send_any(
    kind: str,
    user: str | None,
    document: str,
    although_signed: bool,
    key: str | None,
    yes: bool,
    wait: float,
    as_json: bool,
) -> None:
    """Send any treasury command: what has no command of its own here, such as
    claim_withdrawal, record_broadcast or fail_withdrawal.

    docs/catalogue.md shows the data of each.
    """
    asked = CommandType(kind)
    if (asked in HOUSE_COMMANDS) is (user is not None):
        raise click.UsageError(f"{kind} {'concerns no' if user else 'needs a'} --user")
    try:
        data = decode_data(asked, document.encode())
        if isinstance(data, SetRules):
            wording.require_payable(data)
    except Malformed as fault:
        raise click.ClickException(f"{fault.code.value}: {fault.detail}") from fault
    if isinstance(data, FailWithdrawal) and not although_signed:
        _refuse_if_signed(data.withdrawal_id)
    _send(asked, data, user=user, key=key, yes=yes, wait=wait, as_json=as_json)


def _refuse_if_signed(withdrawal_id: str) -> None:
    """The user would get the money back, and perhaps the payment too."""
    with database(reader(Settings.from_environ())) as connection:
        txid = signed_as(connection, withdrawal_id)
    if txid is not None:
        raise click.ClickException(
            f"signed bytes pay withdrawal {withdrawal_id}, as transaction {txid}: they may be "
            "mined whenever somebody sends them, and it would be paid twice. The payer lets it "
            "fail by itself once they cannot (docs/runbooks/stuck-withdrawal.md); say "
            "--although-signed if you know better."
        )


@command.command("house")
def house() -> None:
    """Show what stands on the house's accounts, in DOGE."""
    with database(reader(Settings.from_environ())) as connection:
        debited = house_balances(connection)
    table = Table("account", "DOGE", "side", box=None)
    table.columns[1].justify = "right"
    owed = (Account.FEES, Account.CAPITAL)
    for account in HOUSE_ACCOUNTS:
        amount = debited.get(account.value, 0)
        side = "credit" if account in owed else "debit"
        table.add_row(account.value, format_amount(-amount if account in owed else amount), side)
    standard_output().print(table)
