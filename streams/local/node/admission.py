"""Who may wait in the mempool: the checks of AcceptToMemoryPoolWorker, in its order.

Left out are the free area for old coins (``-relaypriority``), BIP 68, and fees of a full mempool.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from streams.local.node.blocks import Carried
from streams.local.node.chain import Chain
from streams.local.node.interpreter import ScriptFailed, verify_input
from streams.local.node.opcodes import is_push_only, is_standard_output, kind_of
from streams.local.node.pool import Pool, Waiting
from streams.local.node.rules import (
    ANCESTORS_MAX,
    ANCESTORS_SIZE_MAX,
    DATA_CARRIER_MAX,
    DESCENDANTS_MAX,
    REPLACED_MAX,
    SCRIPT_SIG_MAX,
    STANDARD_SIZE_MAX,
    STANDARD_VERSION_MAX,
    Rules,
    fee_at,
)
from streams.local.node.store import Coin

#: A sequence below this lets others replace the transaction (BIP 125).
_REPLACEABLE_BELOW = 0xFFFFFFFE


class Code(IntEnum):
    """Core's numbers for why something is refused (consensus/validation.h, validation.h)."""

    INVALID = 0x10
    SPENT = 0x12
    NONSTANDARD = 0x40
    FEE = 0x42
    HIGH_FEE = 0x100
    KNOWN = 0x101
    CONFLICT = 0x102


class Refused(Exception):
    """Not admitted; the text is what Core says after the code."""

    def __init__(self, code: Code, reason: str) -> None:
        self.code = code
        self.reason = reason
        super().__init__(f"{code:d}: {reason}")


class MissingInputs(Exception):
    """It spends from a transaction that this node does not know, or of which nothing is left."""


@dataclass(frozen=True)
class Admitted:
    """What is known of a transaction that may wait."""

    fee: int
    #: What it takes the place of, with all that hangs on it.
    replaced: frozenset[str]


