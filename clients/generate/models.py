"""The Python client's models, made by datamodel-code-generator from our JSON Schemas.

The schemas are first put together: each definition once, amounts as the client's own exact type,
and texts of one form (ids, references) under one name.
"""

from __future__ import annotations

import json
import subprocess
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from datamodel_code_generator import generate as generate_models
from datamodel_code_generator.enums import DataModelType, InputFileType
from datamodel_code_generator.format import PythonVersion

from api.openapi import document
from schemas.amounts import AMOUNT_PATTERN
from schemas.commands import HOUSE_COMMANDS, UUID_PATTERN
from schemas.documents import DIALECT, all_schemas
from schemas.ledger import HOUSE
from schemas.topics import COMMAND_TOPIC_NAMES

Schema = dict[str, Any]

PACKAGE: Final = "clients/python/wallet_client"
MODELS: Final = f"{PACKAGE}/models.py"
TABLES: Final = f"{PACKAGE}/tables.py"

_MADE: Final = "Made by `make docs` from the wallet's JSON Schemas; change it there."
_AMOUNT: Final[Schema] = {"type": "string", "customTypePath": "wallet_client.amounts.Amount"}
#: Fields whose few words are no type of their own.
_IN_PLACE: Final = ("outcome", "source", "target")
_TXID_PATTERN: Final = "^[0-9a-f]{64}$"
#: What REST has beside, and a client does not need: it makes bodies of arguments.
_LEFT_OUT: Final = ("Health", "Nothing", "LockBody", "UnlockBody", "PayOrderBody", "ConvertBody")


def files() -> Mapping[str, str]:
    """Path in the project to content."""
    return {MODELS: _models(_bundle()), TABLES: _tables()}


def _bundle() -> Schema:
    """One schema of all that a client sends or is told, each definition once."""
    definitions: dict[str, Schema] = {}
    schemas = all_schemas()
    for path, schema in schemas.items():
        if path.startswith(("commands/", "events/")):
            definitions |= schema["$defs"]
    components: Any = document()["components"]
    for name, schema in components["schemas"].items():
        if name not in _LEFT_OUT:
            definitions.setdefault(name, schema)
    # The code of a rejection is open: there may be more of them tomorrow.
    rejected = definitions["CommandRejected"]
    rejected["properties"] |= {"code": {"type": "string"}}
    copied = json.loads(json.dumps(definitions).replace("#/components/schemas/", "#/$defs/"))
    for definition in copied.values():
        _name_texts(definition)
        definition.pop("title", None)
        definition["description"] = " ".join(definition.get("description", "").split())
        if not definition["description"]:
            del definition["description"]
    copied |= _TEXTS | _words(schemas)
    return {"$schema": DIALECT, "$defs": dict(sorted(copied.items()))}


def _words(schemas: Mapping[str, Schema]) -> dict[str, Schema]:
    """Enumerations: the types there are, and the codes."""
    codes = [rule["const"] for rule in schemas["rejections.json"]["oneOf"]]
    return {
        "CommandType": _enumeration("The commands there are.", _names(schemas, "commands/")),
        "EventType": _enumeration("The events there are.", _names(schemas, "events/")),
        "Rejection": _enumeration("Why a command was refused, in order of precedence.", codes),
    }


def _enumeration(about: str, values: list[str]) -> Schema:
    return {"type": "string", "description": about, "enum": values}


def _names(schemas: Mapping[str, Schema], folder: str) -> list[str]:
    return [schema["title"] for path, schema in schemas.items() if path.startswith(folder)]


_TEXTS: Final[dict[str, Schema]] = {
    "UserId": {"type": "string", "pattern": UUID_PATTERN},
    "RecordId": {"type": "string", "pattern": UUID_PATTERN},
    "Txid": {"type": "string", "pattern": _TXID_PATTERN},
}


def _name_texts(node: object) -> None:
    """Put the names of the common texts in place of their forms, at any depth."""
    if isinstance(node, dict):
        found = _named(node)
        if found is not None:
            node.clear()
            node.update(found)
        if "enum" in node:
            node.setdefault("type", "string")
        for part in node.values():
            _name_texts(part)
    elif isinstance(node, list):
        for part in node:
            _name_texts(part)


def _named(schema: Schema) -> Schema | None:
    match schema:
        case {"type": "string", "pattern": pattern} if pattern == AMOUNT_PATTERN:
            return _AMOUNT
        case {"type": "string", "pattern": pattern} if pattern == UUID_PATTERN:
            ours = "this wallet gave" in schema.get("description", "")
            return {"$ref": f"#/$defs/{'RecordId' if ours else 'UserId'}"}
        case {"type": "string", "pattern": pattern} if pattern == _TXID_PATTERN:
            return {"$ref": "#/$defs/Txid"}
    return None


