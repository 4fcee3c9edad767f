"""What a Dolev-Yao attacker knows: it takes apart whatever it sees, and builds whatever it has the parts of.

`Knowledge` is immutable and holds everything that analysis yields: fields of tuples, what a known key opens, what a
signature is over. `derives` is synthesis on demand: whether one given term can be built. So nothing is ever enumerated
blindly; who looks for attacks asks `of(kind)` for what there is and tries what a receiver might take.

`glass` says of an encrypted term that everybody can read it: a layer of encryption that is dropped from the model, to
the attacker's advantage, without changing what travels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from .terms import Term

_SEALED = ("aenc", "senc")
# Of each kind that is not read through: the parts that everybody sees. A name and what is one way have none.
_OPEN_PARTS: dict[str, Callable[[Term], tuple]] = {
    "enc": lambda term: term.parts,
    "sign": lambda term: (term.parts[1],),
}


def nothing_is_glass(_sealed: Term) -> bool:
    return False


class Knowledge:
    """A set of terms, closed under taking apart. `learn` gives a larger one; `in` asks for what was taken apart."""

    __slots__ = ("_derived", "_glass", "_shut", "terms")

    def __init__(self, terms: Iterable[Term] = (), glass: Callable[[Term], bool] = nothing_is_glass) -> None:
        self.terms: frozenset[Term] = frozenset()
        self._shut: frozenset[Term] = frozenset()
        self._glass = glass
        self._derived: dict[Term, bool] = {}
        if terms := tuple(terms):
            grown = self.learn(*terms)
            self.terms, self._shut, self._derived = grown.terms, grown._shut, grown._derived

    def learn(self, *new: Term) -> Knowledge:
        """All this and the new terms, and what follows. The same object when there is nothing new."""
        if all(term in self.terms for term in new):
            return self
        grown = Knowledge.__new__(Knowledge)
        grown._glass = self._glass
        terms, shut = set(self.terms), set(self._shut)
        todo = list(new)
        while todo:
            _take_apart(todo, terms, shut, self._glass)
            # What was learnt may be, or make, the key of something seen before.
            grown.terms, grown._derived = frozenset(terms), {}
            opened = [term for term in shut if grown.derives(_key(term))]
            shut.difference_update(opened)
            todo = [term.parts[1] for term in opened]
        grown._shut = frozenset(shut)
        return grown

    def __contains__(self, term: Term) -> bool:
        return term in self.terms

    def of(self, kind: str) -> Iterator[Term]:
        """Every known term of a kind, in the order of how they are written: the same in every process."""
        return iter(sorted((term for term in self.terms if term.kind == kind), key=repr))

    def derives(self, term: Term) -> bool:
        """Whether the term can be built of what is known."""
        known = self._derived.get(term)
        if known is None:
            known = term in self.terms or (
                term.kind != "name" and all(self.derives(part) for part in term.parts if isinstance(part, Term))
            )
            self._derived[term] = known
        return known


def _take_apart(todo: list[Term], terms: set[Term], shut: set[Term], glass: Callable[[Term], bool]) -> None:
    while todo:
        term = todo.pop()
        if term in terms:
            continue
        terms.add(term)
        if term.kind in _SEALED:
            if glass(term):
                todo.append(term.parts[1])
            else:
                shut.add(term)
        elif term.kind in _OPEN_PARTS:
            todo.extend(_OPEN_PARTS[term.kind](term))


def _key(sealed: Term) -> Term:
    """What opens a sealed term: the private half of the key, or the symmetric key itself."""
    key = sealed.parts[0]
    return key.parts[0] if sealed.kind == "aenc" and key.kind == "public" else key
