"""A policy is loaded whole or refused: each refusal with file, line, thing, rule and next step, and all at once."""

import itertools
import re
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.policy_cases import C0, CASES, FIVE, GOOD, HEAD, OWN, REFUSED, A
from vecd.base.errors import ConfigError, Denied
from vecd.ppm import policy, policy_kept, policy_rows, policy_trial
from vecd.ppm import request as requests
from vecd.ppm.monitor import Monitor
from vecd.ppm.policy_text import BYTES_MAX, Problem, Text, read
from vecd.ppm.properties import indexes
from vecd.ppm.state import letters

DOCS = Path(__file__).parents[2] / "docs"


def checked(text: str, file: str = "x.toml") -> policy.Checked:
    return policy.check({file: text.encode()})


@pytest.mark.parametrize("what", REFUSED)
def test_a_refusal_names_file_line_thing_rule_and_property(what):
    text, words, rule, prop = REFUSED[what]
    problems = checked(text).problems
    marked = [n for n, line in enumerate(text.split("\n"), 1) if "#!" in line]
    assert len(marked) == 1 and checked(text).policy is None
    assert len(problems) == 1, [str(one) for one in problems]
    (problem,) = problems
    assert str(problem).startswith(f"x.toml:{marked[0]}: "), str(problem)
    assert words in str(problem), str(problem)
    assert (problem.rule, problem.property) == (rule, prop)
    with pytest.raises(Denied if rule else ConfigError) as caught:
        policy.require({"x.toml": text.encode()})
    assert caught.value.exit_code == (5 if rule else 2)
    assert f"x.toml:{marked[0]}" in caught.value.message and words[:40] in caught.value.reason


def test_what_is_refused_has_the_exit_code_of_its_row_in_the_document():
    told = re.findall(
        r"^\| (?:form|contradiction|the [a-z]+) \| (.*) \| (\d) \|$", (DOCS / "policy.md").read_text(), re.M
    )
    assert [row for row, _ in told] == list(CASES)
    for row, code in told:
        found = {what: policy.refusal(checked(text).problems).exit_code for what, (text, *_) in CASES[row].items()}
        assert found and set(found.values()) == {int(code)}, found


def test_many_refusals_by_a_rule_are_no_mistake_of_form():
    """What is not told one by one is of the same kind."""
    cards = [f"c{n}" for n in range(20)]
    rows = "".join(f'[[card]]\nname = "{one}"\n' for one in cards)
    refused = policy.refusal(checked(HEAD + A + rows + OWN.replace('"A.1"', str(cards))).problems)
    assert (refused.exit_code, refused.rule) == (5, "R9") and "9 reasons" in refused.message


def test_every_refusal_of_the_form_has_a_case():
    """Each message of policy_rows and policy_trial stands in the table above."""
    told = "\n".join(str(one) for text, *_ in REFUSED.values() for one in checked(text).problems)
    for key, words in policy_rows._INSTEAD.items():
        text = HEAD + {"card": C0, "guest": '[[guest]]\nname = "A"\n', "instance": A}[key[0]] + f"{key[1]} = 1\n"
        assert words in str(checked(text).problems[0])
    assert len(REFUSED) > 80 and told.count("\n") >= len(REFUSED) - 2


def test_a_good_policy_is_levels_names_weights_and_cells():
    loaded = checked(GOOD).policy
    assert (loaded.levels, loaded.closed) == (5, False)
    assert loaded.guests["B"].may == {3, 4} and loaded.guests["B"].identity == bytes(range(16))
    # What is not written follows its guest, and is no more than that.
    assert (loaded.instances["B.1"].level, loaded.instances["B.1"].may) == (4, {4})
    assert loaded.weights == {"A.1": 3, "B.1": 1}
    assert loaded.rights("A.1", "c1") == "rac" and loaded.rights("A.1", "A") == ""
    assert sorted(loaded.cells) == [
        ("A", "A.1"),
        ("A.1", "c0"),
        ("A.1", "c1"),
        ("B", "B.1"),
        ("B.1", "c0"),
        ("B.1", "c1"),
    ]
    assert loaded.cells["B", "B.1"] == ("rac", ("x.toml", 26))


