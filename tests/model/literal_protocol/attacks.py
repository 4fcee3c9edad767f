"""L1 to L12 as questions: who takes part, what must never be, and the correction of the messages that ends it."""

from functools import lru_cache
from typing import NamedTuple

from tests.model.attacker.knowledge import Knowledge
from tests.model.attacker.terms import enc, mac, name, public
from tests.model.literal_protocol.explore import (
    AUTHORITY,
    At,
    Claim,
    Found,
    Scope,
    World,
    card,
    explore,
    registered_key,
    user,
)  # fmt: skip
from tests.model.literal_protocol.tables import (
    FIXES,
    LITERAL,
    OWN_KEY,
    PROVED,
    REGISTRATION,
    USER_REGISTRATION,
    Protocol,
    mended,
)
from tests.model.literal_protocol.templates import party, sealing

A = ("user", ("KA", "KA2"))
E = ("user", ("KE",))
C, D, X = ("card", ()), ("card", ()), ("card", ())


# ---- what must never be


def key_is_known(world: World, state: tuple[At, ...], knowledge: Knowledge) -> bool:
    """Secrecy: the attacker has A's key."""
    return knowledge.derives(name("KA"))


def _of(world: World, state: tuple[At, ...], role: str) -> list[At]:
    return [at for at, run in zip(state, world.scope.runs, strict=True) if run.role == role]


def _sent(world: World, state: tuple[At, ...]) -> list[At]:
    """User runs that sent message 7."""
    steps = world.protocol.roles["user"].index("send 7")
    return [at for at in _of(world, state, "user") if at.made > steps]


def _active(world: World, state: tuple[At, ...]) -> list[tuple[str, At]]:
    """Key slots that are active: of which card, and the run that made them."""
    runs = enumerate(zip(state, world.scope.runs, strict=True))
    return [(run.who, at) for which, (at, run) in runs if run.role == "card" and world.done(which, at)]


def never_sent(world: World, state: tuple[At, ...], knowledge: Knowledge) -> bool:
    """The card has an active key of A that A never sent."""
    sent = {at["K"] for at in _sent(world, state)}
    return any(at["u"] is party("A") and at["K"] not in sent for _, at in _active(world, state))


def bound_to_another(world: World, state: tuple[At, ...], knowledge: Knowledge) -> bool:
    """A card has A's key active for E."""
    return any(at["K"] is name("KA") and at["u"] is party("E") for _, at in _active(world, state))


def nobody_has_it(world: World, state: tuple[At, ...], knowledge: Knowledge) -> bool:
    """The user is done, and its card never took the key."""
    held = {
        (run.who, at["K"])
        for at, run in zip(state, world.scope.runs, strict=True)
        if at.knows("K") and run.role == "card"
    }
    for which, (at, run) in enumerate(zip(state, world.scope.runs, strict=True)):
        if run.role == "user" and world.done(which, at) and (at["c"].parts[0], at["K"]) not in held:
            return True
    return False


def more_than_sent(world: World, state: tuple[At, ...], knowledge: Knowledge) -> bool:
    """A's key is active in more sessions of a card than A had."""
    active = [at for _, at in _active(world, state) if at["u"] is party("A") and at["K"] is name("KA")]
    return len(active) > len([at for at in _sent(world, state) if at["K"] is name("KA")])


def other_card(world: World, state: tuple[At, ...], knowledge: Knowledge) -> bool:
    """A's key is active in a card that A never meant."""
    meant = {at["c"].parts[0] for at in _of(world, state, "user")}
    return any(at["K"] is name("KA") and of not in meant for of, at in _active(world, state))


def unconfirmed(world: World, state: tuple[At, ...], knowledge: Knowledge) -> bool:
    """A card is done, and the authority never looked at a key for it."""
    looked = {at["c"].parts[0] for at in _of(world, state, "authority") if at.knows("N")}
    return any(of not in looked for of, _ in _active(world, state))


def not_its_own(world: World, state: tuple[At, ...], knowledge: Knowledge) -> bool:
    """The authority has certified a key under C's id that is not C's."""
    certified = [at for at in _of(world, state, "authority") if at.knows("T")]
    return any(at["i"] is party("C") and at["P"] is not public(sealing("C")) for at in certified)


def without_the_key(world: World, state: tuple[At, ...], knowledge: Knowledge) -> bool:
    """E has a key registered that it does not have."""
    registered = [at for at in _of(world, state, "authority") if at.knows("T")]
    return any(at["i"] is party("E") and at["K"] is name("KA") for at in registered) and not knowledge.derives(
        name("KA")
    )


def told_to_another(world: World, state: tuple[At, ...], knowledge: Knowledge) -> bool:
    """The user takes a card's key from a statement that the authority never made for this user."""
    for_user = {at["P"] for at in _of(world, state, "authority") if at.knows("P") and at["u"] is party("A")}
    return any(at.knows("P") and at["P"] not in for_user for at in _of(world, state, "user"))


def other_number(world: World, state: tuple[At, ...], knowledge: Knowledge) -> bool:
    """The user has a number for one key that the authority gave for another."""
    given = {(at["N"], at["K"]) for at in _of(world, state, "authority") if at.knows("N")}
    return any(at.knows("N") and (at["N"], at["K"]) not in given for at in _of(world, state, "user"))


