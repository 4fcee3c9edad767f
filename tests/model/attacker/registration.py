"""Registration in an attacker's hand: A and C enrol, E or X does, and every registration 1 that can be made is sent.

The attacker is the broker D and has the token and the keys of its insider. It writes any role, id and public keys into
R, signs with the keys it has, and authenticates with its own token or repeats what it saw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

from vecd.protocol.broker import registration2
from vecd.protocol.encoding import enc
from vecd.protocol.identity import kcv_of
from vecd.protocol.messages import (
    BROKER,
    CARD,
    R_OF,
    USER,
    CardR,
    Reg1,
    RegInner,
    ToParty,
    UserR,
    context,
    pack,
    unpack,
)
from vecd.protocol.suites import mac, seal, sign

from . import symbolic
from .knowledge import Knowledge
from .machines import ALG, USAGE, AuthoritySteps, EnrolmentSteps, Move
from .symbolic import body_of, bytes_of, label_of, term_of
from .terms import Term
from .world import Stage

_ROLE = {"A": USER, "C": CARD, "E": USER, "X": CARD}


class Registration(Stage):
    """A and C, and the insider E or X, hold tokens; nobody but the broker is registered."""

    def __init__(self, insider: str, register: Any = None) -> None:
        super().__init__(register=register)
        self.insider = insider
        self.enrol(BROKER, "D")
        self.invitations = {name: self.invite(_ROLE[name], name) for name in ("A", "C", insider)}
        started = {name: self.enrolment(self.invitations[name]) for name in ("A", "C")}
        self.seen += [e.message for e in started.values()]
        self.machines = (
            *(EnrolmentSteps(name, e, self.chance) for name, e in started.items()),
            AuthoritySteps("CA", self.authority, self.chance),
        )
        self.limits: dict = {}
        self.knowledge = self.known(term_of(self.invitations[insider].token))


class View:
    """The certificates that are known, and what of registrations can be sent again."""

    def __init__(self, knowledge: Knowledge) -> None:
        signed = list(knowledge.of("sign"))
        self.certificates = tuple(t for t in signed if label_of(t) == "cert")
        self.proofs = tuple(t for t in signed if label_of(t) == "reg")
        self.macs = tuple(t for t in knowledge.of("mac") if label_of(t) == "regtok")

    @property
    def of_party(self) -> tuple:
        return self.certificates

    @property
    def of_authority(self) -> tuple:
        return self.proofs, self.macs


class Registrant:
    """Every move of the attacker in a registration."""

    def __init__(self, world: Registration) -> None:
        self.world, self.ids, self.keys = world, world.ids, world.keys
        self.asked: list[tuple[str, Callable[[View], Iterator[Move]]]] = [
            *(("of_party", self._to(name)) for name in ("A", "C")),
            ("of_authority", self.to_authority),
        ]

    def view(self, knowledge: Knowledge) -> View:
        return View(knowledge)

    def _to(self, name: str) -> Callable[[View], Iterator[Move]]:
        """Registration 4: any certificate, sealed to this party for its own registration."""
        (nonce,) = (m.nodes[0].machine._n_x for m in self.world.machines if m.name == name)
        me, key = self.ids[name], self.keys[name].seal_key

        def to_party(view: View) -> Iterator[Move]:
            for c in view.certificates:
                statement = enc(bytes_of(body_of(c)), bytes_of(c))
                yield "R4", pack(ToParty(me, seal(key, "cert", context(me, nonce), statement)))

        return to_party

    def to_authority(self, view: View) -> Iterator[Move]:
        proofs = {body_of(t): t for t in view.proofs}
        macs = {body_of(t): t for t in view.macs}
        own, token = self.world.insider, self.world.invitations[self.world.insider].token
        for r in self._rs(view):
            inner = pack(r)
            seen: Term = term_of(inner)
            signatures = {sign(self.keys[key], "reg", inner) for key in (own, "D")}
            signatures |= {bytes_of(proofs[seen])} if seen in proofs else set()
            tags = {mac(token, "regtok", inner)} | ({bytes_of(macs[seen])} if seen in macs else set())
            for s, t in product(sorted(signatures), sorted(tags)):
                yield "R2", self._message2(r.role, r.id_x, pack(RegInner(inner, s, t)))

    def _rs(self, view: View) -> Iterator[UserR | CardR]:
        """R as somebody else made it, and R of anything."""
        for t in view.proofs:
            role = repr(body_of(t).parts[0])
            if role in (USER, CARD):
                yield unpack(R_OF[role], bytes_of(body_of(t)), "registration 1")
        names = ("A", "C", self.world.insider, "D")
        n_x, r_k = symbolic.known("n_E", 32), symbolic.known("r_E", 32)
        for id_x, seal_of, sign_of in product(names[:3], names, names):
            party = self.ids[id_x], self.keys[seal_of].seal_key, self.keys[sign_of].sign_key, n_x
            kcv = kcv_of(self.world.own_key, self.ids[id_x], ALG, USAGE, r_k)
            yield UserR(USER, *party, ALG, USAGE, kcv, r_k)
            yield CardR(CARD, *party, b"")

    def _message2(self, role: str, id_x: bytes, body: bytes) -> bytes:
        ca = self.world.authority.who()
        if role == USER:
            body = seal(ca.seal_key, "reg", context(role.encode(), id_x), body)
        return registration2(self.ids["D"], self.keys["D"], ca, pack(Reg1(role, id_x, body)))
