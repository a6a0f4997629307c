"""The views keep nothing on the disk: each of their tests runs in a folder that stays empty."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def working_directory(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """Where members run, in this process or in one of their own; fails where something is left."""
    folder = tmp_path_factory.mktemp("working-directory")
    monkeypatch.chdir(folder)
    yield folder
    assert list(folder.iterdir()) == []
