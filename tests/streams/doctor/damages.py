"""What may be done to the books behind the service's back, and which check has to find it."""

from __future__ import annotations

from typing import Final

from tests.streams.doctor.looking import case_of
from tests.support.story import ANN, BOB, CAT, DAN, KEYRING

WALLET: Final = f"UPDATE wallets SET %s WHERE user_id = '{ANN}'"
ONE_ENTRY: Final = (
    "(SELECT id FROM entries WHERE entry_type = 'BID_LOCK' AND credit > 0 ORDER BY id LIMIT 1)"
)
_ONE_REFUSAL: Final = (
    "(SELECT id FROM commands WHERE code = 'insufficient_funds' ORDER BY id LIMIT 1)"
)

DAMAGES: Final = {
    "a partition that is halted": case_of(
        "halted",
        "the log ends",
        "UPDATE partitions SET halted = 'the log ends at 3' WHERE topic = 0 AND partition = 0",
    ),
    "a partition moved on": case_of(
        "offsets",
        "the last slice ends at offset",
        "UPDATE partitions SET next_offset = next_offset + 1 WHERE topic = 0 AND last_offset > 3",
    ),
    "a slice taken out": case_of(
        "offsets",
        "offsets are applied, but there are no slices",
        "DELETE FROM batch_slices WHERE (topic, partition) = (SELECT topic, partition FROM"
        " batch_slices GROUP BY 1, 2 ORDER BY count(*) LIMIT 1)",
        also="outcomes, outbox, chain",
    ),
    "slices that overlap": case_of(
        "offsets",
        "but the slice before ends at",
        "UPDATE batch_slices SET first_offset = first_offset - 1 WHERE (topic, partition,"
        " first_offset) = (SELECT s.topic, s.partition, s.first_offset FROM batch_slices s"
        " JOIN batch_slices b ON b.topic = s.topic AND b.partition = s.partition"
        " AND b.last_offset = s.first_offset - 1 AND b.first_offset < b.last_offset"
        " ORDER BY 1, 2, 3 LIMIT 1)",
        also="outbox",
    ),
    "a chain cut off": case_of(
        "offsets",
        "not the partition's",
        "UPDATE partitions SET chain = decode(repeat('11', 32), 'hex')"
        " WHERE topic = 2 AND last_offset IS NOT NULL",
    ),
    "an outcome deleted": case_of(
        "outcomes",
        "outcomes are counted",
        f"DELETE FROM commands WHERE id = {_ONE_REFUSAL}",
        also="counters, chain",
    ),
    "a dead letter moved": case_of(
        "outcomes",
        "outside of its batch's slices",
        'UPDATE dead_letters SET "offset" = "offset" + 1000',
    ),
    "a batch deleted": case_of(
        "outcomes",
        "but no such batch",
        "DELETE FROM batches WHERE id = (SELECT max(id) FROM batches)",
    ),
    "an outbox row of nothing": case_of(
        "outbox",
        "is what this row would publish",
        "INSERT INTO outbox (batch_id, topic, partition, first_offset, last_offset, frames)"
        " VALUES (99, 0, 0, 5000, 5001, '')",
    ),
    "rules put in force by hand": case_of(
        "rules", "version 1 is in force", "UPDATE rules_head SET version = 1"
    ),
    "rules that nobody set": case_of(
        "rules",
        "no accepted command made it",
        "INSERT INTO rules (version, data) SELECT 4, data FROM rules WHERE version = 3",
        "UPDATE rules_head SET version = 4",
    ),
    "an entry that moves more": case_of(
        "balanced",
        "its entries debit",
        f"UPDATE entries SET credit = credit + 1 WHERE id = {ONE_ENTRY}",
        also="balances, running balances, chain",
    ),
    "money made by hand": case_of(
        "balances",
        "the wallet says",
        WALLET % "available = available + 100",
        also="running balances",
    ),
    "a wallet made by hand": case_of(
        "counters",
        "it is at version 5; 0 acceptances",
        "INSERT INTO wallets (user_id, version, opened_at)"
        " VALUES ('eeeeeeee-eeee-4eee-8eee-eeeeeeeeeeee', 5, now())",
    ),
    "an event too many": case_of(
        "counters", "events are counted", WALLET % "sequence = sequence + 1"
    ),
    "a wallet deleted": case_of(
        "counters",
        "there are outcomes, but no wallet",
        f"DELETE FROM wallets WHERE user_id = '{ANN}'",
        also="balances, holds, addresses, running balances",
    ),
    "a lock raised": case_of(
        "holds",
        "locks add up to",
        f"UPDATE locks SET amount = amount + 1 WHERE user_id = '{BOB}'",
        also="locks as told",
    ),
    "an escrow that holds more": case_of(
        "holds",
        "escrows add up to",
        f"UPDATE escrows SET remaining = remaining + 1, amount = amount + 1"
        f" WHERE buyer_id = '{ANN}' AND status = 'LOCKED' AND order_id = 'o-1'",
        also="escrows, escrows as told",
    ),
    "an open withdrawal of more": case_of(
        "holds",
        "open withdrawals add up to",
        f"UPDATE withdrawals SET amount = amount + 1 WHERE user_id = '{ANN}'"
        " AND status = 'BROADCAST'",
        also="withdrawals, withdrawals as told",
    ),
    "a debt forgiven by hand": case_of(
        "shortfalls",
        "by the entries of the house's shortfall account",
        f"UPDATE wallets SET shortfall = shortfall - 1 WHERE user_id = '{CAT}'",
    ),
    "a debt moved to another": case_of(
        "shortfalls",
        "owes 1 koinu, by the entries of the house's shortfall account 0",
        "ALTER TABLE wallets DROP CONSTRAINT wallets_nothing_available_while_owing",
        f"UPDATE wallets SET shortfall = shortfall - 1 WHERE user_id = '{CAT}'",
        f"UPDATE wallets SET shortfall = shortfall + 1 WHERE user_id = '{ANN}'",
        also="guards",
    ),
    "a debtor with money": case_of(
        "shortfalls",
        "are available although",
        "ALTER TABLE wallets DROP CONSTRAINT wallets_nothing_available_while_owing",
        f"UPDATE wallets SET available = 5 WHERE user_id = '{CAT}'",
        also="balances, running balances, guards",
    ),
    "revenue that was never earned": case_of(
        "house",
        "more went out than ever came in",
        "UPDATE entries SET debit = 50000000000 WHERE account = 'fees' AND entry_type = 'REVENUE'",
        also="balanced, chain",
    ),
    "money in suspense": case_of(
        "house",
        "unexplained",
        "UPDATE entries SET account = 'suspense' WHERE account = 'capital'",
        also="chain",
    ),
    "a deposit credited once more": case_of(
        "deposits",
        "but entries credit",
        "UPDATE deposits SET creditings = creditings + 1 WHERE creditings = 1",
        also="deposits as told",
    ),
    "a deposit of another address": case_of(
        "deposits",
        "no address of its user",
        f"UPDATE deposits SET address = (SELECT min(address) FROM deposit_addresses"
        f" WHERE user_id <> '{ANN}') WHERE user_id = '{ANN}'",
        also="deposits as told",
    ),
    "a reversal that left no trace": case_of(
        "deposits",
        "but entries reverse",
        f"UPDATE deposits SET status = 'reversed' WHERE user_id = '{ANN}'",
        also="deposits as told",
    ),
    "a withdrawal called paid": case_of(
        "withdrawals",
        "but its entries hold",
        "UPDATE withdrawals SET status = 'CONFIRMED', txid = 'x' WHERE status = 'PENDING'",
        also="holds, withdrawals as told",
    ),
    "a paid withdrawal of more": case_of(
        "withdrawals",
        "but entries paid",
        "UPDATE withdrawals SET amount = amount + 1 WHERE status = 'CONFIRMED'",
        also="withdrawals as told",
    ),
    "a withdrawal led to another address": case_of(
        "withdrawals as told",
        "but was requested as 50.00000000 DOGE to",
        "UPDATE withdrawals SET destination_address = 'mfWxJ45yp2SFn7UciZyNpvDKrzbhyfKrY8'"
        " WHERE status = 'PENDING'",
    ),
    "a withdrawal of more for less of a fee": case_of(
        "withdrawals as told",
        "but was requested as",
        "UPDATE withdrawals SET amount = amount + 1, fee = fee - 1 WHERE status = 'BROADCAST'",
    ),
    "a withdrawal on its way that can be cancelled again": case_of(
        "withdrawals as told",
        "it is PENDING (-), but the last command made it BROADCAST",
        "UPDATE withdrawals SET status = 'PENDING', txid = NULL WHERE status = 'BROADCAST'",
    ),
    "a withdrawal that nobody requested": case_of(
        "withdrawals",
        "no accepted request_withdrawal",
        "UPDATE commands SET type = 'cancel_withdrawal' WHERE type = 'request_withdrawal'"
        " AND outcome = 'accepted'",
        also="chain",
    ),
    "an escrow that released more": case_of(
        "escrows",
        "gross released",
        "UPDATE escrows SET released = released + 1, amount = amount + 1 WHERE order_id = 'o-4'",
        also="escrows as told",
    ),
    "an escrow with another seller": case_of(
        "escrows as told",
        "but it was made for order",
        f"UPDATE escrows SET seller_id = '{DAN}' WHERE order_id = 'o-1'",
    ),
    "an escrow with a higher fee": case_of(
        "escrows as told",
        "but the last command told",
        "UPDATE escrows SET fee_amount = fee_amount + 1 WHERE order_id = 'o-1'",
    ),
    "an escrow disputed by hand": case_of(
        "escrows as told",
        "it is DISPUTED, but the last command made it LOCKED",
        "UPDATE escrows SET status = 'DISPUTED', dispute_reason = 'x' WHERE order_id = 'o-1'",
    ),
    "a lock moved to another auction": case_of(
        "locks as told",
        "no accepted command locked anything there",
        f"INSERT INTO locks VALUES ('{BOB}', 'auction', 'a-9', 5000000000)",
        f"UPDATE locks SET amount = 0 WHERE user_id = '{BOB}' AND reference_id = 'a-2'",
    ),
    "a lock filled again after its conversion": case_of(
        "locks as told",
        "but the last command left 80.00000000 DOGE",
        f"UPDATE locks SET amount = 1 WHERE user_id = '{ANN}' AND reference_id = 'a-1'",
        also="holds",
    ),
    "a deposit moved to another user": case_of(
        "deposits as told",
        "but the last command told of 1000.00000000 DOGE for",
        f"UPDATE deposits SET user_id = '{BOB}', address = (SELECT address FROM deposit_addresses"
        f" WHERE user_id = '{BOB}') WHERE user_id = '{ANN}' AND height = 101",
    ),
    "a deposit in another block": case_of(
        "deposits as told",
        "but the last command told credited in",
        "UPDATE deposits SET height = height + 1 WHERE status = 'credited'",
    ),
    "an address given to another user": case_of(
        "addresses as told",
        f"it was never assigned to {CAT}",
        f"UPDATE deposit_addresses SET user_id = '{CAT}', active = false"
        f" WHERE user_id = '{DAN}' AND derivation_index = 3",
    ),
    "an old address shown again": case_of(
        "addresses as told",
        "is shown another one than the last command told",
        f"UPDATE deposit_addresses SET active = false WHERE user_id = '{DAN}'",
        f"UPDATE deposit_addresses SET active = true WHERE user_id = '{DAN}'"
        " AND derivation_index = 3",
    ),
    "a freeze lifted by hand": case_of(
        "freezes as told",
        "it is not frozen, but the last command of an operator was freeze_wallet",
        f"UPDATE wallets SET frozen_by_operator = false WHERE user_id = '{BOB}'",
    ),
    "a wallet that lives in the future": case_of(
        "counters", "but its last outcome or sale was at", WALLET % "time = time + interval '1 y'"
    ),
    "a wallet that is older than it was": case_of(
        "counters",
        "but its first acceptance or sale was at",
        WALLET % "opened_at = opened_at - interval '1 y'",
    ),
    "a limit raised in the rules": case_of(
        "rules as told",
        "it is not what set_rules makes of version 1",
        "UPDATE rules SET data = replace(data::text, '\"withdrawal_maximum\":',"
        " '\"withdrawal_maximum\":9')::json WHERE version = 2",
        "UPDATE rules SET data = replace(data::text, '\"withdrawal_maximum\":',"
        " '\"withdrawal_maximum\":9')::json WHERE version = 3",
    ),
    "a fee lowered beside a rotation": case_of(
        "rules as told",
        "it is not what rotate_account makes of version 2",
        "UPDATE rules SET data = replace(data::text, '\"withdrawal_fee\":',"
        " '\"withdrawal_fee\":9')::json WHERE version = 3",
    ),
    "a generation that nothing was applied of": case_of(
        "offsets",
        "but the partition goes on at",
        "UPDATE partitions SET generation = 2 WHERE topic = 2 AND last_offset IS NOT NULL",
    ),
    "a miner's fee counted again": case_of(
        "network fees",
        "3 postings are counted, 1 are there",
        "UPDATE network_fees SET postings = 3 WHERE posted",
    ),
    "triggers switched off": case_of(
        "guards",
        "it is switched off",
        "ALTER TABLE entries DISABLE TRIGGER entries_balanced",
    ),
    "a trigger that does nothing": case_of(
        "guards",
        "not as this release made it",
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RETURN NEW; END $$",
    ),
    "a constraint lost": case_of(
        "guards",
        "it is not there",
        "ALTER TABLE wallets DROP CONSTRAINT wallets_available_not_negative",
    ),
    "a constraint that never looked back": case_of(
        "guards",
        "were never held to it",
        "ALTER TABLE escrows DROP CONSTRAINT escrows_parts_add_up",
        "ALTER TABLE escrows ADD CONSTRAINT escrows_parts_add_up CHECK (released >= 0) NOT VALID",
    ),
    "keys that may come twice": case_of(
        "guards",
        "it lets the same twice in",
        "DROP INDEX commands_first_of_key",
        "CREATE INDEX commands_first_of_key ON commands (user_id, topic, idempotency_key)",
    ),
    "a worker who may change what is written": case_of(
        "guards",
        "may change or delete what is only ever added",
        "GRANT UPDATE (debit) ON entries TO wallet_worker",
    ),
    "a miner's fee taken back": case_of(
        "network fees",
        "but entries paid",
        "UPDATE network_fees SET posted = false WHERE posted",
    ),
    "an index skipped": case_of(
        "addresses", "not dense", "UPDATE address_counters SET next_index = next_index + 1"
    ),
    "an address swapped": case_of(
        "derivation",
        "the account's address 0 is",
        "UPDATE deposit_addresses SET address = 'mfWxJ45yp2SFn7UciZyNpvDKrzbhyfKrY8'"
        f" WHERE derivation_index = 0 AND account_key = '{KEYRING.first.fingerprint}'",
        also="deposits, addresses as told",
    ),
    "a replay of something else": case_of(
        "keys",
        "the requests are different",
        "UPDATE commands SET request_hash = decode(repeat('22', 16), 'hex')"
        " WHERE outcome = 'replayed'",
        also="chain",
    ),
    "a replay of nothing": case_of(
        "keys",
        "is not there",
        "UPDATE commands SET first_id = 'eeeeeeee-eeee-4eee-8eee-eeeeeeeeeeee'"
        " WHERE outcome = 'key_reused'",
        also="chain",
    ),
    "entries of a refused command": case_of(
        "references",
        "no accepted command",
        "UPDATE commands SET outcome = 'rejected', code = 'self_dealing' WHERE type = 'fund'"
        " AND outcome = 'accepted'",
        also="counters, chain",
    ),
    "a running balance written over": case_of(
        "running balances",
        "goes from",
        f"UPDATE entries SET balance_after = balance_after + 7 WHERE id = {ONE_ENTRY}",
        also="chain",
    ),
    "an entry's reference changed": case_of(
        "chain",
        "not as it was written",
        f"UPDATE entries SET reference_id = 'a-2' WHERE id = {ONE_ENTRY}",
    ),
    "an entry added with its opposite": case_of(
        "chain",
        "2 and 4 are there",
        "INSERT INTO entries (id, command_id, user_id, account, entry_type, debit, credit,"
        " created_at) SELECT (left(id::text, 35) || (CASE debit WHEN 0 THEN 8 ELSE 9 END))::uuid,"
        " command_id, user_id, account, entry_type, debit, credit, created_at"
        " FROM entries WHERE entry_type = 'CAPITAL'",
    ),
    "an outcome of no record": case_of(
        "chain",
        "in no slice",
        "UPDATE commands SET id = 'ffffffff-ffff-8fff-bfff-fffffc000000'"
        f" WHERE id = {_ONE_REFUSAL}",
    ),
}
