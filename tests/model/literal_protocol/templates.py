"""
Messages as they are written on paper, and what a party does with one: it makes it, or takes it apart and remembers.

    u, {K}_P          a tuple of what u is and K encrypted to the public key P
    [u, c]_u          signed by the party u; {..}_u encrypted to it
    h(K), mac(t, K)   a hash, a MAC under the secret t
    ok, ver, R1 ..    words: who receives a message knows them by heart
    tok(i)            the enrolment token of party i

Small names are parties (u v c d i), the others values; a party of the protocol is itself known to everybody, and so are
its public keys. `made` gives the term of a template when everything in it is known; `taken` matches a term and says
what was learnt; `offered` says in which ways an attacker can make a term that matches. Terms and knowledge are those
of tests/model/attacker.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from tests.model.attacker.knowledge import Knowledge
from tests.model.attacker.terms import Term, aenc, enc, hashed, literal, mac, name, public, sign

Env = dict[str, Term]
PARTIES = "uvcdi"
WORDS = ("ok", "ver", "keyok", "user", "card")


class Node(NamedTuple):
    """A piece of a template: kind, what it is about (a key, a name) and its parts."""

    kind: str
    about: str
    parts: tuple = ()


# ---- reading


_TOKEN = re.compile(r"\s*([{}\[\](),]|_?[A-Za-z]\w*'?)")


@lru_cache(None)
def parsed(template: str) -> Node:
    """The template as a tree. ValueError where it is none."""
    tokens = _TOKEN.findall(template)
    if "".join(tokens) != re.sub(r"\s+", "", template):
        raise ValueError(f"no template: {template!r}")
    node, rest = _tuple(tokens, template)
    if rest:
        raise ValueError(f"no template: {template!r}, at {rest[0]!r}")
    return node


def _tuple(tokens: list[str], whole: str) -> tuple[Node, list[str]]:
    found, rest = [], tokens
    while True:
        node, rest = _one(rest, whole)
        found.append(node)
        if not rest or rest[0] != ",":
            return (found[0] if len(found) == 1 else Node("tuple", "", tuple(found))), rest
        rest = rest[1:]


def _one(tokens: list[str], whole: str) -> tuple[Node, list[str]]:
    head, rest = (tokens[0], tokens[1:]) if tokens else ("", [])
    closing = {"{": "}", "[": "]", "(": ")"}
    if head in ("{", "["):
        body, rest = _tuple(rest, whole)
        if len(rest) < 2 or rest[0] != closing[head] or not rest[1].startswith("_"):
            raise ValueError(f"no template: {whole!r}, {head} is not closed with whose it is")
        return Node("aenc" if head == "{" else "sign", rest[1][1:], (body,)), rest[2:]
    if head == "(" or (rest and rest[0] == "("):
        body, rest = _tuple(rest if head == "(" else rest[1:], whole)
        if not rest or rest[0] != ")":
            raise ValueError(f"no template: {whole!r}, ( is not closed")
        if head == "(":
            return body, rest[1:]
        kinds = {"h": "h", "mac": "mac", "tok": "tok", "pk": "pk"}
        if head not in kinds:
            raise ValueError(f"no template: {whole!r}, {head!r} is no function")
        return Node(kinds[head], "", body.parts if head == "mac" else (body,)), rest[1:]
    if not re.fullmatch(r"[A-Za-z]\w*'?", head):
        raise ValueError(f"no template: {whole!r}")
    return Node("word" if head in WORDS else "var", head), rest


def variables(node: Node) -> set[str]:
    """Every name in it that is not a word."""
    found = {node.about} if node.kind == "var" or (node.about and node.kind in ("aenc", "sign")) else set()
    return found.union(*(variables(part) for part in node.parts)) - {"CA"}


# ---- keys


def party(text: str) -> Term:
    return literal(text)


def sealing(of: str) -> Term:
    """The private key of a party for what is encrypted to it."""
    return name(f"enc:{of}")


def signing(of: str) -> Term:
    return name(f"sig:{of}")


def token(of: str) -> Term:
    return name(f"tok:{of}")


def _text(term: Term) -> str:
    return term.parts[0]


def _private(about: str, env: Env, kind: str) -> Term | None:
    """The private key that is meant: of a party, or the one that a public key belongs to. None: not known yet."""
    if about == "CA":
        return (sealing if kind == "aenc" else signing)("CA")
    bound = env.get(about)
    if bound is None:
        return None
    if bound.kind == "public":
        return bound.parts[0]
    return (sealing if kind == "aenc" else signing)(_text(bound)) if bound.kind == "literal" else None


# ---- making


def _body(node: Node) -> Node:
    """What a MAC is over."""
    return node.parts[1] if len(node.parts) == 2 else Node("tuple", "", node.parts[1:])


def made(node: Node, env: Env) -> Term:
    """The term; KeyError names what is not known."""
    match node.kind:
        case "word":
            return literal(node.about)
        case "var":
            return env[node.about]
        case "tuple":
            return enc(*(made(part, env) for part in node.parts))
        case "h":
            return hashed(made(node.parts[0], env))
        case "tok":
            return token(_text(made(node.parts[0], env)))
        case "pk":
            return public(sealing(_text(made(node.parts[0], env))))
        case "mac":
            return mac(made(node.parts[0], env), made(_body(node), env))
    key = _private(node.about, env, node.kind)
    if key is None:
        raise KeyError(node.about)
    body = made(node.parts[0], env)
    return aenc(public(key), body) if node.kind == "aenc" else sign(key, body)


# ---- taking apart


_SORTS = {
    "K": lambda term: term.kind == "name" and _text(term).startswith("K"),
    "P": lambda term: term.kind == "public" and _text(term.parts[0]).startswith("enc:"),
    "Q": lambda term: term.kind == "public" and _text(term.parts[0]).startswith("sig:"),
    "n": lambda term: term.kind == "name" and _text(term).startswith("n"),
    "S": lambda term: term.kind == "name" and _text(term).startswith("S"),
    "N": lambda term: term.kind == "name" and _text(term).startswith("N"),
    "T": lambda term: term.kind == "literal" and _text(term).startswith("T"),
}


def _is_party(term: Term) -> bool:
    return term.kind == "literal" and _text(term) not in WORDS and not _text(term).startswith("T")


def sort(variable: str) -> str:
    """What kind of value a name stands for."""
    return "party" if variable in PARTIES else variable[0]


def fits(variable: str, term: Term) -> bool:
    """Messages are typed: nobody takes a key for a nonce."""
    of = sort(variable)
    return _is_party(term) if of == "party" else _SORTS[of](term)


def taken(node: Node, term: Term, env: Env) -> Env | None:
    """What is known after the term was taken for the template; None when it does not fit."""
    match node.kind:
        case "word":
            return env if term is literal(node.about) else None
        case "var":
            bound = env.get(node.about)
            if bound is not None:
                return env if bound is term else None
            return env | {node.about: term} if fits(node.about, term) else None
        case "tuple":
            if term.kind != "enc" or len(term.parts) != len(node.parts):
                return None
            for part, piece in zip(node.parts, term.parts, strict=True):
                env = taken(part, piece, env)
                if env is None:
                    return None
            return env
        case "h":
            return taken(node.parts[0], term.parts[0], env) if term.kind == "hash" else None
        case "mac":
            if term.kind != "mac":
                return None
            env = taken(node.parts[0], term.parts[0], env)
            return None if env is None else taken(_body(node), term.parts[1], env)
        case "tok" | "pk":
            try:
                return env if made(node, env) is term else None
            except KeyError:
                return None
    return _opened(node, term, env)


def _opened(node: Node, term: Term, env: Env) -> Env | None:
    if term.kind != node.kind:
        return None
    private = term.parts[0].parts[0] if node.kind == "aenc" else term.parts[0]
    wanted = _private(node.about, env, node.kind)
    if wanted is None:
        # Whose it is becomes known with it: the party that the key belongs to, or the key itself.
        of = _text(private).partition(":")[2]
        bound = party(of) if node.about in PARTIES else public(private)
        env = env | {node.about: bound}
    elif wanted is not private:
        return None
    return taken(node.parts[0], term.parts[1], env)


# ---- what an attacker can offer


_written = lru_cache(None)(repr)


@lru_cache(50_000)
def _of_kind(knowledge: Knowledge, kind: str) -> tuple[Term, ...]:
    """What is known of a kind, in the order in which it is written: a search finds the same thing every time."""
    return tuple(sorted((term for term in knowledge.terms if term.kind == kind), key=_written))


@lru_cache(50_000)
def _values(knowledge: Knowledge, of: str) -> tuple[Term, ...]:
    """What is known that a name of this sort may stand for."""
    kinds = ("public",) if of in "PQ" else ("literal",) if of == "T" else ("name",)
    return tuple(term for kind in kinds for term in _of_kind(knowledge, kind) if _SORTS[of](term))


def offered(node: Node, env: Env, knowledge: Knowledge, parties: tuple[str, ...]) -> Iterator[Env]:
    """Every way to make a term that is taken for the template: what the receiver knows then. Each may come twice."""
    match node.kind:
        case "word":
            yield env
            return
        case "var":
            if node.about in env:
                if knowledge.derives(env[node.about]):
                    yield env
            elif sort(node.about) == "party":
                yield from (env | {node.about: party(of)} for of in parties)
            else:
                yield from (env | {node.about: term} for term in _values(knowledge, sort(node.about)))
            return
        case "tuple":
            yield from _all(node.parts, env, knowledge, parties)
            return
        case "pk" | "tok":
            if knowledge.derives(made(node, env)):
                yield env
            return
        case "mac":
            yield from _seen("mac", node, env, knowledge)
            yield from _all((node.parts[0], _body(node)), env, knowledge, parties)
            return
        case "h":
            yield from _seen("hash", node, env, knowledge)
            yield from offered(node.parts[0], env, knowledge, parties)
            return
    yield from _seen(node.kind, node, env, knowledge)
    yield from _forged(node, env, knowledge, parties)


def _all(parts: tuple, env: Env, knowledge: Knowledge, parties: tuple[str, ...]) -> Iterator[Env]:
    if not parts:
        yield env
        return
    for following in offered(parts[0], env, knowledge, parties):
        yield from _all(parts[1:], following, knowledge, parties)


def _seen(kind: str, node: Node, env: Env, knowledge: Knowledge) -> Iterator[Env]:
    for term in _of_kind(knowledge, kind):
        found = taken(node, term, env)
        if found is not None:
            yield found


def _forged(node: Node, env: Env, knowledge: Knowledge, parties: tuple[str, ...]) -> Iterator[Env]:
    """Made by the attacker: encrypted to a public key, or signed with a key that it has."""
    if _private(node.about, env, node.kind) is not None:
        choices = [env]
    elif node.about in PARTIES:
        choices = [env | {node.about: party(of)} for of in parties]
    else:
        choices = [env | {node.about: term} for term in _values(knowledge, sort(node.about))]
    for choice in choices:
        private = _private(node.about, choice, node.kind)
        if node.kind == "sign" and not knowledge.derives(private):
            continue
        yield from offered(node.parts[0], choice, knowledge, parties)


def shown(term: Term) -> str:
    """As on paper: {[ok, pk(C), T1]_CA}_A."""
    match term.kind:
        case "name" | "literal":
            return _text(term).rpartition(":")[2]
        case "public":
            return f"pk({shown(term.parts[0])})"
        case "enc":
            return ", ".join(f"({shown(part)})" if part.kind == "enc" else shown(part) for part in term.parts)
        case "aenc":
            return f"{{{shown(term.parts[1])}}}_{shown(term.parts[0].parts[0])}"
        case "sign":
            return f"[{shown(term.parts[1])}]_{shown(term.parts[0])}"
        case "hash":
            return f"h({shown(term.parts[0])})"
    return f"mac({shown(term.parts[0])}, {shown(term.parts[1])})"
