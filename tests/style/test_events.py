"""Every event has a MESSAGE_ID of its own and is logged somewhere."""

import re

from tests.style.tree import modules
from vecd.base import events


def rows() -> dict[str, object]:
    return {name: value for name, value in vars(events).items() if name.isupper() and isinstance(value, events.Event)}


def test_message_ids_are_unique_and_well_formed() -> None:
    found = [row.message_id for row in rows().values()]
    assert found and len(found) == len(set(found))
    assert all(re.fullmatch(r"[0-9a-f]{32}", each) for each in found)


def test_every_event_is_used() -> None:
    texts = [path.read_text() for name, path in modules().items() if name != "vecd.base.events"]
    unused = [name for name in rows() if not any(re.search(rf"\b{name}\b", text) for text in texts)]
    assert not unused, f"nobody logs {', '.join(unused)}"
