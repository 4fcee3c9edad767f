"""The generated parts of docs/protocol.md: the literal messages, and the shortest attacks on them."""

from tests.model.attacker.terms import name
from tests.model.literal_protocol.attacks import ATTACKS, found
from tests.model.literal_protocol.ban import VERIFICATION, missing, shown
from tests.model.literal_protocol.explore import told
from tests.model.literal_protocol.frames import listened, recognised, verifiers
from tests.model.literal_protocol.tables import LITERAL, REGISTRATION, USER_REGISTRATION
from tests.model.literal_protocol.templates import shown as term

_WHO = {
    "1": "user to Dom0", "2": "card to Dom0", "3": "Dom0 to CA", "5": "CA to Dom0 to card", "6": "CA to Dom0 to user",
    "7": "user to Dom0 to card", "8": "card to Dom0", "9": "Dom0 to CA", "11": "CA to Dom0 to card",
    "12": "CA to Dom0 to user", "R2": "Dom0 to CA", "R3": "CA to Dom0 to card",
}  # fmt: skip


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def messages() -> str:
    """The literal messages, as the search has them."""
    rows = [(number, _WHO[number], f"`{template}`") for number, template in LITERAL.messages.items()]
    rows += [(n, _WHO[n], f"`{REGISTRATION.messages[n]}`") for n in ("R2", "R3")]
    rows.append(("R2 of a user", _WHO["R2"], f"`{USER_REGISTRATION.messages['R2']}`"))
    return _table(("message", "from, to", "literal"), rows)


def attacks() -> str:
    """L1 to L13: what is broken, in how many messages, how, and which change of the messages ends it."""
    rows = []
    for of, attack in ATTACKS.items():
        world, best = found(of)
        assert best.trace is not None
        alone, whole = len(best.trace), len(found(of, given=False)[1].trace or ())
        count = str(whole) if whole == alone else f"{whole}; {alone}"
        given = f"{', '.join(attack.given)}" if attack.given else "-"
        rows.append(
            (attack.name, attack.says, attack.property, count, given, f"`{told(world, best.trace)}`", attack.fix)
        )
    heard = listened(LITERAL, "C", "KA", "1")
    same, tests = (min(map(term, terms), key=len) for terms in (recognised(LITERAL), verifiers(heard, name("KA"))))
    equal = f"`{same}` is equal in both; `{tests}` is made of the guess, and compared"
    says = "the same K is recognised in sessions with two cards; a guess of K can be tried"
    rows.append(("L11", says, "privacy", "listening", "-", equal, "8 is sealed, and keyed and salted by K"))
    follow = f"`{'` and `'.join(map(shown, missing(VERIFICATION)))}` do not follow from what is assumed"
    repaired = (
        "`card believes CA has jurisdiction over Ver_user`, and the user over Ver_card; secrecy of K is no goal at all"
    )
    rows.append(("L13", "the paper's BAN proof of the verification", "proof", "-", "-", follow, repaired))
    rows.sort(key=lambda row: int(row[0][1:]))
    header = ("attack", "on the literal messages", "broken", "messages", "mended before", "shortest", "ends with")
    return _table(header, rows)
