"""Any modification of a saved plan gives a usable plan or a `UsageError`."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bulkshare.engine.retry import first_attempt
from bulkshare.errors import UsageError
from bulkshare.image_api.glance import request_for
from bulkshare.model import Account, Block, Job, Limits, Plan, RetryPolicy, Want
from bulkshare.operations.results import CloudResult
from bulkshare.operations.saved_plan import load_saved, save
from bulkshare.plan.expand import expand, fingerprint

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def good() -> Any:
    """Return the content of a saved plan."""
    account = Account("prod", "eu-de", "https://image.example", "ursula", "images", "p-images")
    todo = (Block("i1", ("a", "b"), Want.ACCEPTED), Block("i1", ("c",), Want.REMOVE))
    plan = Plan("golden", (), clouds=("prod",), limits=Limits(), retry=RetryPolicy())
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder) / "saved.plan", plan, [CloudResult("prod", account, todo=todo)])
        return json.loads((Path(folder) / "saved.plan").read_text())


def places(value: Any) -> list[tuple[Any, Any]]:
    """Return every container with each of its keys."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    return [place for key in keys for place in ((value, key), *places(value[key]))]


@given(st.data(), VALUES, st.sampled_from(["replace", "delete", "repeat"]))
def test_a_saved_plan_is_sound_or_refused(data: st.DataObject, value: Any, how: str) -> None:
    """One of its values is replaced, deleted or repeated."""
    document = good()
    container, key = data.draw(st.sampled_from(places(document)))
    if how == "replace":
        container[key] = value
    elif how == "delete":
        del container[key]
    elif isinstance(container, list):
        container.append(container[key])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "saved.plan"
        path.write_text(json.dumps(document))
        try:
            saved = load_saved(path, path.read_bytes())
        except UsageError:
            return
    fingerprint(saved.plan)
    for image_id, members, want in expand(saved.plan):
        for member in members:
            request_for(first_attempt(Job(image_id, member, want)).step, image_id, member)
