"""What stands in for something real behaves like it: the register, the broker's place, the copies of machines."""

import random
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from vecd.base.errors import VecError
from vecd.pki.store import Store
from vecd.protocol import suites
from vecd.protocol.broker import BrokerParty
from vecd.protocol.messages import M1, Signed, context, pack

from . import symbolic
from .machines import TICK
from .moves import Attacker
from .register import Memory
from .registration import Registrant, Registration
from .scopes import SCOPES
from .snapshot import fork, state
from .symbolic import SUITE, bytes_of, perfect, term_of
from .terms import aenc, literal, name, public, sign
from .world import World, honest


class Twin:
    """Two registers at once: everything that is asked of one is asked of the other, and the answers are the same."""

    shared = True

    def __init__(self, one, two):
        self._one, self._two, self.asked = one, two, 0

    @property
    def tables(self):
        return self._one.tables

    @contextmanager
    def transaction(self):
        with self._one.transaction() as one, self._two.transaction() as two:
            names = [name for name in dir(one) if name[0] != "_"]
            yield SimpleNamespace(**{name: self._both(getattr(one, name), getattr(two, name)) for name in names})

    def _both(self, one, two):
        def ask(*args):
            self.asked += 1
            answers = [sorted(a, key=repr) if isinstance(a := method(*args), list) else a for method in (one, two)]
            assert answers[0] == answers[1], f"{one.__name__}{args}: {answers}"
            return answers[0]

        return ask


def walk(stage, attacker, rounds, seed):
    """Random moves to everybody, one behind the other; how many the authority answered, and refused."""
    choice, knowledge = random.Random(seed), stage.knowledge
    at, answered, refused = [0] * len(stage.machines), 0, 0
    for _ in range(rounds):
        view = attacker.view(knowledge)
        for which, (_, make) in enumerate(attacker.asked):
            machine, moves = stage.machines[which], list(make(view))
            for move in choice.sample(moves, min(8, len(moves))):
                if machine.name != "CA":
                    step = machine.step(at[which], move)
                    at[which], knowledge = (step.to, knowledge.learn(*step.sent)) if step else (at[which], knowledge)
                    continue
                for part in [("key", stage.ids["E"], move[1]), (9, *move[2:])] if move[0] == "key, 9" else [move]:
                    stage.chance.begin(*machine.draws(part))
                    try:
                        knowledge = knowledge.learn(*map(term_of, machine.give(stage.authority, part)[0]))
                        answered += 1
                    except VecError:
                        refused += 1
    return answered, refused


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.minutes) for n in range(1, 8))])
def test_the_register_in_memory_answers_as_the_one_on_disk(seed):
    store = Store(":memory:")
    with perfect():
        stage = World(SCOPES["2rx"], register=Twin(Memory(), store))
        answered, refused = walk(stage, Attacker(stage), 20, seed)
        assert answered >= 5 and refused >= 50 and stage.register.asked >= 150
    store.close()


@pytest.mark.parametrize("insider", "EX")
def test_it_registers_as_the_one_on_disk(insider):
    store = Store(":memory:")
    with perfect():
        stage = Registration(insider, Twin(Memory(), store))
        attacker, choice = Registrant(stage), random.Random(insider)
        answered = refused = 0
        moves = [m for _, make in attacker.asked[-1:] for m in make(attacker.view(stage.knowledge))]
        for move in choice.sample(moves, len(moves)):
            stage.chance.begin(*stage.machines[-1].draws(move))
            try:
                stage.machines[-1].give(stage.authority, move)
                answered += 1
            except VecError:
                refused += 1
        assert (answered, refused) == (3, len(moves) - 3) and stage.register.asked >= 150
    store.close()


def test_the_attacker_can_do_whatever_the_broker_does():
    with perfect():
        world = World(SCOPES["1r"])
        knowledge = world.knowledge
        for move, sent in honest(world, world.machines):
            assert knowledge.derives(term_of(move[-1])), f"message {move[0]}"
            knowledge = knowledge.learn(*sent)
        assert not knowledge.derives(name("K"))
        stage = Registration("E")
        for machine in stage.machines[:2]:
            role = "user" if machine.name == "A" else "card"
            message2 = BrokerParty(stage.parties["D"]).relay_registration(machine.nodes[0].machine.message, role)
            assert stage.knowledge.derives(term_of(message2))


def test_a_copy_changes_alone_and_is_the_same_state_until_it_does():
    with perfect():
        world = World(SCOPES["1r"])
        card = world.cards[0].nodes[0].machine
        copy = fork(card)
        assert state(copy) == state(card) and copy._vault is not card._vault and copy.identity is card.identity
        world.chance.begin("n_c", "A")
        m1 = pack(M1(world.ids["A"], world.ids["C"], bytes(32)))
        copy.verify_open(pack(Signed(m1, suites.sign(world.keys["A"], "v1", m1))), TICK)
        assert state(copy) != state(card) and not card._open
        again = fork(copy)
        (session,) = again._open.values()
        assert session._vault is again._vault


def test_strings_stand_for_terms_and_back():
    with perfect():
        keys, other = symbolic.keys("A"), symbolic.keys("B")
        assert keys.suite == SUITE
        body = suites.h(b"x") + b""
        blob = suites.seal(keys.seal_key, "k7", context(b"ctx"), body)
        term = term_of(blob)
        assert term is aenc(public(name("A'")), term_of(body), term.parts[2]) and bytes_of(term) == blob
        assert suites.open_(keys, "k7", context(b"ctx"), blob) == body
        for wrong in ((other, "k7", b"ctx"), (keys, "k8", b"ctx"), (keys, "k7", b"other")):
            with pytest.raises(VecError):
                suites.open_(wrong[0], wrong[1], context(wrong[2]), blob)
        s = suites.sign(keys, "v1", body)
        assert term_of(s).kind == "sign" and sign(name("A"), term_of(s).parts[1]) is term_of(s)
        assert suites.verified(keys.sign_key, "v1", body, s)
        assert not suites.verified(other.sign_key, "v1", body, s) and not suites.verified(keys.sign_key, "v2", body, s)
        assert term_of(bytes(8)) is literal("0")