def test_all_problems_of_all_files_are_listed_in_the_order_of_files_and_lines():
    files = {
        "/p/20-b.toml": b'schema = 1\n[[card]]\nname = "c0"\nlevel = 1\n[[guest]]\nname = "A"\n',
        "/p/10-a.toml": HEAD.encode()
        + A.encode()
        + b"weight = 0\n[[guest]]\nname = 'm'\n[[guest]]\nname = 'D'\nmay = [1]\n",
    }
    assert [str(one.place) for one in policy.check(files).problems] == [
        "/p/10-a.toml:7",
        "/p/10-a.toml:9",
        "/p/10-a.toml:12",
        "/p/20-b.toml:4",
        "/p/20-b.toml:6",
    ]
    assert "it is at /p/10-a.toml:3" in str(policy.check(files).problems[-1])


def test_who_is_wrong_is_blamed_once():
    """A row that is not well formed makes no other row wrong that mentions its name."""
    text = HEAD + A.replace('name = "A"\n', 'name = "A"\nlevel = 9\n', 1) + C0 + OWN
    text += '[[allow]]\nsubject = "A.*"\nobject = "c0"\nrights = "rac"\n'
    assert [one.place.line for one in checked(text).problems] == [4]


def test_a_file_that_cannot_be_read_blames_no_other_file():
    files = {"a.toml": b"schema = 1\n[[gu", "b.toml": HEAD.encode() + OWN.encode()}
    assert [str(one.place) for one in policy.check(files).problems] == ["a.toml:2"]


def test_levels_of_two_files_contradict_each_other():
    files = {"a.toml": (HEAD + FIVE).encode(), "b.toml": (HEAD + "[model]\nclosed = true\nlevels = 5\n").encode()}
    (problem,) = policy.check(files).problems
    assert str(problem) == "b.toml:4: model.levels stands twice; it is at a.toml:3: keep one"


def test_nothing_is_no_policy():
    (problem,) = policy.check({}).problems
    assert "there is no policy file" in str(problem)
    assert checked(HEAD).policy.guests == {}


def test_more_than_there_is_room_for_is_refused():
    cards = "".join(f'[[card]]\nname = "c{n}"\n' for n in range(65))
    (problem,) = checked(HEAD + cards).problems
    assert str(problem) == "x.toml:130: these are more than 64 cards; name fewer"


def test_the_limits_are_those_of_the_matrices():
    rows = policy_rows
    include = DOCS.parent / "cext/include/vec"
    for file, name, value in (
        ("shm.h", "VEC_LEVELS_MAX", rows.LEVELS_MAX),
        ("shm.h", "VEC_USERS_MAX", rows.USERS_MAX),
        ("shm.h", "VEC_INSTANCES_MAX", rows.INSTANCES_MAX),
        ("shm.h", "VEC_CARDS_MAX", rows.CARDS_MAX),
        ("pump.h", "VEC_WEIGHT_MAX", rows.WEIGHT_MAX),
    ):
        (found,) = re.findall(rf"\b{name} = (\d+)", (include / file).read_text())
        assert int(found) == value, name


def test_the_version_is_of_names_and_contents():
    files = {"/x/a.toml": b"schema = 1\n", "/x/b.toml": b"schema = 1\n"}
    same = {"/y/b.toml": b"schema = 1\n", "/y/a.toml": b"schema = 1\n"}
    assert policy.digest(files) == policy.digest(same)
    versions = {
        policy.digest(one)
        for one in (
            files,
            {"/x/a.toml": b"schema = 1\n"},
            {**files, "/x/b.toml": b"schema = 1\n\n"},
            {"/x/a.toml": b"schema = 1\n", "/x/c.toml": b"schema = 1\n"},
            {"/x/a.toml": b"schema = 1\nschema = 1\n", "/x/b.toml": b""},
        )
    }
    assert len(versions) == 5


# ---- kept


