"""Terms: what messages are made of when cryptography is perfect.

A term is a name, or a constructor over terms. Terms that are equal are one object, so comparing and hashing one costs
nothing however deep it is. What somebody can do with terms stands in knowledge.py.

    name(text)              an atom that has to be learnt: a nonce, a private or a symmetric key
    literal(text)           an atom that everybody has: a party, a label, a number
    public(k)               the public half of the private key k
    enc(t, ..)              a tuple: everybody takes it apart
    aenc(pk, t, info)       t encrypted to a public key; it opens under the same info alone
    senc(k, t, info)        t encrypted under a symmetric key
    sign(k, t)              the signature of the private key k over t; t can be read from it
    hashed(t), mac(k, t)    one way
"""

from __future__ import annotations

from collections.abc import Iterator


class Term:
    """One term; made by the functions below alone. `number` counts the terms in the order they were first made."""

    __slots__ = ("_text", "kind", "number", "parts")

    def __init__(self, kind: str, parts: tuple, number: int) -> None:
        self.kind, self.parts, self.number, self._text = kind, parts, number, ""

    def __lt__(self, other: Term) -> bool:
        return self.number < other.number

    def __repr__(self) -> str:
        self._text = self._text or _SHOWN[self.kind](*self.parts)
        return self._text

    def __reduce__(self):
        return _made, (self.kind, *self.parts)


_TABLE: dict[tuple, Term] = {}


def _made(kind: str, *parts) -> Term:
    found = _TABLE.get((kind, parts))
    if found is None:
        found = _TABLE[kind, parts] = Term(kind, parts, len(_TABLE))
    return found


def name(text: str) -> Term:
    return _made("name", text)


def literal(text: str) -> Term:
    return _made("literal", text)


def public(key: Term) -> Term:
    return _made("public", key)


def enc(*fields: Term) -> Term:
    return _made("enc", *fields)


NOTHING = enc()


def aenc(key: Term, body: Term, info: Term = NOTHING) -> Term:
    return _made("aenc", key, body, info)


def senc(key: Term, body: Term, info: Term = NOTHING) -> Term:
    return _made("senc", key, body, info)


def sign(key: Term, body: Term) -> Term:
    return _made("sign", key, body)


def hashed(body: Term) -> Term:
    return _made("hash", body)


def mac(key: Term, body: Term) -> Term:
    return _made("mac", key, body)


def subterms(term: Term) -> Iterator[Term]:
    """The term and everything it is made of, each once."""
    seen, todo = {term}, [term]
    while todo:
        at = todo.pop()
        yield at
        fresh = [part for part in at.parts if isinstance(part, Term) and part not in seen]
        seen.update(fresh)
        todo += fresh


def replaced(term: Term, by: dict[Term, Term]) -> Term:
    """The term with some of its parts exchanged."""
    if term in by:
        return by[term]
    return _made(term.kind, *(replaced(part, by) if isinstance(part, Term) else part for part in term.parts))


def _owner(key: Term) -> str:
    return repr(key.parts[0]) if key.kind == "public" else repr(key)


def _under(info: Term) -> str:
    return "" if info is NOTHING else f" | {info!r}"


# How a term is written: {t}_P is encrypted to P, [t]_P is signed by P.
_SHOWN = {
    "name": lambda text: text,
    "literal": lambda text: text,
    "public": lambda key: f"pk({key!r})",
    "enc": lambda *fields: f"({', '.join(map(repr, fields))})",
    "aenc": lambda key, body, info: f"{{{body!r}{_under(info)}}}_{_owner(key)}",
    "senc": lambda key, body, info: f"{{|{body!r}{_under(info)}|}}_{key!r}",
    "sign": lambda key, body: f"[{body!r}]_{key!r}",
    "hash": lambda body: f"h({body!r})",
    "mac": lambda key, body: f"mac({key!r}, {body!r})",
}
