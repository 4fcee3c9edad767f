"""The attacker takes apart what it can, builds what it may, and no more."""

import pickle

from .knowledge import Knowledge
from .terms import aenc, enc, hashed, literal, mac, name, public, replaced, senc, sign, subterms

A, B, K, N, SK = map(name, ("A", "B", "K", "N", "sk"))


def test_equal_terms_are_one_object():
    assert enc(A, hashed(B)) is enc(A, hashed(B))
    assert enc(A, B) is not enc(B, A)
    assert pickle.loads(pickle.dumps(sign(SK, A))) is sign(SK, A)


def test_a_tuple_is_taken_apart_and_a_hash_is_not():
    known = Knowledge([enc(A, hashed(N), mac(K, N))])
    assert A in known and hashed(N) in known and mac(K, N) in known
    assert not known.derives(N) and not known.derives(K)


def test_a_seal_opens_with_its_private_key_alone():
    sealed = aenc(public(SK), N, A)
    assert N not in Knowledge([sealed, public(SK), A])
    assert N in Knowledge([sealed, SK])
    assert N in Knowledge([sealed]).learn(SK)


def test_a_key_that_comes_later_opens_what_was_seen_before_also_when_it_has_to_be_built():
    known = Knowledge([senc(hashed(enc(A, N)), K)]).learn(A)
    assert K not in known
    assert K in known.learn(N)
    # One key opens the next.
    chain = Knowledge([senc(A, B), senc(B, N), senc(N, K)])
    assert K in chain.learn(A)


def test_a_dropped_layer_is_read_by_everybody_and_the_others_are_not():
    glass, closed = aenc(public(SK), N, A), aenc(public(SK), K, B)
    known = Knowledge([glass, closed], glass=lambda term: term.parts[2] is A)
    assert N in known and K not in known


def test_a_signature_shows_what_it_is_over_and_is_made_with_the_key_alone():
    known = Knowledge([sign(SK, enc(A, N)), B])
    assert N in known and not known.derives(sign(SK, enc(B, N)))
    assert known.learn(SK).derives(sign(SK, enc(B, N)))


def test_what_is_derived_is_built_of_derived_parts():
    known = Knowledge([A, K, public(SK)])
    assert known.derives(aenc(public(SK), enc(A, mac(K, hashed(A)))))
    assert known.derives(enc(literal("user"), A))
    assert not known.derives(aenc(public(SK), N)) and not known.derives(public(B))


def test_learning_nothing_new_changes_nothing():
    known = Knowledge([enc(A, B)])
    assert known.learn(A, B) is known


def test_terms_are_walked_and_replaced():
    term = sign(SK, enc(A, senc(K, N)))
    assert {A, K, N, SK} <= set(subterms(term))
    assert replaced(term, {A: B}) is sign(SK, enc(B, senc(K, N)))


def test_a_term_is_written_as_the_protocols_are():
    assert repr(aenc(public(name("C")), enc(K, sign(name("A"), N)))) == "{(K, [N]_A)}_C"
    assert repr(mac(K, enc(A, hashed(B)))) == "mac(K, (A, h(B)))"
