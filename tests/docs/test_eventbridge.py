"""What docs/eventbridge.md tells a consumer works as it stands there."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parent.parent.parent
PAGE: Final = (ROOT / "docs" / "eventbridge.md").read_text()
SEED: Final = 20261124


def inbox() -> Any:
    """The recipe's class, made from the page."""
    found = re.search(r"```python recipe\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    names: dict[str, Any] = {}
    exec(found[1], names)
    return names["Inbox"]()


def event(sequence: int) -> dict[str, Any]:
    return {"id": f"event-{sequence}", "sequence": sequence}


def test_the_recipe_handles_each_event_once_and_in_order_however_they_come() -> None:
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    sent = [event(number) for number in range(1, 201)]
    sent += chance.choices(sent, k=100)
    chance.shuffle(sent)
    box = inbox()
    handled = [each["sequence"] for arrived in sent for each in box.take(arrived)]
    assert handled == list(range(1, 201))
    assert box.missing() is None


def test_the_recipe_knows_a_gap() -> None:
    box = inbox()
    assert box.take(event(1)) == [event(1)]
    assert box.take(event(3)) == []
    assert box.missing() == 2
    assert box.take(event(2)) == [event(2), event(3)]


def test_the_policies_name_one_action_each_and_no_star_alone() -> None:
    for name in ("bridge", "payer"):
        policy = json.loads((ROOT / "docs" / "iam" / f"{name}.json").read_text())
        for statement in policy["Statement"]:
            assert isinstance(statement["Action"], str)
            assert "*" not in statement["Action"]
            assert statement["Resource"] != "*"
