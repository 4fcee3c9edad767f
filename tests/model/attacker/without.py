"""The machines with something taken out: a check by its number, or a field of a message.

A check is `require(holds, rule, reason)` in the code with its number behind it; without it, `require` lets that one
pass. A field is taken out where it is drawn (a nonce that is always the same says nothing), where it is read from a
statement (the receiver fills in its own), or where a context is made. The files of vecd/protocol are not touched.
"""

from __future__ import annotations

import ast
import re
from collections import namedtuple
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

from vecd.protocol import authority, card, registration, user
from vecd.protocol.card import CardParty
from vecd.protocol.messages import M1, M2, K7Context, Sealed3, Verification

from .claims import CLAIMS, Claim, attaches, bound, injective, nobody_else, number_agrees, secret, user_agrees
from .explore import Explorer, Report
from .machines import Steps
from .scopes import explorer
from .symbolic import perfect

_MODULES: dict[str, ModuleType] = {"user": user, "card": card, "authority": authority, "registration": registration}
_NUMBER = re.compile(r"#\s*((?:R[1-4]|KR|KV|RL|[AK]|\d+)\.\d+)\b")


@cache
def checks() -> dict[str, tuple[str, str]]:
    """Number of each check that is a `require`: its module, and its reason as the code has it."""
    found = {}
    for name, module in _MODULES.items():
        text = Path(str(module.__file__)).read_text()
        lines = text.splitlines()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "require":
                number = _NUMBER.search(lines[node.end_lineno - 1])
                reason = node.args[2]
                if number and isinstance(reason, (ast.Constant, ast.JoinedStr)):
                    found[number[1]] = name, _pattern(reason)
    return found


def _pattern(reason: ast.Constant | ast.JoinedStr) -> str:
    """What the reason is, whatever is filled in."""
    parts = reason.values if isinstance(reason, ast.JoinedStr) else [reason]
    return "".join(re.escape(str(part.value)) if isinstance(part, ast.Constant) else ".*" for part in parts)


#: The rule that a check's refusal names, by the beginning of its number: two messages may have a check in one's words.
_RULES = {"A": "attach", "K": "key", "KR": "keyreg", "KV": "keyrev", "RL": "release"}


def _rule(number: str) -> str:
    first = number.split(".")[0]
    return _RULES.get(first) or (f"registration {first[1:]}" if first[0] == "R" else f"message {first}")


@contextmanager
def waived(*numbers: str) -> Iterator[None]:
    """These checks are not made."""
    with ExitStack() as stack:
        for name, module in _MODULES.items():
            mine = {(number, checks()[number][1]) for number in numbers if checks()[number][0] == name}
            stack.enter_context(mock.patch.object(module, "require", _lenient(module.require, mine)))
        yield


def _lenient(require: Callable[..., None], waived: set[tuple[str, str]]) -> Callable[..., None]:
    def lenient(holds: bool, rule: str, reason: str, hint: str = "") -> None:
        if any(rule == _rule(number) and re.fullmatch(words, reason) for number, words in waived):
            return
        require(holds, rule, reason, hint)

    return lenient


# ---- fields ------------------------------------------------------------------------------------------------------


@contextmanager
def k7_context(*kept: str) -> Iterator[None]:
    """K is sealed to the card under these fields of its context alone."""

    def context(*fields: bytes) -> tuple:
        whole = K7Context(*fields)
        return _tuple(kept)(*(getattr(whole, name) for name in kept))

    with mock.patch.object(user, "K7Context", context), mock.patch.object(card, "K7Context", context):
        yield


@cache
def _tuple(names: tuple[str, ...]) -> type:
    return namedtuple("Context", names)


@contextmanager
def read(module: ModuleType, kind: type, change: Callable[[Any, Any], Any]) -> Iterator[None]:
    """The machine reads a statement of this kind and fills in some of its fields itself."""
    opened = module.opened

    def filled(of: type, *rest: Any) -> Any:
        found = opened(of, *rest)
        return change(Steps.current, found) if of is kind else found

    with mock.patch.object(module, "opened", filled):
        yield


def _open_session(c: CardParty, v: Verification) -> bytes:
    """The nonce of an open session with the user of V, or of any."""
    of = [n_c for n_c, session in c._open.items() if session.id_u == v.id_u]
    return (of or list(c._open) or [v.n_c])[0]


@contextmanager
def v_without_nonces() -> Iterator[None]:
    """The authority still looks at both nonces, but V has neither: user and card take it for the run that they have."""
    made = authority.Verification

    def blank(*fields: Any) -> Verification:
        return made(*fields)._replace(n_u=bytes(32), n_c=bytes(32))

    with (
        mock.patch.object(authority, "Verification", blank),
        read(user, Verification, lambda run, v: v._replace(n_u=run._n_u)),
        read(card, Verification, lambda c, v: v._replace(n_c=_open_session(c, v))),
        k7_context("sid", "id_u", "id_c"),
    ):
        yield


@contextmanager
def m_without_names(*of: type) -> Iterator[None]:
    """Message 1 (M1) does not say for which card, message 2 (M2) not for which user: the authority takes the other's
    word."""
    unpack, seen = authority.unpack, {}

    def filled(kind: type, blob: bytes, rule: str) -> Any:
        found = unpack(kind, blob, rule)
        if kind is Sealed3:
            seen.update({M1: found.m1, M2: found.m2})
        if kind is M1 and M1 in of:
            return found._replace(id_c=unpack(M2, seen[M2], rule).id_c)
        if kind is M2 and M2 in of:
            return found._replace(id_u=unpack(M1, seen[M1], rule).id_u)
        return found

    with mock.patch.object(authority, "unpack", filled):
        yield


