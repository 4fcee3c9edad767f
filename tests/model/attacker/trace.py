"""A way to a state, written as messages: who gets what, what it answers, and what is then wrong.

Random values are numbered in the order in which they come up: n1 is a nonce, sid1 a session, N1 a key number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from .explore import Explorer, Report
from .symbolic import body_of, label_of, term_of
from .terms import Term
from .world import Stage, World


class _Names:
    """Short names for random values; a recorded session's are those with a 0."""

    def __init__(self) -> None:
        self._short: dict[str, str] = {}
        self._count: dict[str, int] = {}

    def __call__(self, term: Term) -> str:
        text = repr(term)
        if text.isdigit() or re.fullmatch(r"0[0-9a-f]*|[0-9a-f]{64}", text):
            return "-"
        kind = re.match(r"(n_u|n_c|sid|N_K|r_.|[ex](?=[\[0-9]))(?:\[|\d|$)", text)
        if not kind:
            return text
        if text not in self._short:
            letter = {"N_K": "N", "e": "n", "x": "n", "n_u": "n", "n_c": "n"}.get(kind[1], kind[1])
            self._count[letter] = self._count.get(letter, 0) + 1
            self._short[text] = f"{letter}{self._count[letter]}"
        return self._short[text]


def _statement(term: Term, n: _Names) -> str:
    """A statement of the authority: (fields, signature)."""
    signature = term.parts[1]
    fields = body_of(signature).parts
    if label_of(signature) == "ver":
        id_u, id_c, *_keys, n_u, n_c, sid, _iat, _exp = fields
        whose = "" if _keys[2].parts[0].parts[0].startswith(repr(id_c)) else f" with the key of {_keys[2].parts[0]!r}"
        return f"V({id_u!r}, {id_c!r}, {n(n_u)}, {n(n_c)}, {n(sid)}){whose}"
    sid, id_u, id_c, number, _alg, _usage, kcv, _exp = fields
    name = {"keyok": "O", "keybad": "keybad"}[label_of(signature)]
    return f"{name}({n(sid)}, {id_u!r}, {id_c!r}, {n(number)}, {_kcv(kcv)})"


def _kcv(term: Term) -> str:
    return f"kcv({term.parts[0]!r}, {body_of(term).parts[0]!r})" if term.kind == "mac" else repr(term)


def _signed(signature: Term, body: Term, n: _Names) -> str:
    """The fields, in the brackets of who signed them."""
    return f"[{', '.join(n(part) for part in body.parts)}]_{signature.parts[0]!r}"


def _1(term: Term, n: _Names) -> str:
    return ", ".join(n(part) for part in term.parts[0].parts[:2])


def _2(term: Term, n: _Names) -> str:
    return _signed(term.parts[1], term.parts[0], n)


def _3(term: Term, n: _Names) -> str:
    m1, s1, m2, s2 = body_of(term.parts[1]).parts
    return f"{_signed(s1, m1, n)}, {_signed(s2, m2, n)}"


def _sealed(term: Term, n: _Names) -> str:
    return _statement(body_of(term.parts[-1]), n)


def _7(term: Term, n: _Names) -> str:
    sid, id_u, id_c, ct, s = term.parts
    info = ct.parts[2].parts[1]
    under = ", ".join(n(part) for part in info.parts) if info.kind == "enc" else ""
    key, to = body_of(ct).parts[0], ct.parts[0].parts[0].parts[0].rstrip("'")
    sealed = f"{key!r} | {under}" if under else repr(key)
    return f"{n(sid)}, {id_u!r}, {id_c!r}, {{{sealed}}}_{to}, signed by {s.parts[0]!r}"


def _8(term: Term, n: _Names) -> str:
    id_u, id_c, _alg, _usage, kcv, s8 = body_of(term.parts[1]).parts
    return f"[{n(term.parts[0])}, {id_u!r}, {id_c!r}, {_kcv(kcv)}]_{s8.parts[0]!r}"


