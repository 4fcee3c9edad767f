"""
The policy: who may have what (M), levels and virtual classifications, and what share of turns, from files.

All files together are one policy, in the order of their names; it is loaded whole or not at all. A policy that is not
well formed, contradicts itself, or would make an insecure or impossible state is refused, and every reason is
given with file and line, not the first alone. (docs/policy.md)

    policy_text     TOML, with the line of every value
    policy_rows     tables, keys, types and names
    policy_trial    the rules decide: a state is made of the rows, and every right is used once
    policy_kept     what was checked, kept for the next start
    policy_change   from a running state to what a policy says: the requests that it takes
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath

from vecd.base.errors import ConfigError, Denied, VecError
from vecd.ppm import policy_rows, policy_text, policy_trial
from vecd.ppm.policy_rows import Card, Guest, Instance
from vecd.ppm.policy_text import Place, Problem, Text
from vecd.ppm.policy_trial import Right

__all__ = ["Card", "Checked", "Guest", "Instance", "Place", "Policy", "Problem", "Right", "check", "digest", "require"]


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy that the rules allow."""

    # p, and whether guests that are not named may be added.
    levels: int
    closed: bool
    guests: Mapping[str, Guest]
    instances: Mapping[str, Instance]
    cards: Mapping[str, Card]
    # M without the manager's e*: (subject, object) to letters in the order r w a c.
    cells: Mapping[tuple[str, str], Right]
    # SHA-256 over names and contents of the files: what "the applied policy" is.
    version: str
    # Where [model] says levels and closed; "" is the begin of the first file.
    model: Mapping[str, Place] = field(repr=False, compare=False)
    # Of each instance its share of a card's turns, against the others'; and the instances of each guest.
    weights: Mapping[str, int] = field(init=False, repr=False, compare=False)
    _by_guest: Mapping[str, tuple[Instance, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_guest: dict[str, list[Instance]] = {}
        for instance in self.instances.values():
            by_guest.setdefault(instance.owner, []).append(instance)
        object.__setattr__(self, "weights", {name: row.weight for name, row in self.instances.items()})
        object.__setattr__(self, "_by_guest", {name: tuple(rows) for name, rows in by_guest.items()})

    def names(self, name: str) -> bool:
        """Whether the rights of this guest or instance are the policy's to say."""
        return name in self.guests or name.partition(".")[0] in self.guests

    def rights(self, subject: str, target: str) -> str:
        """The letters that the subject may have on the object; "" for none."""
        right = self.cells.get((subject, target))
        return right.rights if right is not None else ""

    def row(self, name: str) -> Guest | Instance | Card | None:
        """The row that names it."""
        return self.guests.get(name) or self.instances.get(name) or self.cards.get(name)

    def instances_of(self, guest: str) -> tuple[Instance, ...]:
        """The guest's instances in the order of their rows: the first is what it gets when it names none."""
        return self._by_guest.get(guest, ())

    def place(self, key: str) -> Place:
        """The line of a key of [model], or where it could stand."""
        return self.model.get(key) or self.model[""]


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of a check: the policy, or every reason why there is none."""

    policy: Policy | None
    problems: tuple[Problem, ...]


def check(files: Mapping[str, bytes], *, folder: str = "policy.d", complete: bool = True) -> Checked:
    """
    The policy that these files (name to content) are together, or all problems in the order of files and lines.

    folder: where they were looked for. complete: whether there are no others, that could not be read.
    """
    texts: list[Text] = []
    problems: list[Problem] = []
    order = sorted(files, key=_order)
    for name in order:
        text = policy_text.read(name, files[name])
        if isinstance(text, Problem):
            problems.append(text)
        else:
            texts.append(text)
    if not files:
        problems.append(Problem(Place(folder, 0), "there is no policy file", "a policy is one or more *.toml"))
    rows = policy_rows.rows(texts)
    problems += rows.problems
    # Of what cannot be read nothing is known: what others say of its names would be blamed on them.
    known = complete and texts and len(texts) == len(files)
    trial = policy_trial.run(rows, Place(order[0], 1)) if known else policy_trial.Trial()
    problems += trial.problems
    if problems:
        rank = {name: number for number, name in enumerate(order)}
        problems.sort(key=lambda one: (rank.get(one.place.file, 0), one.place.line))
        return Checked(None, tuple(problems))
    policy = Policy(
        levels=rows.levels,
        closed=rows.closed,
        guests=trial.guests,
        instances=trial.instances,
        cards=trial.cards,
        cells=trial.cells,
        version=digest(files),
        model={"": Place(order[0], 1), **rows.model},
    )
    return Checked(policy, ())


def require(files: Mapping[str, bytes]) -> Policy:
    """The policy of these files; raises Denied where the rules refuse it, ConfigError where it is not well formed."""
    checked = check(files)
    if checked.policy is None:
        raise refusal(checked.problems)
    return checked.policy


def refusal(problems: tuple[Problem, ...]) -> VecError:
    """All problems as one error: ConfigError if one of them is of form, for then the rules were not asked about all."""
    first = problems[0]
    kind = Denied if all(one.rule for one in problems) else ConfigError
    count = "1 reason" if len(problems) == 1 else f"{len(problems)} reasons"
    return kind(
        f"the policy is refused for {count}, the first at {first.place}",
        rule=first.rule,
        property=first.property,
        reason=str(first),
        hint="nothing was changed; vecctl policy check lists all of them",
    )


def digest(files: Mapping[str, bytes]) -> str:
    """SHA-256 over the names and contents of the files, in their order; where they lie does not matter."""
    version = hashlib.sha256()
    for name in sorted(files, key=_order):
        label = PurePath(name).name.encode(errors="surrogateescape")
        version.update(len(label).to_bytes(4) + label + len(files[name]).to_bytes(4) + files[name])
    return version.hexdigest()


def _order(name: str) -> tuple[str, str]:
    """By file name; of two files of one name, by folder."""
    return PurePath(name).name, name
