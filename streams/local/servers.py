"""Keeps a database and a broker for tests: start once, run the tests often.

    python -m streams.local.servers

prints the two lines to export, and runs until it is told to stop.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import threading
from pathlib import Path

from streams.local import stack
from streams.local.errors import StackError
from streams.local.process import free_port
from streams.local.progress import OnConsole


def main() -> int:
    """Run both servers on temporary data until SIGINT or SIGTERM."""
    told = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: told.set())
    progress = OnConsole()
    with tempfile.TemporaryDirectory(prefix="wallet-test-", dir="/var/tmp") as folder:
        home = Path(folder)
        home.chmod(0o755)
        database = stack.provide_postgres(home, port=free_port(), password="test")
        broker = stack.provide_kafka(home, port=free_port(), progress=progress)
        try:
            for server in (database, broker):
                with progress.step(f"starting the {server.name}: {server.origin}"):
                    server.start()
            print(f"export TEST_DATABASE_URL={database.address}")
            print(f"export TEST_KAFKA_BOOTSTRAP={broker.address}", flush=True)
            told.wait()
        except StackError as error:
            print(f"Error: {error}", file=sys.stderr)
            return 1
        finally:
            broker.stop()
            database.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