def test_what_is_kept_is_the_policy_with_its_places():
    loaded = checked(GOOD).policy
    text = policy_kept.dump(loaded)
    again = policy_kept.load(text)
    assert again == loaded and again.weights == loaded.weights and policy_kept.dump(again) == text
    assert again.cells["B", "B.1"].place == ("x.toml", 26) and again.guests["B"].place("id") == ("x.toml", 10)
    assert again.place("levels") == ("x.toml", 3) and again.instances_of("A") == loaded.instances_of("A")


@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=3))
def test_what_is_kept_and_was_changed_is_none(at, odd):
    data = policy_kept.dump(checked(GOOD).policy).encode()
    changed = data[: at % len(data)] + odd + data[at % len(data) + len(odd) :]
    if changed != data:
        with pytest.raises(ValueError):
            policy_kept.load(changed.decode(errors="surrogateescape"))


# ---- the document


def test_the_document_has_every_key_and_the_example_is_a_policy():
    told = re.findall(r"^\| `\[+(\w+)\]+` \| `(\w+)` \| .* \| (.*) \|$", (DOCS / "policy.md").read_text(), re.M)
    known = {(table, key): row.default for table, keys in policy_rows.TABLES.items() for key, row in keys.items()}
    assert [(table, key) for table, key, _ in told] == list(known)
    for table, key, default in told:
        value = known[table, key]
        if value is policy_rows.REQUIRED:
            assert default == "must be there"
        elif value is not None:
            assert default == str(value).lower()
    example = DOCS / "policy.example.toml"
    loaded = policy.require({str(example): example.read_bytes()})
    assert loaded.closed and loaded.weights["bank.payments"] == 3 and loaded.rights("shop.1", "c0") == "rac"
    assert loaded.rights("shop.1", "c1") == ""


# ---- every file


def places(text: Text) -> dict:
    return {path: line for path, line in text.lines.items() if path}


def test_lines_are_found_in_nasty_files():
    text = read(
        "x.toml",
        b'# [not] = """\r\n'
        b"schema = 1 # ]\r\n"
        b"\r\n"
        b'"quoted key" = """\r\n[[guest]]\r\nname = 1\r\n"""\r\n'
        b"list = [ # ]\r\n"
        b"  1, # ]]\r\n"
        b"\r\n"
        b"  2,\r\n"
        b"]\r\n"
        b"  [ a . 'b' ] # x\r\n"
        b"c.d = {e = [1, {f = 2}], g.h = 3}\r\n"
        b"[[t]]\r\n[t.u]\r\nx = '''\r\n'''\r\n[[t.v]]\r\n[[t.v]]\r\ny = 1\r\n[[t]]\r\nz = 2",
    )
    assert places(text) == {
        ("schema",): 2,
        ("quoted key",): 4,
        ("list",): 8,
        ("a", "b"): 13,
        ("a", "b", "c"): 14,
        ("a", "b", "c", "d"): 14,
        ("a", "b", "c", "d", "e"): 14,
        ("a", "b", "c", "d", "g"): 14,
        ("a", "b", "c", "d", "g", "h"): 14,
        ("t", 0): 15,
        ("t", 0, "u"): 16,
        ("t", 0, "u", "x"): 17,
        ("t", 0, "v", 0): 19,
        ("t", 0, "v", 1): 20,
        ("t", 0, "v", 1, "y"): 21,
        ("t", 1): 22,
        ("t", 1, "z"): 23,
    }
    # What has no line of its own has that of what it is in.
    assert text.place(("list", 3)).line == 8


