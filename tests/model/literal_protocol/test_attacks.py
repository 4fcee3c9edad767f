"""L1 to L12 are found on the literal messages, in the steps that docs/protocol.md has; their corrections end them."""

import pytest

from tests.model.attacker.terms import name
from tests.model.literal_protocol import attacks
from tests.model.literal_protocol.attacks import ATTACKS, asked, fixed, found, literal
from tests.model.literal_protocol.explore import AUTHORITY, Scope, World, card, explore, registered_key, told, user
from tests.model.literal_protocol.tables import CORRECTED, FIXES, LITERAL, PAIR, changed, mended
from tests.model.literal_protocol.templates import party, shown

STEPS = {
    # On the literal messages; with L2 and L8 mended, where it would borrow from them.
    "L1": (2, 2),
    "L2": (2, 2),
    "L3": (4, 5),
    "L4": (5, 6),
    "L4 registered": (1, 1),
    "L5": (4, 4),
    "L6": (8, 9),
    "L7": (5, 6),
    "L8": (5, 5),
    "L9": (1, 1),
    "L10": (2, 2),
    "L12": (4, 4),
}


@pytest.mark.parametrize("of", ATTACKS)
def test_the_attack_is_found_on_the_literal_messages(of):
    whole, alone = STEPS[of]
    for given, steps in ((False, whole), (True, alone)):
        world, best = found(of, given)
        assert best.trace is not None and len(best.trace) == steps, told(world, best.trace or ())


@pytest.mark.parametrize("of", ATTACKS)
def test_the_attacker_makes_every_message_of_it_and_the_end_is_wrong(of):
    """The trace runs again, from nothing but what was said before each message."""
    world, best = found(of)
    state, knowledge = tuple(world.start), world.knowledge
    for step in best.trace:
        assert knowledge.derives(step.term)
        state = next(after for after, other in world.moves(state, knowledge) if other == step)
        knowledge = knowledge.learn(*step.sent)
    assert ATTACKS[of].wrong(world, state, knowledge)


@pytest.mark.parametrize("of", ATTACKS)
def test_its_correction_ends_it(of):
    """In the whole scope, not within so many steps."""
    assert asked(ATTACKS[of], fixed(ATTACKS[of]))[1].trace is None


LARGE = ("L4", "L10", "L12")
"""Thousands of states with one more session of the authority."""


@pytest.mark.parametrize("of", [of for of in ATTACKS if of not in LARGE])
def test_its_correction_holds_with_one_more_session_of_the_authority(of):
    assert one_more(of, fixed(ATTACKS[of])).trace is None


@pytest.mark.minutes
@pytest.mark.parametrize("of", LARGE)
def test_its_correction_holds_with_one_more_session_of_the_authority_too(of):
    wider = one_more(of, fixed(ATTACKS[of]))
    assert wider.trace is None and wider.states > 2_000


def one_more(of, protocol):
    attack = ATTACKS[of]
    wider = attack._replace(scope=attack.scope._replace(runs=(*attack.scope.runs, AUTHORITY)))
    return asked(wider, protocol)[1]


@pytest.mark.parametrize("of", [of for of, attack in ATTACKS.items() if attack.messages is None])
def test_everything_corrected_at_once_ends_it(of):
    assert asked(ATTACKS[of], CORRECTED)[1].trace is None


@pytest.mark.parametrize(
    ("of", "left_out"),
    [
        # Both names signed, and not said by the authority: who asks for E has it said to E, and A takes it.
        ("L10", {"5": "{[ok, T]_CA}_c", "6": "{[ok, P, T]_CA}_u"}),
        # 8 not signed by the card: the attacker says 9 itself.
        ("L5", {"8": "u, h(K)", "9": "{v, h(K)}_CA"}),
        # The user beside K, and not under the encryption.
        ("L4", {"7": "u, u, {K}_P"}),
        # A session in what the authority says, and not in what the user encrypts.
        ("L6", {"7": "u, {K}_P"}),
        # The word in 5 alone: what 11 says may still be said of anything.
        ("L8", {"11": "{[ver, T']_CA}_c"}),
        # Whose number it is, and not of which key.
        ("L12", {"12": "{[keyok, v, N, T']_CA}_v"}),
    ],
)
def test_half_a_correction_does_not(of, left_out):
    attack = ATTACKS[of]
    whole = mended(FIXES["L1"], *attack.given) if of == "L10" else fixed(attack)
    assert asked(attack, whole)[1].trace is None
    # A replay that the authority has to answer anew needs a second session of it.
    assert one_more(of, changed(whole, left_out)).trace is not None


