"""The generated parts of docs/model.md about the literal rules: their holes with counter-examples, and the rules."""

from tests.model.literal_rules.asking import counterexample, ours, wrong
from tests.model.literal_rules.first import WEAK, induction, seen_yield
from tests.model.literal_rules.holes import CASES, MENDED, words
from tests.model.literal_rules.search import Differs
from tests.model.literal_rules.tables import LITERAL

_KINDS = {"U": "u", "I": "i", "K": "k", "m": "m"}


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _ours(name: str) -> str:
    found = ours(name)
    if not found.step:
        return "yes to all, and the state is secure"
    return f"`{found.request}`, step {found.step}: {found.answer}" + (f", {found.property}" if found.property else "")


def _trace(name: str) -> str:
    case, trace = CASES[name], counterexample(name).trace
    told = f"`{'; '.join(map(words, trace))}`" if trace else "none is needed"
    notes = [f"after `{case.start}`"] * bool(case.start) + [f"p = {case.p}"] * (case.p != 4)
    notes += [f"{', '.join(case.levels)} at L4"] * bool(case.levels) + ["users not connected before"] * (
        not case.connected
    )
    return f"{len(trace)}: {told}" + (f" ({'; '.join(notes)})" if notes else "")


def holes() -> str:
    """H1 to H16: what the literal rules allow, in the fewest requests, what is wrong then, and what ours answer."""
    rows, told = [], set()
    for name, case in CASES.items():
        mended = "the same" if case.hole in told else MENDED[case.hole]
        told.add(case.hole)
        rows.append((case.hole, case.says, _trace(name), "; ".join(wrong(name)), _ours(name), mended))
    seen = seen_yield(False)
    assert isinstance(seen, Differs) and not isinstance(seen_yield(True), Differs)
    trace = [*seen.trace, seen.asks]
    rows.append((
        "H15", "a first correction: a key slot without c goes with the next cleaning",
        f"{len(trace)}: `{'; '.join(map(words, trace))}`",
        f"without b's `R12 b k -` the last answer is {seen.answers[1]}, with it {seen.answers[0]}: b tells a one bit",
        "the same answer with and without it", MENDED["H15"],
    ))  # fmt: skip
    mixed = induction()[WEAK].mixed
    assert mixed is not None
    rows.append((
        "H16", "a first correction: its residue allowed engine and output of two instances",
        f"1: `{words(mixed.request)}` where {mixed.state}",
        f"one buffer has data of {' and '.join(sorted(mixed.users))}; reached by no rule: induction fails",
        "residue excludes the state", MENDED["H16"],
    ))  # fmt: skip
    return _table(
        ("#", "literal behaviour", "shortest counter-example", "wrong then", "the same, asked of ours", "here"), rows
    )


def rules() -> str:
    """The literal rules as they are read, and what H11 and H12 leave as it is."""
    rows = [
        (
            row.rule,
            ", ".join(f"{_KINDS[s]} on {_KINDS[o]}" for s, o in row.pairs),
            "; ".join(_escaped(atom) for atom in row.conditions) or "always",
            "; ".join(_escaped(atom) for atom in row.effects),
        )
        for row in LITERAL.rows.values()
    ]
    return _table(("rule", "who on what", "yes iff", "then"), rows)


def _escaped(atom: str) -> str:
    return f"`{atom}`"
