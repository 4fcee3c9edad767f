"""
The model a second time, written from docs/model.md alone: sets, no index, no reasons, no thought of cost.

It shares nothing with vecd.ppm. Where the two disagree on a trace, one of them has read the model wrongly.
"""

import copy

L1, L2 = 1, 2


class V:
    """The state v = (b, M, f, H), as the text has it."""

    def __init__(self, world):
        self.p = world["levels"]
        self.IL = set(range(3, self.p))
        self.kind = (
            {"m": "m"}
            | dict.fromkeys(world["users"], "U")
            | dict.fromkeys(world["instances"], "I")
            | dict.fromkeys(world["cards"], "K")
        )
        self.own = dict(world["instances"])
        self.live = {"m"} | set(world["cards"])
        self.f = {"m": L1} | dict.fromkeys(world["cards"], self.p)
        self.M = {("m", k): {"e"} for k in world["cards"]}
        self.b = {}
        self.st, self.cur, self.ctx, self.out, self.key = {}, {}, {}, {}, {}
        for k in world["cards"]:
            self.clean(k)

    def copy(self):
        """Another state that is equal. Sets inside a table are never changed, another takes their place."""
        w = copy.copy(self)
        for name in ("live", "f", "M", "b", "st", "cur", "ctx", "out", "key"):
            setattr(w, name, getattr(self, name).copy())
        return w

    def clean(self, k):
        self.st[k], self.cur[k], self.ctx[k], self.out[k], self.key[k] = "free", None, None, None, set()

    def fv(self, e):
        return {"m": {L1}, "K": {L2, self.p} | self.IL}.get(self.kind[e], self.IL)

    def m_(self, s, o):
        return self.M.get((s, o), set())

    def b_(self, s, o):
        return self.b.get((s, o), set())

    def all(self, kind):
        return [e for e in sorted(self.live) if self.kind[e] == kind]

    def map(self, k):
        return {i for i in self.all("I") if "c" in self.b_(i, k)}

    # helpers of the rules

    def add(self, matrix, s, o, x):
        matrix[s, o] = matrix.get((s, o), set()) | {x}

    def sub(self, matrix, s, o, xs):
        matrix[s, o] = matrix.get((s, o), set()) - set(xs)

    def settle(self, k):
        if not self.map(k) and self.ctx[k] is None and self.out[k] is None:
            self.st[k], self.f[k], self.cur[k] = "free", self.p, None

    def drop(self, i, k):
        self.b[i, k] = set()
        self.key[k] = self.key[k] - {i}
        if self.cur[k] == i:
            self.cur[k] = None
        self.settle(k)

    def drop_user(self, u, i):
        self.b[u, i] = set()
        for k in self.all("K"):
            self.drop(i, k)


def step(v, q):
    """(decision, next state). `q` is a line of a trace, already a dict."""
    w = v.copy()
    decision = _step(w, q)
    return decision, w if decision == "yes" else v