@contextmanager
def v_without_names() -> Iterator[None]:
    """V names neither user nor card: each takes its own name and that of the peer it has in mind."""

    def at_card(c: CardParty, v: Verification) -> Verification:
        session = c._open.get(v.n_c)
        return v._replace(id_c=c.identity.id, id_u=v.id_u if session is None else session.id_u)

    with (
        read(user, Verification, lambda run, v: v._replace(id_u=run._me.id, id_c=run.id_c)),
        read(card, Verification, at_card),
    ):
        yield


@contextmanager
def any_nonce_again() -> Iterator[None]:
    """The authority does not look whether it has seen n_u."""
    with mock.patch.object(authority.Authority, "_fresh", lambda *_: None):
        yield


# ---- what is taken out, and what follows -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ablation:
    """Something is taken out. `broken` is the claim that fails then, in `scope`; None: no claim fails in any scope."""

    name: str
    words: str
    without: Callable[[], AbstractContextManager[None]]
    scope: str = ""
    broken: Claim | None = None
    constant: frozenset[str] = frozenset()

    def explored(self, scope: str, claims: dict[str, Claim] = CLAIMS) -> tuple[Explorer, Report]:
        """The scope without what is taken out."""
        with perfect(), self.without():
            explored = explorer(scope, self.constant)
            return explored, explored.run(claims)

    def attack(self) -> tuple[Explorer, Report]:
        """The shortest way to the claim's failure."""
        return self.explored(self.scope, {words: check for words, check in CLAIMS.items() if check is self.broken})


def _all(*parts: Callable[[], AbstractContextManager[None]]) -> Callable[[], AbstractContextManager[None]]:
    @contextmanager
    def together() -> Iterator[None]:
        with ExitStack() as stack:
            for part in parts:
                stack.enter_context(part())
            yield

    return together


def _waive(*numbers: str) -> Callable[[], AbstractContextManager[None]]:
    return lambda: waived(*numbers)


def _names(*of: type) -> Callable[[], AbstractContextManager[None]]:
    return lambda: m_without_names(*of)


ABLATIONS = (
    Ablation("n_u", "n_u, everywhere", any_nonce_again, "1ro", user_agrees, frozenset({"n_u"})),
    Ablation("n_c", "n_c, everywhere", _waive("3.10"), "1ro", injective, frozenset({"n_c"})),
    Ablation("both nonces in V", "n_u and n_c in V", v_without_nonces, "1ro", injective),
    Ablation("sig8", "the card's signature over 8 (9.10)", _waive("9.10"), "1r", user_agrees),
    Ablation("ctx7", "the context under which K is sealed (7.5)", k7_context, "1r", nobody_else),
    Ablation("sig7", "the user's signature over 7 (7.4)", _waive("7.4")),
    Ablation("sig7 with ctx7", "7.4 and the context of 7.5", _all(_waive("7.4"), k7_context), "1r", nobody_else),
    Ablation("names in v1", "id_c in 1", _names(M1)),
    Ablation("names in v2", "id_u in 2", _names(M2)),
    Ablation("names in V", "id_u and id_c in V", v_without_names),
    Ablation("names in v1 and V", "these two", _all(_names(M1), v_without_names), "1r", secret),
    Ablation("names in v2 and V", "these two", _all(_names(M2), v_without_names), "1a", attaches),
    Ablation("names in v1, v2 and V", "all of these names", _all(_names(M1, M2), v_without_names), "1r", secret),
    Ablation("kcv in O", "kcv in O (11.8, 12.8)", _waive("11.8", "12.8")),
    Ablation("sid in O", "sid in O (11.5, 12.5)", _waive("11.5", "12.5"), "2s", user_agrees),
    Ablation("sid and kcv in O", "both", _waive("11.5", "12.5", "11.8", "12.8"), "2r", number_agrees),
    Ablation("the token's MAC", "R2.13", _waive("R2.13"), "reg E", bound),
    Ablation("s in registration", "proof of the signature key (R2.9)", _waive("R2.9"), "reg E", bound),
    Ablation("the token's role", "R2.12", _waive("R2.12"), "reg E", bound),
    Ablation("the signature of attach", "A.4", _waive("A.4"), "1a", attaches),
    Ablation("the owner of i", "A.5", _waive("A.5"), "1a", attaches),
)


# ---- each check alone --------------------------------------------------------------------------------------------

#: Clocks, and what one alg, one usage and one form of K cannot show: not in the model.
_NOT_MODELLED = frozenset("5.9 5.10 6.9 6.10 7.6 7.7 7.8 7.9 11.12 12.12 A.7 R2.11 R4.9".split())


def single() -> list[str]:
    """Every check that is a `require`, of registration, messages 3 to 12 and attach."""
    numbers = (n for n in checks() if re.fullmatch(r"(R[24]|A|\d+)\.\d+", n) and n not in _NOT_MODELLED)
    order = {"R": 0, "A": 2}
    return sorted(numbers, key=lambda n: (order.get(n[0], 1), *map(int, re.findall(r"\d+", n))))


def needed_in(number: str) -> str:
    """The first scope in which a claim fails without this one check; "" if none does."""
    for scope in ("reg E", "reg X") if number[0] == "R" else ("1ro", "2s", "2a"):
        with perfect(), waived(number):
            if explorer(scope).run().wrong:
                return scope
    return ""
