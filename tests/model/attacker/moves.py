"""What the attacker says: every message that a machine might take, made of what the attacker knows.

Goal-directed. A machine takes a message in which an honest party's or the authority's signature stands only if the
attacker saw that signature, so of those there are as many as there are known ones; whatever else stands in a message
the attacker makes itself, of every id, key, ciphertext and session that it knows, signed with the keys that it has. It
seals as it likes. Nothing here looks at what a machine checks: most of what is made is refused, and a check that is
taken out lets it pass.

Values that the attacker draws itself are named after what they answer, since all its own values are alike to others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property, partial

from vecd.protocol import user
from vecd.protocol.encoding import enc, u32
from vecd.protocol.messages import (
    M1,
    M2,
    AttachContext,
    AttachMessage,
    AttachSigned,
    FromUser,
    K7Signed,
    K8Inner,
    K8Signed,
    KeyInner,
    KeySigned,
    Message3,
    Message7,
    Message8,
    Sealed3,
    Signed,
    ToParty,
    ToSession,
    Verification,
    context,
    pack,
    unpack,
)
from vecd.protocol.suites import h, seal, sign

from . import symbolic, terms
from .knowledge import Knowledge
from .machines import ALG, USAGE, Move
from .symbolic import body_of, bytes_of, label_of, term_of
from .terms import Term
from .world import World

#: The nonces of sessions in which the attacker is both, and those that it uses first: they are all alike.
OWN_PAIRS = {"e1, x1": "", "e2, x2": "e1, x1", "e3, x3": "e2, x2"}


class View:
    """What of a knowledge can become part of a message, by kind, as bytes. Equal views are equal moves."""

    def __init__(self, knowledge: Knowledge, by_authority: Term) -> None:
        signed = list(knowledge.of("sign"))
        of = {label: [t for t in signed if label_of(t) == label] for label in ("v1", "v2", "k7", "k8", "attach", "ver")}
        self.statements = tuple(
            t for t in signed if t.parts[0] is by_authority and label_of(t) not in ("cert", "keyreg")
        )
        self.m1, self.m2, self.s7, self.s8 = (tuple(of[label]) for label in ("v1", "v2", "k7", "k8"))
        self.v = tuple(body_of(t) for t in of["ver"])
        sealed = list(knowledge.of("aenc"))
        self.s_attach = tuple(of["attach"])
        self.blobs, self.cks = (tuple(t for t in sealed if label_of(t) == label) for label in ("k7", "attach"))
        self.keys = tuple(bytes_of(t) for t in knowledge.of("name") if repr(t) in "KLM")
        self.kcvs = tuple(t for t in knowledge.of("mac") if label_of(t) == "kcv")

    @cached_property
    def of_user(self) -> tuple:
        return self.statements, self.v

    @cached_property
    def of_card(self) -> tuple:
        return self.statements, self.v, self.blobs, self.s7, self.keys, self.cks, self.s_attach

    @cached_property
    def of_authority(self) -> tuple:
        return self.m1, self.m2, self.s8, self.v, self.kcvs


def _signed(signature: Term) -> bytes:
    """enc(body, signature), as it travels."""
    return enc(bytes_of(body_of(signature)), bytes_of(signature))


class Attacker:
    """Every move of the attacker in one world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ids, self.keys = world.ids, world.keys
        self.ca_seal = self.keys["CA"].seal_key
        self._authority = symbolic.secrets("CA")[0]
        #: Of each machine: what of a view it can be told, and who makes that.
        self.asked: list[tuple[str, Callable[[View], Iterator[Move]]]] = [
            *(("of_user", partial(self.to_user, run.user)) for run in world.scope.runs),
            *(("of_card", partial(self.to_card, name)) for name in world.scope.cards),
            ("of_authority", self.to_authority),
        ]
        #: What goes with a key that it makes up: r_K is nobody's business.
        self.r_K = bytes_of(terms.name("r_K[E]'"))

    def view(self, knowledge: Knowledge) -> View:
        return View(knowledge, self._authority)

    # ---- to a user's run -------------------------------------------------------------------------------------

    def to_user(self, name: str, view: View) -> Iterator[Move]:
        me, key = self.ids[name], self.keys[name].seal_key
        for statement in view.statements:
            yield 6, pack(ToParty(me, seal(key, "v6", context(me), _signed(statement))))
        for statement in view.statements:
            for sid in _sids(view):
                yield 12, pack(ToSession(me, sid, seal(key, "k12", context(me, sid), _signed(statement))))

        if self.world.scope.attach:
            # This the user does by itself.
            yield "ask", self.world.instances[name]

    # ---- to the card -----------------------------------------------------------------------------------------

    def to_card(self, name: str, view: View) -> Iterator[Move]:
        me, key = self.ids[name], self.keys[name].seal_key
        for peer in self.world.scope.peers:
            m1 = pack(M1(self.ids[peer], me, symbolic.known("n", 32)))
            yield 1, pack(Signed(m1, sign(self.keys["E"], "v1", m1)))
        for statement in view.statements:
            yield 5, pack(ToParty(me, seal(key, "v5", context(me), _signed(statement))))
        yield from self._messages7(view, key)
        for statement in view.statements:
            for sid in _sids(view):
                yield 11, pack(ToSession(me, sid, seal(key, "k11", context(me, sid), _signed(statement))))

    def _messages7(self, view: View, key: bytes) -> Iterator[Move]:
        plain = [enc(secret, ALG.encode(), u32(USAGE), self.r_K) for secret in (self.world.own_key, *view.keys)]
        known = {body_of(s): bytes_of(s) for s in view.s7}
        for v in (unpack(Verification, bytes_of(v), "") for v in view.v):
            ctx = pack(user.K7Context(v.sid, v.id_u, v.id_c, v.n_u, v.n_c))
            for ct in (*map(bytes_of, view.blobs), *(seal(key, "k7", ctx, text) for text in plain)):
                for id_u in self.world.user_names:
                    for id_c in self.world.card_names:
                        body = pack(K7Signed(v.sid, self.ids[id_u], self.ids[id_c], h(ct)))
                        # An honest signature where there is one, else the attacker's own.
                        s = known.get(term_of(body)) or sign(self.keys["E"], "k7", body)
                        yield 7, pack(Message7(v.sid, self.ids[id_u], self.ids[id_c], ct, s))

        if self.world.scope.attach:
            yield from self._attaches(view, key)

    def _attaches(self, view: View, key: bytes) -> Iterator[Move]:
        plaintext = enc(symbolic.known("ck_E", 32))
        known = {body_of(s): bytes_of(s) for s in view.s_attach}
        names = [(u, c, i) for u in self.world.user_names for c in self.world.card_names for i in self.world.user_names]
        for sid in _sids(view):
            for id_u, id_c, i in names:
                fields = sid, self.ids[id_u], self.ids[id_c], self.world.instances[i]
                for ct in (*map(bytes_of, view.cks), seal(key, "attach", pack(AttachContext(*fields)), plaintext)):
                    body = pack(AttachSigned(*fields, h(ct)))
                    s = known.get(term_of(body)) or sign(self.keys["E"], "attach", body)
                    yield "attach", pack(AttachMessage(*fields, ct, s))

    # ---- to the authority ------------------------------------------------------------------------------------

    def to_authority(self, view: View) -> Iterator[Move]:
        for one, two in dict.fromkeys(self._pairs(view)):
            inner = pack(Sealed3(*one, *two))
            d = self.ids["D"]
            yield 3, pack(Message3(d, seal(self.ca_seal, "v3", context(d), inner)))
        yield from self._messages9(view)

    def _pairs(self, view: View) -> Iterator[tuple[tuple[bytes, bytes], tuple[bytes, bytes]]]:
        """Messages 1 and 2 as they are put together: known with known, known with made, made with made."""
        ones = [(bytes_of(body_of(s)), bytes_of(s)) for s in view.m1]
        twos = [(bytes_of(body_of(s)), bytes_of(s)) for s in view.m2]
        for one in ones:
            yield from ((one, two) for two in twos)
            n_u = body_of(term_of(one[1])).parts[2]
            yield from ((one, two) for n in self._nonces(view, f"x[{n_u!r}]") for two in self._made_2(n))
        for two in twos:
            n_c = body_of(term_of(two[1])).parts[2]
            yield from ((one, two) for n in self._nonces(view, f"e[{n_c!r}]") for one in self._made_1(n))
        for own in OWN_PAIRS:
            n_u, n_c = (symbolic.known(text, 32) for text in own.split(", "))
            yield from ((one, two) for one in self._made_1(n_u) for two in self._made_2(n_c))

    def _nonces(self, view: View, own: str) -> list[bytes]:
        seen = [bytes_of(body_of(s).parts[2]) for s in (*view.m1, *view.m2)] if self.world.scope.reuse else []
        return [symbolic.known(own, 32), *seen]

    def _made_1(self, n_u: bytes) -> Iterator[tuple[bytes, bytes]]:
        for id_u in self.world.user_names:
            for id_c in self.world.card_names:
                m1 = pack(M1(self.ids[id_u], self.ids[id_c], n_u))
                yield m1, sign(self.keys["E"], "v1", m1)

    def _made_2(self, n_c: bytes) -> Iterator[tuple[bytes, bytes]]:
        for id_u in self.world.user_names:
            for id_c in self.world.card_names:
                m2 = pack(M2(self.ids[id_c], self.ids[id_u], n_c))
                yield m2, sign(self.keys["X"], "v2", m2)

    def _messages9(self, view: View) -> Iterator[Move]:
        for sid in _sids(view):
            for s8 in view.s8:
                fields = unpack(K8Signed, bytes_of(body_of(s8)), "")
                yield from self._message9(sid, K8Inner(*fields[1:], bytes_of(s8)))
            for id_u in (self.ids[name] for name in self.world.user_names):
                for id_c in (self.ids[name] for name in self.world.card_names):
                    for kcv in map(bytes_of, view.kcvs):
                        s8 = sign(self.keys["X"], "k8", pack(K8Signed(sid, id_u, id_c, ALG, USAGE, kcv)))
                        yield from self._message9(sid, K8Inner(id_u, id_c, ALG, USAGE, kcv, s8))

    def _message9(self, sid: bytes, inner: K8Inner) -> Iterator[Move]:
        message9 = pack(Message8(sid, seal(self.ca_seal, "k8", context(sid), pack(inner))))
        yield 9, sid, message9
        if inner.id_u == self.ids["E"]:
            # E registers this kcv first, if it has not: nobody else would notice when.
            yield "key, 9", self.registration(inner.alg, inner.usage, inner.kcv), sid, message9

    def registration(self, alg: str, usage: int, kcv: bytes) -> bytes:
        """E registers a further key of which it knows kcv alone."""
        e = self.ids["E"]
        fields = KeySigned(e, symbolic.known(f"n[{term_of(kcv)!r}]", 32), "", alg, usage, kcv, self.r_K)
        inner = pack(KeyInner(*fields, sign(self.keys["E"], "key", pack(fields))))
        return pack(FromUser(e, seal(self.ca_seal, "key", context(e), inner)))


def _sids(view: View) -> list[bytes]:
    at = Verification._fields.index("sid")
    return list(dict.fromkeys(bytes_of(v.parts[at]) for v in view.v))
