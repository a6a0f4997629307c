"""Takes the digest of every slice again over its stored rows, and follows each partition's chain.

So a row that was changed, added or removed behind the triggers' back shows, and so does a slice
that was put in its place.
"""

from __future__ import annotations

from db.audit.snapshot import FIRST_MAX, Digested, KeyPlace, Snapshot, StoredSlice
from db.ledger.batches import CHAIN_START, chained
from processors.dogecoin.derivation import CHANGE_CHAIN
from processors.dogecoin.keyring import Keyring
from schemas.addresses import decode_address
from streams.doctor.report import Progress, Tally

CHAIN_SAYS = "stored rows give each slice's digest, and the digests each partition's chain"
ADDRESSES_SAYS = "every address, for deposits or change, is its account's own at its index"
_TELL_EVERY = 500


def check_chain(snapshot: Snapshot, progress: Progress) -> Tally:
    """All slices with all their rows: a reading of the whole ledger, in bounded memory."""
    tally = Tally("chain", FIRST_MAX)
    total = snapshot.slice_count()
    chains: dict[tuple[int, int], bytes] = {}
    for digested in snapshot.digests():
        _check_strays(digested, tally)
        part = digested.slice
        if part is None:
            continue
        tally.subjects += 1
        if tally.subjects % _TELL_EVERY == 0:
            progress("chain", tally.subjects, total)
        fault = _fault_of(digested, part)
        before = chains.get((part.topic, part.partition), CHAIN_START)
        if fault is None and chained(before, part.digest) != part.chain:
            fault = "its chain does not follow from the chain before and its digest"
        # Goes on from what is stored, so that one broken link is told once.
        chains[part.topic, part.partition] = part.chain
        if fault is not None:
            tally.find(name_of(part), fault)
    progress("chain", total, total)
    return tally


def _fault_of(digested: Digested, part: StoredSlice) -> str | None:
    if digested.digest == part.digest:
        return None
    if (digested.commands, digested.entries) != (part.commands, part.entries):
        return (
            f"it was written with {part.commands} outcomes and {part.entries} entries; "
            f"{digested.commands} and {digested.entries} are there"
        )
    return "a row of its outcomes or entries is not as it was written"


def _check_strays(digested: Digested, tally: Tally) -> None:
    if digested.strays:
        where = "the last slice" if digested.slice is None else f"before {name_of(digested.slice)}"
        tally.find(where, f"{digested.strays} outcomes or entries are in no slice")


def name_of(part: StoredSlice) -> str:
    """A slice in words."""
    return (
        f"topic {part.topic}, partition {part.partition}, batch {part.batch_id}, "
        f"offsets {part.first_offset}–{part.last_offset}"
    )


def check_addresses(snapshot: Snapshot, keyring: Keyring, progress: Progress) -> Tally:
    """Derive each address again: one that was put in another's place would take its deposits, or
    our change."""
    tally = Tally("derivation", FIRST_MAX)
    for place, address in snapshot.addresses():
        _count(tally, progress)
        _check_derived(tally, keyring, place, address)
    for script in snapshot.watched():
        _count(tally, progress)
        payload = decode_address(script.address)
        if payload is None or payload[1:] != script.public_key_hash:
            tally.find(
                script.address, f"the script watched for it is of {script.public_key_hash.hex()}"
            )
        # A deposit address is derived above, and another check knows that the two are the same.
        if script.place.chain == CHANGE_CHAIN:
            _check_derived(tally, keyring, script.place, script.address)
    return tally


def _count(tally: Tally, progress: Progress) -> None:
    tally.subjects += 1
    if tally.subjects % _TELL_EVERY == 0:
        progress("derivation", tally.subjects, 0)


def _check_derived(tally: Tally, keyring: Keyring, place: KeyPlace, address: str) -> None:
    if place.account_key not in keyring:
        tally.find(
            address,
            f"it is of account {place.account_key}, whose public key WALLET_ACCOUNT_XPUB lacks",
        )
        return
    expected = keyring.of(place.account_key).address(place.chain, place.derivation_index)
    if address != expected:
        what = "change" if place.chain == CHANGE_CHAIN else "address"
        tally.find(address, f"the account's {what} {place.derivation_index} is {expected}")
