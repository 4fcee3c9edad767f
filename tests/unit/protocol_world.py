"""Four parties in one process, for the tests of the protocols: every message can be looked at, changed and replayed."""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import dataclass, field

from vecd.pki.profile import Profile
from vecd.pki.registrar import Registrar
from vecd.pki.store import Store
from vecd.protocol import suites
from vecd.protocol.authority import Authority, Both
from vecd.protocol.broker import BrokerParty, Relay, registration2
from vecd.protocol.card import Activation, CardParty
from vecd.protocol.identity import Identity, Invitation, KeyRecord
from vecd.protocol.registration import enrol_broker, enrol_card, enrol_user
from vecd.protocol.user import UserParty, UserRun

NOW = 1_800_000_000
TICK = 1000.0
ALGS = {"AES-128-GCM": 16, "AES-256-GCM": 32, "AES-128-CTR": 16, "AES-256-CTR": 32}
ALG, USAGE, USAGES = "AES-256-GCM", 3, 7


class MemoryVault:
    """The vault of a card, in a dictionary."""

    def __init__(self):
        self.secrets: dict[int, bytearray] = {}
        self.next = 1
        self.dropped = []

    def stage(self, secret):
        handle, self.next = self.next, self.next + 1
        self.secrets[handle] = bytearray(secret)
        return handle

    def kcv(self, handle, data):
        return hmac.digest(self.secrets[handle], data, hashlib.sha256)

    def drop(self, handle):
        secret = self.secrets.pop(handle)
        secret[:] = bytes(len(secret))
        self.dropped.append(handle)


@dataclass
class Trace:
    """One honest run, message by message."""

    run: UserRun
    m: dict = field(default_factory=dict)
    sid: bytes = b""
    number: int = 0
    activation: Activation | None = None


class World:
    """An authority, a broker, cards and users of one suite (or of one each)."""

    def __init__(self, suite=1, *, ca_suite=None, path=":memory:", profile=None):
        self.now, self.tick = NOW, TICK
        self.suite = suite
        self.profile = profile or Profile()
        self.store = Store(path)
        self.ca_keys = suites.generate(ca_suite or suite)
        self.authority = Authority(self.store, self.ca_keys, os.urandom, self.profile)
        self.registrar = Registrar(self.store, self.ca_keys, os.urandom, self.profile)
        self.ca = self.authority.who()
        self.broker = BrokerParty(self.enrol_broker("broker"))

    # ---- registration -----------------------------------------------------------------------------------------

    def invite(self, role, name, **more) -> Invitation:
        return self.registrar.token_new(role, name, self.now, **more)

    def enrol_broker(self, name, invitation=None) -> Identity:
        invitation = invitation or self.invite("broker", name)
        keys = suites.generate(self.suite)
        e = enrol_broker(invitation, keys, os.urandom, self.tick)
        m2 = registration2(invitation.id, keys, invitation.ca, e.message)
        return e.accept(self.authority.register(m2, self.now).body, self.now, self.tick)

    def enrol_card(self, name, suite=None, invitation=None) -> Identity:
        invitation = invitation or self.invite("card", name)
        e = enrol_card(invitation, suites.generate(suite or self.suite), os.urandom, self.tick)
        return e.accept(self.registered(e.message, "card"), self.now, self.tick)

    def enrol_user(self, name, secret, suite=None, invitation=None) -> Identity:
        invitation = invitation or self.invite("user", name)
        e = enrol_user(
            invitation, suites.generate(suite or self.suite), os.urandom, self.tick, secret=secret, alg=ALG, usage=USAGE
        )
        return e.accept(self.registered(e.message, "user"), self.now, self.tick)

    def registered(self, message1, role) -> bytes:
        return self.authority.register(self.broker.relay_registration(message1, role), self.now).body

    def card(self, name, suite=None) -> CardParty:
        return CardParty(self.enrol_card(name, suite), MemoryVault(), os.urandom, algs=ALGS, usages=USAGES)

    def user(self, name, secret, suite=None) -> UserParty:
        return UserParty(self.enrol_user(name, secret, suite), os.urandom)

    def relay(self, user) -> Relay:
        return self.broker.relay(user.identity.id, self.tick)

    # ---- runs -------------------------------------------------------------------------------------------------

    def verify(self, user, card) -> Trace:
        """Messages 1 to 6."""
        relay = self.relay(user)
        run = user.open(card.identity.id, self.tick)
        t = Trace(run)
        t.m[1] = run.message1
        t.m[2] = card.verify_open(relay.verify(t.m[1], self.tick).body, self.tick)
        t.m[3] = relay.card_answered(t.m[2], self.tick)
        both: Both = self.authority.verify(t.m[3], self.now)
        to_card, t.m[6] = relay.certified(both.to_card, both.to_user, self.tick)
        t.m[5] = to_card.body
        t.sid = card.verify_accept(t.m[5], self.now, self.tick)
        run.accept_verification(t.m[6], self.now, self.tick)
        assert run.sid == t.sid
        return t

    def load(self, user, card, secret, t=None) -> Trace:
        """Messages 1 to 12."""
        t = t or self.verify(user, card)
        relay = self.relay(user)
        record: KeyRecord = user.identity.record_of(secret)
        t.m[7] = t.run.load(secret, record, self.tick)
        sid, t.m[8] = card.key_load(relay.load(t.m[7], self.tick).body, self.tick)
        t.m[9] = relay.card_loaded(t.m[8], self.tick)
        both = self.authority.loaded(sid, t.m[9], self.now)
        to_card, t.m[12] = relay.confirmed(both.to_card, both.to_user, self.tick)
        t.m[11] = to_card.body
        t.activation = card.key_accept(t.m[11], self.now, self.tick)
        t.number = t.run.accept_loaded(t.m[12], self.now, self.tick)
        return t
