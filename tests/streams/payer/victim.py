"""A payer that is killed by its own hand, as by ``kill -9``, at the n-th step that it comes to.

``python -m tests.streams.payer.victim`` reads a number a line, starts a payer that dies at that
step (0: never), waits for its end, and says how it ended. Each payer is a process of its own,
forked from one that has loaded everything and opened nothing: loading takes longer than dying.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from processors.dogecoin.hidden import Hidden
from processors.dogecoin.signing import AccountSigner
from schemas.amounts import parse_amount
from schemas.settings import Settings
from streams import logs
from streams.local import keys
from streams.payer.process import run_payer


def _pay(settings: Settings, fuse: int) -> None:
    left = fuse

    def step(name: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            print(f"dies at: {name}", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

    def read(settings: Settings) -> AccountSigner:
        account = keys.account(Path(settings.home), settings.network)
        fee_max = parse_amount(settings.fee_max)
        return AccountSigner(Hidden(account.account_xprv), settings.network, fee_max=fee_max)

    logs.configure("payer", "WARNING")
    run_payer(settings, read_signer=read, step=step)


def main() -> None:
    """One payer a line; each line is answered with the payer's pid, and once it has ended."""
    settings = Settings.from_environ()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            # Ends by an error like any other program, and never goes on as the one that forks.
            _pay(settings, int(line))
            return
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
