"""The folder in which ``wallet up`` keeps everything."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.home import only_one
from streams.local.errors import HomeUnwritable


def test_a_folder_in_which_nothing_can_be_written_is_told_with_the_way_out(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.write_text("a file, and no folder")
    with pytest.raises(HomeUnwritable, match=r"cannot write .*run: .*WALLET_HOME"), only_one(home):
        pass