def _attach(term: Term, n: _Names) -> str:
    sid, id_u, id_c, i, ct, s = term.parts
    key, to = body_of(ct).parts[0], ct.parts[0].parts[0].parts[0].rstrip("'")
    return f"{n(sid)}, {id_u!r}, {id_c!r}, {i!r}, {{{n(key)}}}_{to}, signed by {s.parts[0]!r}"


def _r2(term: Term, n: _Names) -> str:
    """R, who signed it and whose token it has."""
    message1 = body_of(term.parts[1]).parts[1]
    inner = message1.parts[2]
    r, s, t = (body_of(inner) if inner.kind == "aenc" else inner).parts
    role, id_x, seal, sign, *_ = r.parts
    return f"{id_x!r} as a {role!r} with {seal!r}, {sign!r}; signed by {s.parts[0]!r}, under {t.parts[0]!r}"


def _certificate(term: Term, n: _Names) -> str:
    role, id_x, _id_d, seal, sign, *_ = body_of(body_of(term.parts[1]).parts[1]).parts
    return f"C({id_x!r}, {role!r}, {seal!r}, {sign!r})"


#: Of each event: how its message is written, and the number and writer of each of the answers.
_WRITTEN: dict[object, tuple[Callable, tuple]] = {
    1: (_1, (("2", _2),)),
    3: (_3, (("4", _sealed), ("", None))),
    5: (_sealed, ()),
    6: (_sealed, (("7", _7),)),
    7: (_7, (("8", _8),)),
    9: (_8, (("10", _sealed), ("", None))),
    11: (_sealed, ()),
    12: (_sealed, ()),
    "ask": (lambda term, n: repr(term), (("attach", _attach),)),
    "attach": (_attach, ()),
    "R2": (_r2, (("R3", _certificate),)),
    "R4": (_certificate, ()),
}


def lines(world: Stage, report: Report) -> Iterator[str]:
    """The trace of what is wrong in a report, one message a line."""
    n = _Names()
    scope = world.scope if isinstance(world, World) else None
    if scope and scope.recorded:
        told = "has forgotten it" if scope.recorded == "forgotten" else "still has it"
        sid = next(mark[5] for mark in world.past if mark[0] == "done")
        number = next(mark[6] for mark in world.past if mark[0] == "done")
        n(sid), n(term_of(number.to_bytes(8, "big")))
        yield f"A and C had a session ({n(sid)}, N1), K was loaded, the attacker has its messages; C {told}"
    names = {m.name: run.user for m, run in zip(world.started, scope.runs, strict=True)} if scope else {}
    for machine, run in zip(world.started, scope.runs, strict=True) if scope else ():
        name = machine.name
        message1 = term_of(machine.nodes[0].machine.message1)
        yield f"{names[name]}: run {name} with {run.card} for {run.key}: 1 {_2(message1, n)}"
    for name, move, sent in report.path:
        event = move[0]
        message = term_of(move[-1])
        if event == "key, 9":
            yield f"E registers {_kcv(body_of(body_of(term_of(move[1]).parts[1]).parts[-1]).parts[5])}"
            event, sent = 9, sent[1:]
        write, answers = _WRITTEN[event]
        to = f"{names[name]} (run {name})" if name in names else name
        yield f"to {to}: {event} {write(message, n)}"
        for (number, how), term in zip(answers, sent, strict=False):
            if how is not None:
                yield f"    answer: {number} {how(term, n)}"
    for why in dict.fromkeys(re.sub(r" \(.*", "", text) for text in report.wrong):
        yield f"wrong: {_renamed(why, n)}"


def _renamed(text: str, n: _Names) -> str:
    for long in sorted(n._short, key=len, reverse=True):
        text = text.replace(long, n._short[long])
    return text


def written(explored: Explorer, report: Report) -> str:
    return "\n".join(lines(explored.world, report))