class Door:
    """Decides about transactions; changes nothing."""

    def __init__(self, chain: Chain, pool: Pool, rules: Rules) -> None:
        self._chain = chain
        self._pool = pool
        self._rules = rules

    def admit(self, carried: Carried, *, fee_max: int | None) -> Admitted:
        """Whether a transaction may wait; raises ``Refused`` or ``MissingInputs``."""
        self._check_form(carried)
        if carried.txid in self._pool.entries:
            raise Refused(Code.KNOWN, "txn-already-in-mempool")
        conflicts = self._conflicts(carried)
        coins = self.coins(carried)
        fee = sum(coin.amount for coin in coins) - sum(out.amount for out in carried.body.outputs)
        size = len(carried.raw)
        self._check_input_kinds(carried, coins)
        if fee < fee_at(self._rules.relay_fee, size):
            raise Refused(Code.FEE, "insufficient priority")
        if fee_max is not None and fee > fee_max:
            raise Refused(Code.HIGH_FEE, "absurdly-high-fee")
        self._check_lineage(carried, conflicts)
        replaced = self._check_replacement(carried, fee, conflicts)
        self.check_maturity(coins)
        self._check_scripts(carried, coins)
        return Admitted(fee, frozenset(replaced))

    def coins(self, carried: Carried) -> list[Coin]:
        """What it spends, from the chain or from what waits."""
        height = self._chain.height + 1
        coins = []
        for each in carried.body.inputs:
            if each.txid not in self._pool.entries and not self._chain.store.has_coins(each.txid):
                raise MissingInputs
        for each in carried.body.inputs:
            outpoint = (each.txid, each.vout)
            coin = self._pool.coin(outpoint, height) or self._chain.store.coin(outpoint)
            if coin is None:
                raise Refused(Code.SPENT, "bad-txns-inputs-spent")
            coins.append(coin)
        return coins

    def check_maturity(self, coins: list[Coin]) -> None:
        """New coins must have aged before the next block may spend them."""
        height = self._chain.height + 1
        for coin in coins:
            if coin.coinbase and height - coin.height < self._rules.maturity:
                raise Refused(Code.INVALID, "bad-txns-premature-spend-of-coinbase")

    def _check_form(self, carried: Carried) -> None:
        """CheckTransaction and IsStandardTx."""
        body = carried.body
        if len({(each.txid, each.vout) for each in body.inputs}) != len(body.inputs):
            raise Refused(Code.INVALID, "bad-txns-inputs-duplicate")
        if carried.is_coinbase:
            raise Refused(Code.INVALID, "coinbase")
        if not 1 <= body.version <= STANDARD_VERSION_MAX:
            raise Refused(Code.NONSTANDARD, "version")
        if len(carried.raw) >= STANDARD_SIZE_MAX:
            raise Refused(Code.NONSTANDARD, "tx-size")
        for each in body.inputs:
            if len(each.script_sig) > SCRIPT_SIG_MAX:
                raise Refused(Code.NONSTANDARD, "scriptsig-size")
            if not is_push_only(each.script_sig):
                raise Refused(Code.NONSTANDARD, "scriptsig-not-pushonly")
        self._check_outputs(carried)
        chain = self._chain
        if not chain.is_final(carried, chain.height + 1, chain.median_time(chain.height)):
            raise Refused(Code.NONSTANDARD, "non-final")

    def _check_outputs(self, carried: Carried) -> None:
        data_outputs = 0
        for output in carried.body.outputs:
            if not is_standard_output(output.script, self._rules.network, DATA_CARRIER_MAX):
                raise Refused(Code.NONSTANDARD, "scriptpubkey")
            if output.script[:1] == b"\x6a":
                data_outputs += 1
            elif output.amount < self._rules.hard_dust:
                raise Refused(Code.NONSTANDARD, "dust")
        if data_outputs > 1:
            raise Refused(Code.NONSTANDARD, "multi-op-return")

    def _conflicts(self, carried: Carried) -> set[str]:
        conflicts = self._pool.conflicts(carried)
        for txid in conflicts:
            inputs = self._pool.entries[txid].carried.body.inputs
            if all(each.sequence >= _REPLACEABLE_BELOW for each in inputs):
                raise Refused(Code.CONFLICT, "txn-mempool-conflict")
        return conflicts

    def _check_input_kinds(self, carried: Carried, coins: list[Coin]) -> None:
        for coin in coins:
            if kind_of(coin.script, self._rules.network).name == "nonstandard":
                raise Refused(Code.NONSTANDARD, "bad-txns-nonstandard-inputs")

    def _check_lineage(self, carried: Carried, conflicts: set[str]) -> None:
        """Limits of count and size over all that waits before it (CalculateMemPoolAncestors)."""
        entries = self._pool.entries
        ancestors = self._pool.ancestors(carried)
        size = len(carried.raw) + sum(entries[txid].size for txid in ancestors)
        too_many = len(ancestors) + 1 > ANCESTORS_MAX or size > ANCESTORS_SIZE_MAX
        # Itself, the ancestor, and what hangs on the ancestor already.
        if too_many or any(
            len(self._pool.descendants(txid)) + 2 > DESCENDANTS_MAX for txid in ancestors
        ):
            raise Refused(Code.NONSTANDARD, "too-long-mempool-chain")
        if conflicts & set(ancestors):
            raise Refused(Code.INVALID, "bad-txns-spends-conflicting-tx")

    def _check_replacement(self, carried: Carried, fee: int, conflicts: set[str]) -> set[str]:
        """BIP 125's rules for those that ask to be replaced; all that would go."""
        if not conflicts:
            return set()
        size = len(carried.raw)
        direct = [self._pool.entries[txid] for txid in conflicts]
        if any(fee * old.size <= old.fee * size for old in direct):
            raise Refused(Code.FEE, "insufficient fee")
        if sum(len(self._pool.descendants(txid)) + 1 for txid in conflicts) > REPLACED_MAX:
            raise Refused(Code.NONSTANDARD, "too many potential replacements")
        known = {each.txid for old in direct for each in old.carried.body.inputs}
        if any(parent not in known for parent in self._pool.parents(carried)):
            raise Refused(Code.NONSTANDARD, "replacement-adds-unconfirmed")
        gone = {after for txid in conflicts for after in (txid, *self._pool.descendants(txid))}
        added = fee - sum(self._pool.entries[txid].fee for txid in gone)
        if added < fee_at(self._rules.increment_fee, size):
            raise Refused(Code.FEE, "insufficient fee")
        return gone

    def _check_scripts(self, carried: Carried, coins: list[Coin]) -> None:
        try:
            self._run_scripts(carried, coins, standard=True)
        except ScriptFailed as error:
            try:
                self._run_scripts(carried, coins, standard=False)
            except ScriptFailed:
                said = f"mandatory-script-verify-flag-failed ({error})"
                raise Refused(Code.INVALID, said) from None
            said = f"non-mandatory-script-verify-flag ({error})"
            raise Refused(Code.NONSTANDARD, said) from None
        self._chain.checked(carried.txid)

    def _run_scripts(self, carried: Carried, coins: list[Coin], *, standard: bool) -> None:
        for index, coin in enumerate(coins):
            verify_input(carried.body, index, coin.script, standard=standard)


def is_relayed(waiting: Waiting, rules: Rules) -> bool:
    """Whether peers pass it on, which one's own node does not check (GetDogecoinMinRelayFee)."""
    dust = sum(out.amount < rules.soft_dust for out in waiting.carried.body.outputs)
    return waiting.fee >= fee_at(rules.relay_fee, waiting.size) + dust * rules.soft_dust
