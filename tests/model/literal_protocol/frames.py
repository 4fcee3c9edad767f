"""L11: what can be told apart by who only listens: the same key in two sessions, and a guess of a key."""

from tests.model.attacker.knowledge import Knowledge
from tests.model.attacker.terms import Term, name, subterms
from tests.model.literal_protocol.explore import AUTHORITY, Scope, World, card, user
from tests.model.literal_protocol.tables import Protocol
from tests.model.literal_protocol.templates import party

ONE_WAY = ("hash", "mac")


def listened(protocol: Protocol, to: str, key: str, session: str) -> Knowledge:
    """What somebody knows who heard a whole honest session of A with the card `to`, and has no secret at all."""
    scope = Scope(
        (user("A", to, key), card(to), AUTHORITY), {"A": ("user", (key,)), to: ("card", ())}, salt=f".{session}"
    )
    world = World(protocol, scope)
    state, knowledge = tuple(world.start), world.knowledge
    meant = {"u": party("A"), "v": party("A"), "c": party(to), "K": name(key)}
    while not all(world.done(which, at) for which, at in enumerate(state)):
        # The first message that says what the parties mean; there is no other that they would take.
        state, step = next(
            (after, step)
            for after, step in world.moves(state, knowledge)
            if all(meant.get(what, value) is value for at in after for what, value in at.env)
            and (step.message not in ("11",) or world.done(world.scope.runs.index(AUTHORITY), state[-1]))
        )
        knowledge = knowledge.learn(*step.sent)
    return knowledge


def recognised(protocol: Protocol) -> set[Term]:
    """What is equal in two sessions with two cards exactly when the key is: empty if nothing shows."""
    first = listened(protocol, "C", "KA", "1")
    same, other = listened(protocol, "D", "KA", "2"), listened(protocol, "D", "KA2", "2")
    return set((first.terms & same.terms) - (first.terms & other.terms))


def verifiers(knowledge: Knowledge, key: Term) -> set[Term]:
    """What a guess of the key is held against: one-way values that were seen, and that can be made with the key."""
    guessed = knowledge.learn(key)
    return {
        term
        for term in knowledge.terms
        if term.kind in ONE_WAY and key in set(subterms(term)) and all(guessed.derives(part) for part in term.parts)
    }
