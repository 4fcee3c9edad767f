"""Policies that are refused, with the line at which `#!` stands, words of the message, rule and property."""

GOOD = """\
schema = 1
[model]
levels = 5
[[guest]]
name = "A"
[[guest]]
name = "B"
level = 4
may = [3, 4]
id = "000102030405060708090a0b0c0d0e0f"
[[instance]]
name = "A.1"
owner = "A"
weight = 3
[[instance]]
name = "B.1"
owner = "B"
[[card]]
name = "c0"
[[card]]
name = "c1"
[[allow]]
subject = "A"
object = "A.*"
rights = "rac"
[[allow]]
subject = "B"
object = "B.1"
rights = "car"
[[allow]]
subject = ["A.1", "B.1"]
object = ["c0", "c1"]
rights = "rac"
"""

HEAD = "schema = 1\n"
A = '[[guest]]\nname = "A"\n[[instance]]\nname = "A.1"\nowner = "A"\n'
B = '[[guest]]\nname = "B"\n[[instance]]\nname = "B.1"\nowner = "B"\n'
C0 = '[[card]]\nname = "c0"\n'
OWN = '[[allow]]\nsubject = "A"\nobject = "A.1"\nrights = "rac"\n'
FIVE = "[model]\nlevels = 5\n"

# By what docs/policy.md calls it: what is wrong, the text where `#!` stands at the line that is to be named, words of
# the message, rule, property.
CASES = {
    "no UTF-8, no TOML, or another schema": {
        "not TOML": (HEAD + "[[guest] #!\n", "not TOML", "", ""),
        "not TOML further down": (HEAD + A + "[[card]]\nname = #!\n", "not TOML: Invalid value", "", ""),
        "a key twice": (HEAD + '[[card]]\nname = "c0"\nname = "c1" #!\n', "not TOML: Cannot overwrite", "", ""),
        "no schema": ("#!\n" + A, "no schema", "", ""),
        "another schema": ("schema = 2 #!\n", "schema = 2 is not read", "", ""),
        "a schema of another type": ("schema = true #!\n", "schema = true is not read", "", ""),
        "levels twice": (HEAD + FIVE + "[model] #!\nlevels = 6\n", "not TOML: Cannot declare", "", ""),
    },
    "a table, a key or a type that is none, or a value out of its range": {
        "an unknown table": (HEAD + "[[guests]] #!\n", "table 'guests' is not known; did you mean 'guest'?", "", ""),
        "an unknown key": (
            HEAD + A + "levl = 3 #!\n",
            "key 'levl' is not known in instance; did you mean 'level'",
            "",
            "",
        ),
        "an unknown key in the middle": (
            HEAD + '[[card]]\nname = "c0"\nslots = 3 #!\n[[card]]\nname = "c1"\n',
            "key 'slots' is not known in card",
            "",
            "",
        ),
        "a table in a row": (HEAD + A + "[instance.more] #!\nx = 1\n", "key 'more' is not known in instance", "", ""),
        "one guest as a table": (HEAD + '[guest] #!\nname = "A"\n', "write [[guest]]", "", ""),
        "guests as text": (HEAD + 'guest = "A" #!\n', "write [[guest]]", "", ""),
        "guests in one line": (HEAD + 'guest = ["A"] #!\n', "write [[guest]]", "", ""),
        "several models": (HEAD + "[[model]] #!\nlevels = 4\n", "write [model]", "", ""),
        "a level that is text": (HEAD + '[[guest]]\nname = "A"\nlevel = "high" #!\n', "must be a whole number", "", ""),
        "a level that is a truth": (
            HEAD + '[[guest]]\nname = "A"\nlevel = true #!\n',
            "must be a whole number",
            "",
            "",
        ),
        "a number that is none": (HEAD + FIVE[:-2] + "4.0 #!\n", "must be a whole number", "", ""),
        "may that is no list": (HEAD + '[[guest]]\nname = "A"\nmay = 3 #!\n', "a list of levels", "", ""),
        "a level twice in may": (HEAD + '[[guest]]\nname = "A"\nmay = [3, 3] #!\n', "each level once", "", ""),
        "closed that is no truth": (HEAD + '[model]\nclosed = "yes" #!\n', "true or false", "", ""),
        "an id that is none": (HEAD + '[[guest]]\nname = "A"\nid = "0f" #!\n', "32 hexadecimal digits", "", ""),
        "a guest without a name": (HEAD + "[[guest]] #!\nlevel = 3\n", "this guest has no name", "", ""),
        "an instance without an owner": (
            HEAD + '[[instance]] #!\nname = "A.1"\n',
            "this instance has no owner",
            "",
            "",
        ),
        "a right without an object": (
            HEAD + A + '[[allow]] #!\nsubject = "A"\nrights = "c"\n',
            "this allow has no object",
            "",
            "",
        ),
        "a weight of nothing": (HEAD + A + "weight = 0 #!\n", "a share of nothing", "", ""),
        "a negative weight": (HEAD + A + "weight = -1 #!\n", "from 1 to 100", "", ""),
        "a weight beyond all": (HEAD + A + "weight = 101 #!\n", "from 1 to 100", "", ""),
        "a weight that is a fraction": (HEAD + A + "weight = 1.5 #!\n", "from 1 to 100", "", ""),
        "the weight of a guest": (
            HEAD + '[[guest]]\nname = "A"\nweight = 2 #!\n',
            "the weight is an instance's",
            "",
            "",
        ),
        "the level of a card": (HEAD + C0 + "level = 3 #!\n", "follows from its status", "", ""),
        "no rights": (HEAD + A + OWN.replace('"rac"', '"" #!'), 'letters of "rwac"', "", ""),
        "a right twice in a row": (HEAD + A + OWN.replace('"rac"', '"raca" #!'), "letters that stand once", "", ""),
        "a subject that is none": (HEAD + A + OWN.replace('"A"', "1 #!"), "a name, or a list of names", "", ""),
        "a list without names": (HEAD + A + OWN.replace('"A"', "[] #!"), "a name, or a list of names", "", ""),
        "a name twice in a list": (HEAD + A + OWN.replace('"A"', '["A", "A"] #!'), "'A' stands twice", "", ""),
        "too few levels": (HEAD + "[model]\nlevels = 3 #!\n", "the number of levels, 4 to 16", "", ""),
        "too many levels": (
            HEAD + "[model]\nlevels = 17 #!\n",
            "levels = 17: it must be the number of levels, 4 to 16",
            "",
            "",
        ),
        "no levels at all": (HEAD + "[model]\nlevels = -1 #!\n", "the number of levels, 4 to 16", "", ""),
        "large letters": (HEAD + A + OWN.replace('"rac"', '"RAC" #!'), "in small letters", "", ""),
        "a list with a truth": (HEAD + A + "may = [3, true] #!\n", "may = [3, true]: it must be a list of", "", ""),
        "no attribute": (
            HEAD + A + OWN.replace('"rac"', '"x" #!'),
            "rights = 'x': it must be letters of \"rwac\", in small letters",
            "",
            "",
        ),
    },
    "a name that is none": {
        "an empty name": (HEAD + '[[guest]]\nname = "" #!\n', "is not a name", "", ""),
        "a control character": (HEAD + '[[guest]]\nname = "A\\u0007" #!\n', r"'A\x07' is not a name", "", ""),
        "a line end in a name": (HEAD + '[[guest]]\nname = "A\\nB" #!\n', r"'A\nB' is not a name", "", ""),
        "a NUL in a name": (HEAD + '[[card]]\nname = "c\\u00000" #!\n', "is not a name", "", ""),
        "a name from right to left": (HEAD + '[[card]]\nname = "\\u202Ec0" #!\n', "is not a name", "", ""),
        "a letter that looks like another": (HEAD + '[[guest]]\nname = "\\u0410" #!\n', "is not a name", "", ""),
        "a digit of another script": (HEAD + '[[guest]]\nname = "A\\u0661" #!\n', "is not a name", "", ""),
        "a path": (
            HEAD + '[[guest]]\nname = "../etc" #!\n',
            "is not a name; a name is 1 to 32 letters, digits, '_', '-', a",
            "",
            "",
        ),
        "a name that begins with a dash": (HEAD + '[[card]]\nname = "-c" #!\n', "is not a name", "", ""),
        "a name that is too long": (HEAD + f'[[guest]]\nname = "{"A" * 33}" #!\n', "is not a name", "", ""),
        "the manager as a guest": (HEAD + '[[guest]]\nname = "m" #!\n', "the manager's name", "", ""),
        "the manager as a card": (HEAD + '[[card]]\nname = "m" #!\n', "the manager's name", "", ""),
        "an instance of the manager": (
            HEAD + '[[instance]]\nname = "m.1" #!\nowner = "m"\n',
            "the manager's name",
            "",
            "",
        ),
        "a guest with a dot": (HEAD + '[[guest]]\nname = "A.1" #!\n', "has a dot", "", ""),
        "a card with a dot": (HEAD + '[[card]]\nname = "c.0" #!\n', "has a dot", "", ""),
        "an instance without a dot": (HEAD + A.replace('"A.1"', '"A1" #!'), "not called as one of a guest", "", ""),
        "an instance with two dots": (HEAD + A.replace('"A.1"', '"A.1.1" #!'), "has a dot", "", ""),
        "an instance with nothing behind the dot": (HEAD + A.replace('"A.1"', '"A." #!'), "is not a name", "", ""),
        "an instance with odd bytes": (HEAD + A.replace('"A.1"', '"A.\\u001b" #!'), "is not a name", "", ""),
        "a pattern as a name": (HEAD + A.replace('"A.1"', '"A.*" #!'), "is not a name", "", ""),
        "an instance named as another's": (
            HEAD + A + '[[instance]]\nname = "B.1"\nowner = "A" #!\n',
            "one of B",
            "",
            "",
        ),
    },
    "a guest without an instance": {
        "a guest without an instance": (HEAD + '[[guest]] #!\nname = "A"\n', "has no instance", "", ""),
    },
    "a name, an id or a pair that stands twice": {
        "a guest twice": (HEAD + A + '[[guest]]\nname = "A" #!\n', "stands twice; it is at x.toml:3", "", ""),
        "an instance twice": (
            HEAD + A + A[20:].replace('"A.1"', '"A.1" #!'),
            "stands twice; it is at x.toml:5",
            "",
            "",
        ),
        "a card with the name of a guest, and its rights": (
            HEAD + A + '[[card]]\nname = "A" #!\n' + OWN + OWN.replace('"A"', '"A.1"').replace('"A.1"\nr', '"A"\nr'),
            "one space of names",
            "",
            "",
        ),
        "a card with the name of a guest": (HEAD + A + '[[card]]\nname = "A" #!\n', "one space of names", "", ""),
        "an id twice": (
            HEAD + "".join(one.replace("\n", f'\nid = "{"0f" * 16}"{at}\n', 1) for one, at in ((A, ""), (B, " #!"))),
            "the id is that of guest A; it is at x.toml:3",
            "",
            "",
        ),
        "a pair twice with other rights": (
            HEAD + A + OWN + OWN.replace("]]\n", "]] #!\n").replace("rac", "rc"),
            "A on A.1 stands twice: 'rac' and 'rc', which contradict each other; it is at x.toml:7",
            "",
            "",
        ),
        "a pair twice with the same rights": (
            HEAD + A + OWN + OWN.replace("]]\n", "]] #!\n").replace("rac", "car"),
            "A on A.1 stands twice: the same; it is at x.toml:7",
            "",
            "",
        ),
        "a pair twice by a pattern": (
            HEAD + A + OWN + OWN.replace("]]\n", "]] #!\n").replace("A.1", "A.*"),
            "stands twice: the same",
            "",
            "",
        ),
    },
    "a name that no row has, as an owner or in `[[allow]]`": {
        "an instance of an unknown guest": (
            HEAD + '[[instance]]\nname = "Z.1"\nowner = "Z" #!\n',
            "belongs to 'Z', which is no guest of this policy",
            "",
            "",
        ),
        "rights of nobody": (
            HEAD + A + OWN.replace('"A"', '"Q"').replace("]]", "]] #!"),
            "there is no 'Q'",
            "",
            "",
        ),
        "rights on what is misspelt": (
            HEAD
            + A
            + OWN
            + '[[card]]\nname = "card0"\n[[allow]] #!\nsubject = "A.1"\nobject = "crad0"\nrights = "rac"\n',
            "there is no 'crad0' in this policy; did you mean 'card0'?",
            "",
            "",
        ),
        "a pattern for nothing": (
            HEAD + A + OWN.replace('"A.1"', '"B.*"').replace("]]", "]] #!"),
            "there is no 'B.*'",
            "",
            "",
        ),
    },
    "a level or an f_v that R7 refuses": {
        "an empty f_v": (
            HEAD + '[[guest]]\nname = "A"\nmay = [] #!\n',
            "must be allowed some of the levels",
            "R7",
            "virtual",
        ),
        "the manager's level in f_v": (
            HEAD + '[[guest]]\nname = "A"\nmay = [1, 3] #!\n',
            "manager's alone",
            "R7",
            "top",
        ),
        "the manager's level": (
            HEAD + '[[guest]]\nname = "A"\nlevel = 1 #!\n',
            "L1 is the manager's alone",
            "R7",
            "top",
        ),
        "the level of cards in use": (HEAD + '[[guest]]\nname = "A"\nlevel = 2 #!\n', "not [2]", "R7", "virtual"),
        "the level of free cards": (HEAD + '[[guest]]\nname = "A"\nmay = [4] #!\n', "not [4]", "R7", "virtual"),
        "a level of a larger world": (HEAD + A + "may = [3, 4] #!\n", "not [3, 4]", "R7", "virtual"),
        "a level outside of f_v": (
            HEAD + FIVE + '[[guest]]\nname = "A"\nmay = [4]\nlevel = 3 #!\n',
            "may take L4, not L3",
            "R7",
            "virtual",
        ),
        "a default level outside of f_v": (
            HEAD + FIVE + '[[guest]] #!\nname = "A"\nmay = [4]\n',
            "may take L4, not L3",
            "R7",
            "virtual",
        ),
        "an instance outside of its f_v": (HEAD + FIVE + A + "may = [3]\nlevel = 4 #!\n", "not L4", "R7", "virtual"),
    },
    "a right that R9 refuses": {
        "e*": (HEAD + A + OWN.replace('"rac"', '"race*"').replace("]]", "]] #!"), "e* is the manager's", "R9", "type"),
        "e": (HEAD + A + OWN.replace('"rac"', '"e"').replace("]]", "]] #!"), "e* is the manager's", "R9", "type"),
        "another's instance": (
            HEAD + A + B + OWN.replace('"A.1"', '"B.1"').replace("]]", "]] #!"),
            "instance B.1 belongs to user B, not to user A",
            "R9",
            "type",
        ),
        "a guest on a card": (
            HEAD + A + C0 + OWN.replace('"A.1"', '"c0"').replace("]]", "]] #!"),
            "user A cannot have rights on card c0",
            "R9",
            "type",
        ),
        "an instance on an instance": (
            HEAD + A + OWN.replace('"A"', '"A.1"').replace("]]", "]] #!"),
            "instance A.1 cannot have rights on instance A.1",
            "R9",
            "type",
        ),
        "rights on a guest": (
            HEAD + A + OWN.replace('"A.1"', '"A"').replace("]]", "]] #!"),
            "R9 is not for the manager on user A",
            "R9",
            "type",
        ),
        "rights of the manager": (
            HEAD + A + C0 + '[[allow]] #!\nsubject = "m"\nobject = "c0"\nrights = "c"\n',
            "the manager cannot have rights on card c0",
            "R9",
            "type",
        ),
        "rights of a card": (
            HEAD + A + C0 + '[[allow]] #!\nsubject = "c0"\nobject = "A.1"\nrights = "r"\n',
            "card c0 cannot have rights on instance A.1",
            "R9",
            "type",
        ),
    },
    "a right that can never be used": {
        "a card behind an instance that its guest may not connect to": (
            HEAD + A + C0 + '[[allow]] #!\nsubject = "A.1"\nobject = "c0"\nrights = "rac"\n',
            "A.1 can never use any card: user A may not connect to instance A.1: R1, discretionary: M[A][A.1] lacks c; "
            'allow A "c" on A.1 too',
            "R1",
            "discretionary",
        ),
        "a card behind an instance that its guest may not read": (
            HEAD + A + C0 + OWN.replace("rac", "ac") + '[[allow]] #!\nsubject = "A.1"\nobject = "c0"\nrights = "rac"\n',
            "R4, discretionary: M[A][A.1] lacks r",
            "R4",
            "discretionary",
        ),
        "a without c": (
            HEAD + A + OWN.replace("rac", "ra").replace("]]", "]] #!"),
            "A can never use r on A.1",
            "R1",
            "discretionary",
        ),
        "a card without c": (
            HEAD + A + C0 + OWN + '[[allow]] #!\nsubject = "A.1"\nobject = "c0"\nrights = "ra"\n',
            "M[A.1][c0] lacks c",
            "R1",
            "discretionary",
        ),
        "data that go up and never come back": (
            HEAD + A + C0 + OWN + '[[allow]] #!\nsubject = "A.1"\nobject = "c0"\nrights = "ac"\n',
            "A.1 can never use a on c0: instance A.1 may not read from card c0: R4, discretionary: M[A.1][c0] lacks r",
            "R4",
            "discretionary",
        ),
        "a result of nothing": (
            HEAD + A + C0 + OWN + '[[allow]] #!\nsubject = "A.1"\nobject = "c0"\nrights = "rc"\n',
            "A.1 can never use r on c0: instance A.1 may not append to card c0: R2, discretionary: M[A.1][c0] lacks a",
            "R2",
            "discretionary",
        ),
        "a to what is lower": (
            HEAD + FIVE + A + "level = 4\n" + OWN.replace("]]", "]] #!"),
            "A can never use a on A.1: user A may not append to instance A.1: R2, star: user A works at L3",
            "R2",
            "star",
        ),
        "r from what is higher": (
            HEAD + FIVE + A.replace("A.1", "A.2").replace('"A"\n[[i', '"A"\nlevel = 4\n[[i') + "level = 3\n"
            "[[allow]] #!\n" + OWN.replace("rac", "rc").replace("A.1", "A.2").partition("\n")[2],
            "A can never use r on A.2",
            "R4",
            "star",
        ),
        "w between two levels": (
            HEAD + FIVE + A + "level = 4\n" + OWN.replace("rac", "cw").replace("]]", "]] #!"),
            "A can never use w on A.1",
            "R3",
            "star",
        ),
    },
}
REFUSED = {what: case for cases in CASES.values() for what, case in cases.items()}