def everybody_done(world, state, knowledge):
    return all(world.done(which, at) for which, at in enumerate(state))


HONEST = Scope((user("A", "C", "KA"), card("C"), AUTHORITY), {"A": ("user", ("KA",)), "C": ("card", ())})


@pytest.mark.parametrize(
    "protocol",
    [LITERAL, mended(LITERAL, "L2", "L8"), *(FIXES[of] for of in FIXES), CORRECTED],
    ids=["literal", "mended", *FIXES, "corrected"],
)
def test_an_honest_run_goes_through(protocol):
    """What nobody can finish is safe for a bad reason."""
    assert explore(World(protocol, HONEST), everybody_done).trace is not None


def test_L6_a_recorded_session_is_completed_by_a_card_without_the_user():
    """The user is not there at all: 5, 7 and 11 of another day are enough, also of a user that was revoked since."""
    for protocol, shown_again in ((mended(LITERAL, "L2", "L8"), 3), (mended(FIXES["L6"], "L2", "L8"), None)):
        world = World(protocol, HONEST._replace(salt=".old"))
        old = explore(world, everybody_done).knowledge
        scope = Scope((card("C"),), HONEST.registered, seen=tuple(old.terms), salt=".new")
        again = explore(World(protocol, scope), attacks.more_than_sent)
        assert (again.trace and len(again.trace)) == shown_again


def test_L12_the_card_never_learns_the_number():
    """By reading the literal roles: N is in no message that the card takes; corrected, it is."""
    for protocol, learns in ((LITERAL, False), (FIXES["L12"], True), (CORRECTED, True)):
        best = explore(World(protocol, HONEST), everybody_done)
        of_card = best.end[1]
        assert of_card.knows("N") == learns


def test_L4_E_with_As_hash_registered_needs_no_other_number():
    """What the registration of a hash is good for: 9 about E and K of A is answered ok."""
    attack = ATTACKS["L4"]
    scope = attack.scope._replace(registered=attack.scope.registered | {"E": ("user", ("KE", "KA"))})
    scope = scope._replace(seen=(registered_key("KA"),), bad="")

    def as_its_own(world, state, knowledge):
        authority = state[-1]
        return authority.knows("N") and authority["v"] is party("E") and authority["K"] is name("KA")

    assert explore(World(literal(attack), scope), as_its_own).trace is not None


ALL_CLAIMS = (
    attacks.key_is_known, attacks.never_sent, attacks.bound_to_another, attacks.nobody_has_it, attacks.more_than_sent,
    attacks.other_card, attacks.unconfirmed, attacks.told_to_another, attacks.other_number,
)  # fmt: skip


def any_claim(world, state, knowledge):
    return any(wrong(world, state, knowledge) for wrong in ALL_CLAIMS)


@pytest.mark.parametrize(
    ("more", "bad", "states"),
    [((card("C"), AUTHORITY), "EX", 200), ((card("C"), AUTHORITY, AUTHORITY), "E", 250),
     ((card("C"), card("C"), AUTHORITY), "E", 600)],
    ids=["a bad card and a bad user", "two sessions of the authority", "two sessions of the card"],
)  # fmt: skip
def test_everything_corrected_at_once_has_none_of_them(more, bad, states):
    """All claims together. These are messages on paper: the machines of vecd are explored by tests/model/attacker."""
    registered = {"A": ("user", ("KA",)), "C": ("card", ()), "E": ("user", ("KE",)), "X": ("card", ())}
    whole = explore(World(CORRECTED, Scope((user("A", "C", "KA"), *more), registered, bad)), any_claim)
    assert whole.trace is None and whole.states >= states


def test_requests_that_name_both_are_not_enough():
    """L1's names in 1 and 2 alone, checked by the authority: the statement still says nothing of whom it is about."""
    attack = ATTACKS["L10"]
    requests = changed(LITERAL, PAIR, card=FIXES["L1"].roles["card"])
    assert asked(attack, mended(requests, "L2"))[1].trace is not None


def test_messages_are_shown_as_on_paper():
    world, best = found("L1")
    assert [shown(step.term) for step in best.trace] == ["{[A]_A, [X]_X}_CA", "{[ok, pk(X), T2]_CA}_A"]