BAD_BYTES = {
    "not UTF-8": (b"schema = 1\n# \xc3\x28\n", 2, "0xc3 is not UTF-8"),
    "a NUL": (b"schema = 1\nx = 1\x00\n", 2, "not TOML"),
    "a byte order mark": (b"\xef\xbb\xbfschema = 1\n", 1, "byte order mark; save it as plain UTF-8"),
    "a lone CR": (b"schema = 1\n\ny = 2\rx = 3\n", 3, "not TOML"),
    "a number of 5000 digits": (b"schema = 1\n\nx = " + b"9" * 5000 + b"\ny = 1\n", 3, "Exceeds the limit"),
    "brackets": (b"schema = 1\nx = " + b"[" * 100_000, 2, "nested too deeply"),
    "braces": (b"schema = 1\nx = " + b"{x = " * 50_000, 2, "nested too deeply"),
    "a key of many parts": (b"schema = 1\n" + b"a." * 1_000_000 + b"a = 1\n", 2, "nested too deeply"),
    "a header of many parts": (b"schema = 1\n[" + b"'a' . " * 500_000 + b"a]\n", 2, "nested too deeply"),
    "a value over many lines": (b"schema = 1\nx = [\n" + b"1,\n" * 2000 + b"]\n", 2, "more than 1000 lines"),
    "an open string": (b'schema = 1\nx = """\n\n', 2, "not TOML"),
    "a day that was not": (b"x = 2024-02-30\n", 1, "not TOML"),
    "too large": (b"#" * (BYTES_MAX + 1), 1, "bytes"),
}


@pytest.mark.parametrize("what", BAD_BYTES)
def test_bytes_that_are_no_policy_are_a_line_and_no_exception(what):
    data, line, words = BAD_BYTES[what]
    began = time.perf_counter()
    (problem, *_) = policy.check({"x.toml": data}).problems
    assert problem.place == ("x.toml", line) and words in str(problem), str(problem)[:300]
    assert time.perf_counter() - began < 5


PIECES = st.sampled_from(
    [
        *GOOD.split("\n"),
        "[[guest]]",
        "[model]",
        "=",
        "[",
        "]",
        '"""',
        "'''",
        "{",
        "}",
        "\\",
        "\r",
        "\x00",
        "e*",
        "1979-05-27",
    ]
)
WORDS = st.one_of(PIECES, st.text(max_size=6))


@settings(max_examples=150)
@given(st.lists(st.one_of(st.tuples(PIECES), st.lists(WORDS, max_size=4).map(tuple)), max_size=30))
@example([("a" + ".a" * 400 + " = 1",)])
def test_whatever_stands_in_a_file_gets_a_clean_answer(rows):
    """Any text is a policy, or problems with lines that the file has."""
    text = "\n".join(" ".join(row) for row in rows)
    clean(text.encode("utf-8", "surrogatepass"))


@settings(max_examples=150)
@given(st.binary(max_size=60), st.integers(0, len(GOOD)), st.integers(0, 40))
def test_a_policy_with_odd_bytes_in_it_gets_a_clean_answer(odd, at, cut):
    clean(GOOD.encode()[:at] + odd + GOOD.encode()[at + cut :])


def clean(data: bytes) -> None:
    found = policy.check({"x.toml": data})
    assert (found.policy is None) == bool(found.problems)
    for problem in found.problems:
        assert isinstance(problem, Problem) and problem.message
        assert 1 <= problem.place.line <= data.count(b"\n") + 1


KEYS = st.text(alphabet="ab_-1", min_size=1, max_size=3)
VALUES = st.recursive(
    st.one_of(
        st.integers(-9, 9).map(str), st.sampled_from(['"x"', "'[[y]]'", '"""\n[a]\nb = 1\n"""', "true", "''''''"])
    ),
    lambda inner: st.lists(inner, max_size=3).map(lambda one: "[ # ]\n" + ",\n".join(one) + "\n]"),
    max_leaves=4,
)


@settings(max_examples=150)
@given(st.lists(st.tuples(st.sampled_from(["[{}]", "[[{}]]", "key", "# {} = ["]), KEYS, VALUES), max_size=12))
def test_every_key_has_the_line_on_which_it_was_written(rows):
    """Texts are made of statements, so where each one begins is known without reading it."""
    lines, wanted, seen = [], {}, set()
    for kind, key, value in rows:
        begin = len("\n".join(lines).split("\n")) + 1 if lines else 1
        text = f"{key} = {value}" if kind == "key" else kind.format(key)
        wanted[begin] = (kind, key)
        lines.append(text)
        seen.add(key)
    text = read("x.toml", "\n".join(lines).encode())
    if isinstance(text, Problem):
        return
    statements = {line for line, (kind, _) in wanted.items() if not kind.startswith("#")}
    assert set(places(text).values()) == statements
    for path, line in places(text).items():
        assert wanted[line][1] == next(one for one in reversed(path) if isinstance(one, str))


