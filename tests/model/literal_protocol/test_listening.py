"""L11, what a listener can tell apart, and L13, what the paper's own logic does not give."""

from tests.model.attacker.terms import hashed, mac, name
from tests.model.literal_protocol.ban import (
    FRESH,
    MISTAKEN,
    PARTS,
    REGISTRATION,
    REPAIRED,
    VERIFICATION,
    believes,
    derived,
    key_of,
    missing,
)  # fmt: skip
from tests.model.literal_protocol.frames import listened, recognised, verifiers
from tests.model.literal_protocol.tables import CORRECTED, LITERAL
from tests.model.literal_protocol.templates import sealing


def test_L11_the_same_key_is_recognised_in_sessions_with_two_cards():
    assert hashed(name("KA")) in recognised(LITERAL)
    assert recognised(CORRECTED) == set()


def test_L11_a_guess_of_the_key_can_be_tried():
    assert verifiers(listened(LITERAL, "C", "KA", "1"), name("KA")) == {hashed(name("KA"))}
    assert verifiers(listened(CORRECTED, "C", "KA", "1"), name("KA")) == set()


def test_L11_the_authority_can_try_a_guess_still():
    """It has kcv and r_K: so a key of little entropy must not be used (docs/protocol.md, kcv)."""
    authority = listened(CORRECTED, "C", "KA", "1").learn(sealing("CA"), name("n31.1"))
    (kcv,) = verifiers(authority, name("KA"))
    assert kcv.kind == "mac" and kcv.parts[0] is name("KA") and isinstance(kcv, type(mac(name("KA"), name("n0"))))


def test_L13_the_verification_does_not_follow_from_what_is_assumed():
    """One assumption is given to the wrong party. As printed not even the user's own belief follows."""
    assert MISTAKEN in VERIFICATION.assumed
    assert missing(VERIFICATION) == [believes("user", "Ver_card"), believes("card", "Ver_user")]
    assert missing(VERIFICATION, without=(MISTAKEN,), more=REPAIRED[:1]) == [believes("user", "Ver_card")]
    assert missing(VERIFICATION, without=(MISTAKEN,), more=REPAIRED[1:]) == [believes("card", "Ver_user")]
    assert missing(VERIFICATION, without=(MISTAKEN,), more=REPAIRED) == []


def test_L13_the_other_two_do_follow():
    """So the derivation can: it is not that nothing follows."""
    assert [name for name, part in PARTS.items() if missing(part)] == ["verification"]


def test_L13_every_assumption_that_a_proof_uses_is_needed():
    for assumption in (believes("card", key_of("CA")), believes("card", FRESH)):
        assert missing(REGISTRATION, without=(assumption,)) == [believes("card", "card.cer")]


def test_L13_secrecy_of_K_is_no_goal_and_nothing_says_who_else_has_it():
    goals = [goal for part in PARTS.values() for goal in part.goals]
    assert len(goals) == 6
    assert {goal[2] for goal in goals} == {"card.cer", "Ver_card", "Ver_user", "Ver_K", "N_K", key_of("card")}
    everything = frozenset().union(*(derived(part.assumed, part.messages) for part in PARTS.values()))
    assert not [formula for formula in everything if "K" in formula]