def _step(v, q):
    rule = q.get("rule") or q.get("op")
    s, o = q.get("subject"), q.get("object")
    if s not in v.live or o not in v.kind or (o not in v.live and rule != "R7"):
        return "?"
    ks, ko = v.kind[s], v.kind[o]
    x = q.get("attribute")

    if rule in ("R1", "R2", "R3", "R4"):
        if (ks, ko) not in (("U", "I"), ("I", "K")):
            return "?"
        x = {"R1": "c", "R2": "a", "R3": "w", "R4": "r"}[rule]
        if x not in v.m_(s, o):
            return "no"
        if x == "c":
            if ko == "K":
                if "c" not in v.b_(v.own[s], s) or v.f[s] not in v.fv(o):
                    return "no"
                if v.st[o] == "free":
                    v.st[o], v.f[o] = "control", v.f[s]
        else:
            if "c" not in v.b_(s, o) or (ko == "K" and v.cur[o] != s):
                return "no"
            # A smaller number is a higher level.
            if not {"a": v.f[o] <= v.f[s], "w": v.f[o] == v.f[s], "r": v.f[o] >= v.f[s]}[x]:
                return "no"
        v.add(v.b, s, o, x)
        return "yes"

    if rule == "R5":
        if ks != "m" or ko == "m":
            return "?"
        v.add(v.b, "m", o, "e")
        return "yes"

    if rule == "R6":
        if x not in ("r", "w", "a", "c", "e") or (x == "e") != (ks == "m") or ko == "m":
            return "?"
        if x != "e" and (ks, ko) not in (("U", "I"), ("I", "K")):
            return "?"
        if x not in v.b_(s, o):
            return "no"
        if x != "c":
            v.sub(v.b, s, o, x)
        elif ko == "I":
            v.drop_user(s, o)
        else:
            v.drop(s, o)
        return "yes"

    if rule == "R7":
        if ks != "m" or ko == "m":
            return "?"
        level = q.get("level")
        if level is None:
            level = v.p if ko == "K" else 3
        if o in v.live or (level != v.p if ko == "K" else level not in v.fv(o) & v.IL):
            return "no"
        if ko == "I" and v.own[o] not in v.live:
            return "no"
        v.live.add(o)
        v.f[o] = level
        v.M["m", o] = {"e"}
        if ko == "K":
            v.clean(o)
        return "yes"

    if rule == "R8":
        if ks != "m" or ko == "m":
            return "?"
        if "e" not in v.b_("m", o):
            return "no"
        if ko == "U" and any(v.own[i] == o for i in v.all("I")):
            return "no"
        if ko == "I" and (
            v.b_(v.own[o], o) or any(v.b_(o, k) or o in (v.ctx[k], v.out[k]) or o in v.key[k] for k in v.all("K"))
        ):
            return "no"
        if ko == "K" and v.st[o] != "free":
            return "no"
        for matrix in (v.M, v.b):
            for cell in list(matrix):
                if o in cell:
                    del matrix[cell]
        v.live.discard(o)
        del v.f[o]
        return "yes"

    if rule in ("R9", "R10"):
        to = q.get("to")
        if ks != "m" or x not in ("r", "w", "a", "c") or to not in v.live:
            return "?"
        if not ((v.kind[to] == "U" and ko == "I" and v.own[o] == to) or (v.kind[to] == "I" and ko == "K")):
            return "?"
        if rule == "R9":
            v.add(v.M, to, o, x)
            return "yes"
        v.sub(v.M, to, o, x)
        if x != "c":
            v.sub(v.b, to, o, x)
        elif ko == "I":
            v.drop_user(to, o)
        else:
            v.drop(to, o)
        return "yes"

    if rule == "R11":
        level = q.get("level")
        if type(level) is not int:
            return "?"
        if ko == "I":
            if ks != "m" or v.p == 4:
                return "?"
            u = v.own[o]
            if "e" not in v.b_("m", o) or level not in v.fv(o) or any(v.cur[k] == o for k in v.all("K")):
                return "no"
            held = v.b_(u, o)
            if (
                ("r" in held and v.f[u] > level)
                or ("w" in held and v.f[u] != level)
                or ("a" in held and level > v.f[u])
            ):
                return "no"
            if level > v.f[o] and "c" in held:
                return "no"
            v.f[o] = level
            return "yes"
        if ko != "K" or ks not in ("m", "I"):
            return "?"
        i = v.cur[o]
        if "e" not in v.b_("m", o) if ks == "m" else i != s:
            return "no"
        if level == L2:
            if v.st[o] != "control" or i is None or any(v.b_(j, o) & {"r", "w"} for j in v.all("I")):
                return "no"
            v.st[o], v.f[o] = "using", L2
            return "yes"
        if v.st[o] != "using" or i is None or level != v.f[i]:
            return "no"
        v.ctx[o], v.st[o], v.f[o] = None, "control", v.f[i]
        return "yes"

    if rule == "R12":
        following = q["next"]
        if ko != "K" or ks not in ("m", "I"):
            return "?"
        if following is not None and (v.kind.get(following) != "I" or ks != "m"):
            return "?"
        if ("e" not in v.b_("m", o) if ks == "m" else v.cur[o] != s) or v.st[o] == "free":
            return "no"
        if following is not None and (following not in v.live or "c" not in v.b_(following, o)):
            following = None
        for j in v.all("I"):
            v.sub(v.b, j, o, "rwa")
        v.ctx[o] = v.out[o] = None
        v.cur[o], v.st[o] = following, "control"
        v.f[o] = max(v.IL) if following is None else v.f[following]
        if following is None:
            v.settle(o)
        return "yes"

    if rule == "process":
        if s != o or ko != "K":
            return "?"
        if v.st[o] != "using" or v.ctx[o] is None:
            return "no"
        v.out[o] = v.ctx[o]
        return "yes"

    if rule in ("put", "get"):
        if (ks, ko) != ("U", "I"):
            return "?"
        return "yes" if v.b_(s, o) & (set("aw") if rule == "put" else set("rw")) else "no"

    if rule in ("loadkey", "submit", "fetch", "config"):
        if (ks, ko) != ("I", "K"):
            return "?"
        held = v.b_(s, o)
        if v.cur[o] != s:
            return "no"
        if rule in ("loadkey", "submit"):
            if "a" not in held or v.st[o] != "using" or (rule == "submit" and s not in v.key[o]):
                return "no"
            v.ctx[o] = s
            if rule == "loadkey":
                v.key[o] = v.key[o] | {s}
            return "yes"
        if not held & (set("rw") if rule == "fetch" else {"w"}) or v.st[o] != "control":
            return "no"
        if rule == "config":
            v.out[o] = s
        return "yes"

    return "?"


def show(v):
    """The state in the form of a trace."""

    def matrix(cells):
        return {f"{s}>{o}": "".join(x for x in "rwace" if x in xs) for (s, o), xs in cells.items() if xs}

    return {
        "M": matrix(v.M),
        "b": matrix(v.b),
        "live": sorted(v.live),
        "level": dict(v.f),
        "cards": {
            k: {
                "status": v.st[k],
                "current": v.cur[k],
                "context": v.ctx[k],
                "output": v.out[k],
                "keys": sorted(v.key[k]),
            }
            for k in v.all("K")
        },
    }