# ---- the trial


def test_what_was_tried_once_needs_not_be_tried_again():
    """The four values by which a trial is remembered are all that it depends on: alone or among others, one answer."""
    blocks = []
    for level, through, may in itertools.product((3, 4), range(1, 16), range(1, 16)):
        name = f"g{len(blocks)}"
        blocks.append(
            f'[[guest]]\nname = "{name}"\n[[instance]]\nname = "{name}.1"\nowner = "{name}"\nlevel = {level}\n'
            f'[[allow]]\nsubject = "{name}"\nobject = "{name}.1"\nrights = "{letters(through)}"\n'
            f'[[allow]]\nsubject = "{name}.1"\nobject = "c0"\nrights = "{letters(may)}"\n'
        )
    head = HEAD + FIVE + C0
    size, first = blocks[0].count("\n"), head.count("\n") + 1
    together = {(one.place.line - first) // size for one in checked(head + "".join(blocks)).problems}
    alone = {number for number, block in enumerate(blocks) if checked(head + block).problems}
    assert len(blocks) == 450 and together == alone
    # Possible are: guest and instance at one level, with c, a and r there, and on the card c alone, a and r with it,
    # or w in the place of either.
    possible = [block for number, block in enumerate(blocks) if number not in alone]
    assert {re.findall(r'rights = "(.*)"', block)[1] for block in possible} == {"c", "wc", "rwc", "rac", "rwac"}
    assert {re.findall(r'rights = "(.*)"', block)[0] for block in possible} == {"rac", "rwac"}
    assert len(possible) == 2 * 5


def test_a_policy_for_the_whole_machine_is_checked_in_seconds():
    """1,000 users, 4,000 instances, 64 cards; each instance on four of them."""
    text = [HEAD + FIVE]
    for n in range(64):
        text.append(f'[[card]]\nname = "c{n}"\n')
    for n in range(1000):
        text.append(f'[[guest]]\nname = "g{n}"\n')
        for i in range(4):
            text.append(f'[[instance]]\nname = "g{n}.{i}"\nowner = "g{n}"\nweight = {1 + i}\n')
            cards = ", ".join(f'"c{(n + i + j) % 64}"' for j in range(4))
            text.append(f'[[allow]]\nsubject = "g{n}.{i}"\nobject = [{cards}]\nrights = "rac"\n')
        text.append(f'[[allow]]\nsubject = "g{n}"\nobject = "g{n}.*"\nrights = "rac"\n')
    began = time.process_time()
    loaded = checked("".join(text)).policy
    assert len(loaded.cells) == 20_000 and len(loaded.instances) == 4000
    assert time.process_time() - began < 10
    # And the guard, which need not check it again, has it in a moment.
    kept = policy_kept.dump(loaded)
    began = time.process_time()
    assert policy_kept.load(kept) == loaded
    assert time.process_time() - began < 1


def test_M_of_the_trial_is_what_the_rows_say():
    """R9 is asked once for what it answers alike; what stands in M is the same as if it had been asked each time."""
    rows = policy_rows.rows([read("x.toml", GOOD.encode())])
    trial = policy_trial.run(rows, policy.Place("x.toml", 1))
    state = trial.monitor.state
    slow = Monitor(5)
    for table, kind in ((trial.guests, "user"), (trial.instances, "instance"), (trial.cards, "card")):
        for row in table.values():
            slow.name(row.name, kind, getattr(row, "owner", None), getattr(row, "may", None))
            slow.require(requests.create(row.name, getattr(row, "level", None)))
            slow.require(requests.instruct(row.name))
    for (subject, target), right in trial.cells.items():
        for letter in right.rights:
            slow.require(requests.give(subject, target, letter))
    assert slow.state.snapshot() == state.snapshot() and indexes(state) == []
