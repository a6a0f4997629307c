"""The folder in which ``wallet up`` keeps everything."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from api.commands.up import _started
from api.home import Endpoints, only_one
from api.local import LocalWallet
from schemas.settings import Settings
from streams.local.errors import HomeUnwritable
from streams.local.keys import Ports
from streams.local.progress import Silent


def test_a_folder_in_which_nothing_can_be_written_is_told_with_the_way_out(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.write_text("a file, and no folder")
    with pytest.raises(HomeUnwritable, match=r"cannot write .*run: .*WALLET_HOME"), only_one(home):
        pass


class Unstartable(LocalWallet):
    """Meets a fault at its start."""

    def __init__(self, home: Path, fault: OSError) -> None:
        super().__init__(home, Settings(), Silent(), Ports(database=0, broker=0))
        self._fault = fault

    def start(self) -> Endpoints:
        raise self._fault


def test_a_disk_that_is_full_at_the_start_is_told_in_a_line(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(HomeUnwritable, match="No space left on device"):
        _started(Unstartable(tmp_path, full), tmp_path)


def test_another_fault_of_the_machine_is_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    refused = OSError(errno.ECONNREFUSED, "Connection refused")
    with pytest.raises(OSError, match="Connection refused"):
        _started(Unstartable(tmp_path, refused), tmp_path)