def _models(bundle: Schema) -> str:
    made = generate_models(
        json.dumps(bundle),
        input_file_type=InputFileType.JsonSchema,
        input_filename="the wallet's schemas",
        output_model_type=DataModelType.MsgspecStruct,
        target_python_version=PythonVersion.PY_311,
        base_class="wallet_client.base.Model",
        custom_file_header=(
            f'"""What stands on the wire, as frozen structs.\n\n{_MADE}\n"""\n\n'
            "from __future__ import annotations\n"
        ),
        formatters=[],
        capitalise_enum_members=True,
        disable_timestamp=True,
        enum_field_as_literal_map=dict.fromkeys(_IN_PLACE, "literal"),
        keyword_only=True,
        skip_root_model=True,
        use_annotated=True,
        use_schema_description=True,
        use_single_line_docstring=True,
        use_specialized_enum=True,
        use_standard_collections=True,
        use_type_alias=True,
        use_union_operator=True,
    )
    assert isinstance(made, str)
    # The base is frozen; the type checker wants to read it of each struct. What may be left out
    # is None where it is: nobody here needs to tell absent from null.
    made = made.replace("(Model, kw_only=True)", "(Model, frozen=True, kw_only=True)")
    made = made.replace(" | UnsetType", "").replace("| None = UNSET", "| None = None")
    return _formatted(made)


def _formatted(code: str) -> str:
    """The code as `make format` would leave it."""
    ruff = Path(sysconfig.get_path("scripts")) / "ruff"
    for step in (["check", "--fix", "--quiet"], ["format"]):
        done = subprocess.run(
            [str(ruff), *step, "--stdin-filename", MODELS, "-"],
            input=code,
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(__file__).parents[2],
        )
        if not done.stdout:
            raise RuntimeError(f"ruff cannot read what was made: {done.stderr}")
        code = done.stdout
    return code


def _tables() -> str:
    """Which struct belongs to which type, and which topic carries it."""
    schemas = all_schemas()
    lines = [f'"""Which struct is whose, and which topic carries it.\n\n{_MADE}\n"""\n']
    lines += ["from __future__ import annotations\n", "from typing import Final\n"]
    lines += ["from wallet_client import models", "from wallet_client.base import Model\n"]
    lines.append("#: The command topics by the code that ids carry.")
    lines.append(f"TOPICS: Final = {[str(name) for name in COMMAND_TOPIC_NAMES.values()]!r}")
    lines.append("#: The user of commands that concern no user.")
    lines.append(f"HOUSE: Final = {HOUSE!r}")
    house = [f"models.{_struct(schemas[f'commands/{kind}.json'])}" for kind in HOUSE_COMMANDS]
    lines.append(f"HOUSE_COMMANDS: Final = frozenset[type[Model]]([{', '.join(sorted(house))}])")
    rules = schemas["rejections.json"]["oneOf"]
    dead = [rule["const"] for rule in rules if rule["dead_letter"]]
    lines.append("#: Why a record cannot be read as a command at all.")
    lines.append(f"DEAD_LETTERS: Final = frozenset({dead!r})")
    lines.append("#: A command's struct to its type and the code of its topic.")
    lines.append("COMMANDS: Final[dict[type[Model], tuple[str, int]]] = {")
    lines += [
        f"    models.{_struct(schema)}: ({schema['title']!r}, {_topic_of(schema)}),"
        for path, schema in schemas.items()
        if path.startswith("commands/")
    ]
    lines.append("}\n#: An event's type to the struct of its result.")
    lines.append("RESULTS: Final[dict[str, type[Model]]] = {")
    for path, schema in schemas.items():
        if path.startswith("events/") and "$ref" not in schema["properties"]["data"]:
            result = schema["properties"]["data"]["properties"]["result"]["$ref"]
            lines.append(f"    {schema['title']!r}: models.{result.rpartition('/')[2]},")
    return _formatted("\n".join([*lines, "}", ""]))


def _struct(schema: Schema) -> str:
    return str(schema["properties"]["data"]["$ref"]).rpartition("/")[2]


def _topic_of(schema: Schema) -> int:
    """The code of the topic that the schema itself names."""
    (code,) = [
        code.value
        for code, name in COMMAND_TOPIC_NAMES.items()
        if f"by the topic {name} alone" in schema["description"]
    ]
    return code
