"""Verification (1, 6), key loading (7, 12), attach and release. From docs/protocol.md, sections of these names."""

from __future__ import annotations

import hmac
import secrets
import time
from dataclasses import dataclass

from .control import Control
from .encoding import Refused, dec, demand, enc, h, mac, number, u32
from .frames import ATTACH, LOAD, RELEASE, VERIFY
from .hpke import seal
from .registration import NONCE, Identity, Record, signed_fields

STATEMENT_S = 300


@dataclass(frozen=True)
class Session:
    """A verification run that this user has accepted."""

    identity: Identity
    sid: bytes
    id_c: bytes
    pk_e_c: bytes
    n_u: bytes
    n_c: bytes


def message_1(identity: Identity, id_c: bytes, n_u: bytes) -> bytes:
    fields = (identity.id, id_c, n_u)
    return enc(enc(*fields), identity.keys.sign("v1", *fields))


def message_6(body: bytes, identity: Identity, id_c: bytes, n_u: bytes) -> Session:
    """The session that V opens, every check done."""
    own, blob = dec(body, 2, "message 6")
    demand(own == identity.id, "6.1", "for another id")
    v = identity.keys.open("6.2", "v6", (identity.id,), blob)
    got = signed_fields("6.3", identity.ca_sign, "ver", v, 11)
    id_u, card, pk_e_u, pk_s_u, pk_e_c, _pk_s_c, nonce, n_c, sid, iat, exp = got
    demand(id_u == identity.id, "6.4", "own id")
    demand(pk_e_u == identity.keys.pk_e, "6.5", "own pkE")
    demand(pk_s_u == identity.keys.pk_s, "6.6", "own pkS")
    demand(nonce == n_u, "6.7", "not this run's nonce")
    demand(card == id_c, "6.8", "another card")
    begin, end = number(iat, 8, "message 6"), number(exp, 8, "message 6")
    demand(time.time() < end, "6.9", "expired")
    demand(end - begin <= STATEMENT_S, "6.10", "valid for too long")
    return Session(identity, sid, id_c, pk_e_c, n_u, n_c)


def verify(control: Control, identity: Identity, id_c: bytes) -> Session:
    """A card that the authority vouches for, with a fresh sid."""
    n_u = secrets.token_bytes(NONCE)
    return message_6(control.ask(VERIFY, message_1(identity, id_c, n_u)), identity, id_c, n_u)


def message_7(session: Session, key: bytes, record: Record) -> bytes:
    names = (session.sid, session.identity.id, session.id_c)
    plain = enc(key, record.alg.encode("ascii"), u32(record.usage), record.r_k)
    ct = seal(session.pk_e_c, "k7", (*names, session.n_u, session.n_c), plain)
    return enc(*names, ct, session.identity.keys.sign("k7", *names, h(ct)))


def message_12(body: bytes, session: Session, record: Record) -> int:
    """N_K, every check done."""
    identity = session.identity
    own, sid, blob = dec(body, 3, "message 12")
    demand(own == identity.id, "12.1", "for another id")
    demand(sid == session.sid, "12.2", "another session")
    o = identity.keys.open("12.3", "k12", (identity.id, session.sid), blob)
    try:
        got, bad = signed_fields("12.4", identity.ca_sign, "keyok", o, 8), False
    except Refused:
        got, bad = signed_fields("12.4", identity.ca_sign, "keybad", o, 8), True
    sid, id_u, id_c, n_k, alg, usage, check_value, exp = got
    demand(sid == session.sid, "12.5", "sid")
    demand(id_u == identity.id, "12.6", "own id")
    demand(id_c == session.id_c and not bad, "12.7", "keybad" if bad else "another card")
    demand(hmac.compare_digest(check_value, record.kcv), "12.8", "kcv")
    demand(alg == record.alg.encode("ascii"), "12.9", "alg")
    demand(usage == u32(record.usage), "12.10", "usage")
    key_number = number(n_k, 8, "message 12")
    demand(key_number != 0, "12.11", "N_K is 0")
    demand(time.time() < number(exp, 8, "message 12"), "12.12", "expired")
    return key_number


def load(control: Control, session: Session, key: bytes, record: Record) -> int:
    """The card holds the key; its N_K."""
    return message_12(control.ask(LOAD, message_7(session, key, record)), session, record)


def attach_request(session: Session, instance: bytes, ck: bytes) -> bytes:
    names = (session.sid, session.identity.id, session.id_c, instance)
    ct = seal(session.pk_e_c, "attach", names, enc(ck))
    return enc(*names, ct, session.identity.keys.sign("attach", *names, h(ct)))


def attach_tag(session: Session, instance: bytes, ck: bytes) -> bytes:
    return mac(ck, "attach", session.sid, instance)


def attach(control: Control, session: Session, instance: bytes) -> None:
    """READY has come and the tag is sent: the connection is a data connection now."""
    ck = secrets.token_bytes(32)
    assert control.ask(ATTACH, attach_request(session, instance, ck)) == b""
    control.send(attach_tag(session, instance, ck))


def release(control: Control, session: Session, instance: bytes) -> None:
    """R6 c: the instance has let go of the card."""
    assert control.ask(RELEASE, enc(session.sid, instance)) == b""
