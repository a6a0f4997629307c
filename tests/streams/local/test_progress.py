"""What the supervisor says of its steps, where nothing can be written."""

from __future__ import annotations

import errno
import io

from rich.console import Console

from streams.local.progress import OnConsole


class _FullDisk(io.StringIO):
    refused = 0

    def write(self, text: str) -> int:
        self.refused += 1
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_under_the_log_does_not_end_the_supervisor() -> None:
    disk = _FullDisk()
    progress = OnConsole(Console(file=disk))

    progress.note("kafka has ended: started again")
    with progress.step("kafka"):
        pass

    assert disk.refused >= 3
