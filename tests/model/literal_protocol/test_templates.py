"""The notation: what is written is what is made, and what is taken is what was made."""

import pytest

from tests.model.attacker.knowledge import Knowledge
from tests.model.attacker.terms import aenc, enc, hashed, literal, mac, name, public, sign
from tests.model.literal_protocol.tables import CORRECTED, FIXES, LITERAL, OWN_KEY, PROVED, REGISTRATION
from tests.model.literal_protocol.templates import (
    made,
    offered,
    parsed,
    party,
    sealing,
    signing,
    taken,
    token,
    variables,
)

ENV = {"u": party("A"), "K": name("KA"), "P": public(sealing("C")), "T": literal("T1")}


def test_a_template_is_made():
    assert made(parsed("[u]_u"), ENV) is sign(signing("A"), party("A"))
    assert made(parsed("u, {K}_P"), ENV) is enc(party("A"), aenc(public(sealing("C")), name("KA")))
    assert made(parsed("{[ok, T]_CA}_u"), ENV) is aenc(
        public(sealing("A")), sign(signing("CA"), enc(literal("ok"), literal("T1")))
    )
    assert made(parsed("h(K), mac(tok(u), u, K)"), ENV) is enc(
        hashed(name("KA")), mac(token("A"), enc(party("A"), name("KA")))
    )


@pytest.mark.parametrize(
    "protocol", [LITERAL, CORRECTED, REGISTRATION, PROVED, OWN_KEY, *FIXES.values()], ids=lambda protocol: ""
)
def test_what_is_made_is_taken_and_says_what_was_in_it(protocol):
    for template in protocol.messages.values():
        env = {}
        for variable in variables(parsed(template)):
            values = {"K": name("KA"), "P": public(sealing("C")), "Q": public(signing("C")), "T": literal("T1")}
            env[variable] = values.get(variable[0], party("A") if variable in "uvcdi" else name(f"{variable[0]}1"))
        known = {"i": env["i"]} if "i" in env else {}
        assert taken(parsed(template), made(parsed(template), env), known) == env


@pytest.mark.parametrize("wrong", ["[u", "{u}", "[u]_", "u,", "f(K)", "u v", "h(K", "", "[u}_u", "u, 1"])
def test_what_is_none_is_refused(wrong):
    with pytest.raises(ValueError, match="no template"):
        parsed(wrong)


def test_what_is_not_known_cannot_be_made():
    with pytest.raises(KeyError, match="n1"):
        made(parsed("u, n1"), ENV)


def test_messages_are_typed():
    assert taken(parsed("K"), literal("A"), {}) is None
    assert taken(parsed("u"), literal("ok"), {}) is None
    assert taken(parsed("T"), literal("T7"), {}) == {"T": literal("T7")}


def test_what_was_learnt_before_has_to_be_the_same():
    said = made(parsed("[u]_u"), ENV)
    assert taken(parsed("[u]_u"), said, {"u": party("A")}) is not None
    assert taken(parsed("[u]_u"), said, {"u": party("E")}) is None
    assert taken(parsed("[u]_v"), said, {"v": party("E")}) is None


def test_an_attacker_offers_what_it_saw_and_what_it_can_make_and_nothing_else():
    signed = parsed("[u]_u")
    nothing = Knowledge([party("A"), party("E")])
    assert list(offered(signed, {}, nothing, ("A", "E"))) == []
    saw = nothing.learn(sign(signing("A"), party("A")))
    assert list(offered(signed, {}, saw, ("A", "E"))) == [{"u": party("A")}]
    bad = nothing.learn(signing("E"))
    assert list(offered(signed, {}, bad, ("A", "E"))) == [{"u": party("E")}]
    sealed = parsed("{K}_c")
    env = {"c": party("C")}
    keys = Knowledge([public(sealing("C")), name("KE"), aenc(public(sealing("C")), name("KA"))])
    assert sorted(map(str, (found["K"] for found in offered(sealed, env, keys, ("C",))))) == ["KA", "KE"]
