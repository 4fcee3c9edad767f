"""Random traces that get somewhere: mostly requests that could be meant, some that could not."""

import json

OPS = ("loadkey", "submit", "process", "fetch", "config", "put", "get")


def world(rng):
    instances = {"a": "A", "b": "B", "c": rng.choice("AB")}
    return {
        "levels": rng.choice((4, 4, 4, 5, 6)),
        "users": ["A", "B"],
        "instances": dict(list(instances.items())[: rng.choice((2, 3))]),
        "cards": ["k", "l"][: rng.choice((1, 1, 2))],
    }


def start(rng, there):
    """Most of a trace's things come to exist and get their rights."""
    lines = [
        {
            "rule": "R7",
            "subject": "m",
            "object": e,
            **({"level": rng.randrange(3, there["levels"])} if there["levels"] > 4 else {}),
        }
        for e in (*there["users"], *there["instances"])
    ]
    lines += [{"rule": "R5", "subject": "m", "object": e} for e in (*there["instances"], *there["cards"])]
    for i, u in there["instances"].items():
        lines += [{"rule": "R9", "subject": "m", "to": u, "object": i, "attribute": x} for x in "rwac"]
        lines += [
            {"rule": "R9", "subject": "m", "to": i, "object": k, "attribute": x} for k in there["cards"] for x in "rwac"
        ]
        lines.append({"rule": "R1", "subject": u, "object": i})
    return [line for line in lines if rng.random() < 0.95]


def request(rng, there):
    """One request: nine in ten of the right kinds, one in ten of any."""
    users, instances, cards = there["users"], list(there["instances"]), there["cards"]
    if rng.random() < 0.1:
        any_of = ["m", *users, *instances, *cards, "nobody"]
        line = {
            "subject": rng.choice(any_of),
            "object": rng.choice(any_of),
            "to": rng.choice(any_of),
            "attribute": rng.choice([*"rwacex", None]),
            "next": rng.choice([None, *any_of[:-1]]),
            "level": rng.choice([None, *range(there["levels"] + 2)]),
        }
        name = rng.choice([f"R{n}" for n in range(1, 13)] + list(OPS))
        return {"rule" if name[0] == "R" else "op": name, **line}
    name = rng.choices(_MEANT, _WEIGHTS)[0]
    i, k = rng.choice(instances), rng.choice(cards)
    own = rng.random() < 0.25
    s, o = (there["instances"][i], i) if own else (i, k)
    if name in OPS:
        user = (there["instances"][i], i)
        s, o = {"put": user, "get": user, "process": (k, k)}.get(name, (i, k))
        return {"op": name, "subject": s, "object": o}
    line = {"rule": name}
    if name in ("R1", "R2", "R3", "R4"):
        return line | {"subject": s, "object": o}
    if name == "R6":
        if rng.random() < 0.1:
            return line | {"subject": "m", "object": rng.choice(instances + cards), "attribute": "e"}
        return line | {"subject": s, "object": o, "attribute": rng.choice("rwac")}
    if name in ("R5", "R7", "R8"):
        line |= {"subject": "m", "object": rng.choice(users + instances + cards)}
        return line | ({"level": rng.randrange(3, there["levels"])} if name == "R7" and rng.random() < 0.5 else {})
    if name in ("R9", "R10"):
        return line | {"subject": "m", "to": s, "object": o, "attribute": rng.choice("rwac")}
    if name == "R11":
        if rng.random() < 0.15:
            return line | {"subject": "m", "object": i, "level": rng.randrange(2, there["levels"] + 1)}
        return line | {"subject": rng.choice(["m", i, i]), "object": k, "level": rng.choice([2, 2, 3, 3, 4, 5])}
    yields = rng.random() < 0.3
    return line | {
        "subject": i if yields else "m",
        "object": k,
        "next": None if yields and rng.random() < 0.9 else rng.choice([None, *instances, *instances]),
    }


def turn(rng, there):
    """A turn on a card as the life cycle has it, a line missing here and there."""
    i, k = rng.choice(list(there["instances"])), rng.choice(there["cards"])
    level = rng.randrange(3, there["levels"])
    lines = [
        {"rule": "R1", "subject": there["instances"][i], "object": i},
        {"rule": "R1", "subject": i, "object": k},
        {"rule": "R12", "subject": "m", "object": k, "next": i},
        {"rule": "R3", "subject": i, "object": k},
        {"op": "config", "subject": i, "object": k},
        {"rule": "R6", "subject": i, "object": k, "attribute": "w"},
        {"rule": "R2", "subject": i, "object": k},
        {"rule": "R11", "subject": rng.choice([i, "m"]), "object": k, "level": 2},
        {"op": "loadkey", "subject": i, "object": k},
        {"op": "submit", "subject": i, "object": k},
        {"op": "process", "subject": k, "object": k},
        {"rule": "R11", "subject": rng.choice([i, "m"]), "object": k, "level": level},
        {"rule": "R4", "subject": i, "object": k},
        {"op": "fetch", "subject": i, "object": k},
        {"rule": "R6", "subject": i, "object": k, "attribute": "r"},
    ]
    first, last = sorted(rng.choices(range(len(lines) + 1), k=2)) if rng.random() < 0.3 else (0, len(lines))
    return [line for line in lines[first:last] if rng.random() < 0.96]


_MEANT, _WEIGHTS = zip(
    *{
        "R1": 8,
        "R2": 6,
        "R3": 3,
        "R4": 6,
        "R5": 3,
        "R6": 6,
        "R7": 2,
        "R8": 2,
        "R9": 6,
        "R10": 2,
        "R11": 16,
        "R12": 8,
        "loadkey": 5,
        "submit": 5,
        "process": 5,
        "fetch": 3,
        "config": 2,
        "put": 1,
        "get": 1,
    }.items(),
    strict=True,
)


def trace(rng, length):
    """The lines of one trace, as dicts: a world, its start, and about `length` requests."""
    there = world(rng)
    lines = [{"world": there}, *start(rng, there)]
    length += len(lines)
    while len(lines) < length:
        lines += turn(rng, there) if rng.random() < 0.1 else [request(rng, there)]
    return lines


def lines(entries):
    return [json.dumps(entry) for entry in entries]
