"""
A policy as the guard keeps it: what was checked once, to be had again at a start without checking it anew.

The text is JSON with the hash of its own content. It holds what the policy came to (levels, names, cells, weights, and
the row of each), not the files: the rules have allowed it, and a state that is made of it is made by the rules again.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from vecd.ppm.policy import Policy
from vecd.ppm.policy_rows import Card, Guest, Instance
from vecd.ppm.policy_text import Place
from vecd.ppm.policy_trial import Right

SCHEMA = 1


def dump(policy: Policy) -> str:
    """The policy as text; `load` gives an equal one."""
    files: dict[str, int] = {}

    def at(place: Place) -> list[int]:
        return [files.setdefault(place.file, len(files)), place.line]

    body = {
        "version": policy.version,
        "levels": policy.levels,
        "closed": policy.closed,
        "model": {key: at(place) for key, place in policy.model.items()},
        "guests": [
            [one.name, one.level, sorted(one.may), one.identity.hex() if one.identity else None, _places(one, at)]
            for one in policy.guests.values()
        ],
        "instances": [
            [one.name, one.owner, one.level, sorted(one.may or ()), one.weight, _places(one, at)]
            for one in policy.instances.values()
        ],
        "cards": [[one.name, _places(one, at)] for one in policy.cards.values()],
        # What one subject has by one row is one record.
        "cells": [
            [subject, objects, rights, at(place)] for (subject, (rights, place)), objects in _cells(policy).items()
        ],
    }
    text = json.dumps({**body, "files": list(files)}, separators=(",", ":"))
    return json.dumps({"schema": SCHEMA, "sha256": _hash(text)}) + "\n" + text + "\n"


def load(text: str) -> Policy:
    """The policy that `dump` was given. Raises ValueError for any other text."""
    head, _, rest = text.partition("\n")
    body = rest.removesuffix("\n")
    try:
        if json.loads(head) != {"schema": SCHEMA, "sha256": _hash(body)}:
            raise ValueError("it is not as it was written")
        return _policy(json.loads(body))
    except (KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise ValueError(f"it is not well formed: {type(error).__name__}: {error}") from None


def _cells(policy: Policy) -> dict[tuple[str, Right], list[str]]:
    found: dict[tuple[str, Right], list[str]] = {}
    for (subject, object), right in policy.cells.items():
        found.setdefault((subject, right), []).append(object)
    return found


def _places(row: Guest | Instance | Card, at: Any) -> dict[str, list[int]]:
    return {key: at(place) for key, place in row.places.items()}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _policy(body: Mapping[str, Any]) -> Policy:
    files = body["files"]

    def at(place: list[int]) -> Place:
        return Place(files[place[0]], place[1])

    def rows(places: Mapping[str, list[int]]) -> dict[str, Place]:
        return {key: at(place) for key, place in places.items()}

    guests = [
        Guest(name, rows(places), level, frozenset(may), bytes.fromhex(identity) if identity else None)
        for name, level, may, identity, places in body["guests"]
    ]
    instances = [
        Instance(name, rows(places), owner, level, frozenset(may), weight)
        for name, owner, level, may, weight, places in body["instances"]
    ]
    cells: dict[tuple[str, str], Right] = {}
    for subject, objects, rights, place in body["cells"]:
        right = Right(rights, at(place))
        cells.update(((subject, object), right) for object in objects)
    return Policy(
        levels=body["levels"],
        closed=body["closed"],
        guests={one.name: one for one in guests},
        instances={one.name: one for one in instances},
        cards={name: Card(name, rows(places)) for name, places in body["cards"]},
        cells=cells,
        version=body["version"],
        model=rows(body["model"]),
    )