# ---- the questions


class Attack(NamedTuple):
    """One of L1 to L12. It is asked with `given` mended, so that it stands on its own cause and not on L2's or L8's."""

    name: str
    says: str
    property: str
    scope: Scope
    wrong: Claim
    fix: str
    given: tuple[str, ...] = ()
    # The literal messages and the corrected ones, where they are not those of verification and key loading.
    messages: tuple[Protocol, Protocol] | None = None


APART = ("L2", "L8")

ATTACKS: dict[str, Attack] = {
    f"{attack.name} registered" if attack.messages and attack.name == "L4" else attack.name: attack
    for attack in (
        Attack("L1", "a compromised card X in the place of C", "secrecy of K",
               Scope((user("A", "C", "KA"), AUTHORITY), {"A": A, "C": C, "X": X}, "X"), key_is_known,
               "both names signed in 1 and 2, and said in 5 and 6"),
        Attack("L2", "a registered user E in the place of C", "secrecy of K, by the role",
               Scope((user("A", "C", "KA"), AUTHORITY), {"A": A, "C": C, "E": E}, "E"), key_is_known,
               "the register knows the role, and the authority checks it"),
        Attack("L3", "a key of E is loaded for A", "agreement on K, at the card",
               Scope((user("A", "C", "KA"), card("C"), AUTHORITY), {"A": A, "C": C, "E": E}, "E"), never_sent,
               "7 signed by the user, 8 by the card; 11 names user, card and key", APART),
        Attack("L4", "A's ciphertext is loaded for E, whom A's key serves then", "key binding",
               Scope((user("A", "C", "KA"), card("C"), AUTHORITY), {"A": A, "C": C, "E": E}, "E"), bound_to_another,
               "the user stands beside K, under the encryption of 7", APART),
        Attack("L4", "E registers A's key, of which it has the hash alone", "key binding, at registration",
               Scope((AUTHORITY,), {"A": A, "E": E}, "E",
                     (registered_key("KA"), mac(name("KA"), enc(party("A"), name("n0"))))),
               without_the_key, "the user stands in what is registered of the key",
               messages=(USER_REGISTRATION, OWN_KEY)),
        Attack("L5", "A is told that its key is loaded, and C never had it", "agreement, at the user",
               Scope((user("A", "C", "KA"), card("C"), AUTHORITY), {"A": A, "C": C}, "", (registered_key("KA"),)),
               nobody_has_it, "8 signed by the card", APART),
        Attack("L6", "5, 7 and 11 once more: a second session without A", "freshness",
               Scope((user("A", "C", "KA"), card("C"), card("C"), AUTHORITY), {"A": A, "C": C}), more_than_sent,
               "a nonce of the card in 2 and 5, a session in 5, 6, 7 and 11", APART),
        Attack("L7", "a key that A meant for C is loaded into D, another honest card", "agreement on the card",
               Scope((user("A", "C", "KA"), card("C"), card("D"), AUTHORITY), {"A": A, "C": C, "D": D}), other_card,
               "both names signed in 1 and 2, and said in 5 and 6", APART),
        Attack("L8", "5 passes for 11: the key is active, and nobody has checked it", "agreement on K, by missing tags",
               Scope((user("A", "C", "KA"), card("C"), AUTHORITY), {"A": A, "C": C}), unconfirmed,
               "a word in every statement", ("L2",)),
        Attack("L9", "X's key is registered under C's id", "registration",
               Scope((AUTHORITY,), {"C": C, "X": X}, "X"), not_its_own,
               "a token for the id, and a signature with the key that is registered",
               messages=(REGISTRATION, PROVED)),
        Attack("L10", "what is said to E, encrypted again, is taken by A", "whom a statement is for",
               Scope((user("A", "C", "KA"), card("C"), AUTHORITY), {"A": A, "C": C, "E": E}, "E"), told_to_another,
               "whom it is for stands inside the signature", ("L2",)),
        Attack("L12", "12 about one key is taken for another", "agreement on N_K",
               Scope((user("A", "C", "KA"), user("A", "C", "KA2"), card("C"), AUTHORITY), {"A": A, "C": C}, "",
                     (registered_key("KA"), registered_key("KA2"))), other_number,
               "one statement for both, which names user, number and key", APART),
    )
}  # fmt: skip
"""L11 is in frames.py and L13 in ban.py: they are about what can be told apart, and about a proof."""


def literal(attack: Attack) -> Protocol:
    return attack.messages[0] if attack.messages else mended(LITERAL, *attack.given)


def fixed(attack: Attack) -> Protocol:
    return attack.messages[1] if attack.messages else mended(FIXES[attack.name], *attack.given)


def asked(attack: Attack, protocol: Protocol) -> tuple[World, Found]:
    world = World(protocol, attack.scope)
    return world, explore(world, attack.wrong)


@lru_cache(None)
def found(of: str, given: bool = True) -> tuple[World, Found]:
    """The shortest attack; without `given` on the very literal protocol, where it may borrow from L2 and L8."""
    attack = ATTACKS[of]
    return asked(attack, literal(attack if given else attack._replace(given=())))
