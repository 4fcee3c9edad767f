"""Whatever a document points at exists: links, paths, tests. Every promise is held by something or says pending."""

import re

import pytest

from tests.style.tree import ROOT, files, relative, under

DOCUMENTS = [path for path in files() if path.suffix == ".md"]
TOP = ("vecd", "cext", "tests", "docs", "bench", "systemd", "udev", r"\.ci")
PATH = re.compile(rf"(?:{'|'.join(TOP)})/[A-Za-z0-9_./*-]*(?:::[A-Za-z0-9_]+)?")


def ids(paths: list) -> list[str]:
    return [relative(path) for path in paths]


def exists(named: str) -> bool:
    path, _, test = named.partition("::")
    if "*" in path:
        return any(ROOT.glob(path))
    found = ROOT / path
    if test:
        return found.is_file() and re.search(rf"^(async )?def {test}\b", found.read_text(), re.MULTILINE) is not None
    return found.exists()


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids(DOCUMENTS))
def test_links_lead_somewhere(document) -> None:
    text = document.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        found = (document.parent / path) if path else document
        assert found.exists(), f"{relative(document)} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", found.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{relative(document)} links to {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids(DOCUMENTS))
def test_paths_that_are_named_exist(document) -> None:
    for quoted in re.findall(r"`([^`\n]+)`", document.read_text()):
        named = PATH.fullmatch(quoted)
        if named and not named[0].startswith("build/"):
            assert exists(named[0]), f"{relative(document)} names {named[0]}"


CITED = re.compile(r"\b(?:docs|tests|bench|cext)/[A-Za-z0-9_/-]+\.(?:md|py|c|h)\b(?:::[A-Za-z0-9_]+)?")
SOURCES = [path for path in files() if path.suffix in (".py", ".c", ".h")]


@pytest.mark.parametrize("source", SOURCES, ids=ids(SOURCES))
def test_what_a_comment_points_at_exists(source) -> None:
    for named in CITED.findall(source.read_text()):
        assert exists(named), f"{relative(source)} points at {named}"


def promises() -> list[tuple[str, str]]:
    rows = []
    for line in (ROOT / "docs" / "promises.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and re.fullmatch(r"P\d+", cells[0]):
            rows.append((cells[0], cells[-1]))
    return rows


def test_promises_are_numbered_without_a_gap() -> None:
    assert [number for number, _ in promises()] == [f"P{n + 1}" for n in range(len(promises()))]


@pytest.mark.parametrize(("number", "held_by"), promises())
def test_a_promise_is_held_or_pending(number: str, held_by: str) -> None:
    named = [quoted for quoted in re.findall(r"`([^`]+)`", held_by) if PATH.fullmatch(quoted)]
    assert named or held_by.startswith("pending"), f"{number}: neither a test, nor a bench, nor pending"
    for path in named:
        assert exists(path), f"{number}: {path} does not exist"


@pytest.mark.parametrize("rule", [f"R{n}" for n in range(1, 13)])
def test_every_rule_is_in_code_tests_and_documents(rule: str) -> None:
    word = re.compile(rf"\b{rule}\b|\b{rule}_|_{rule}_")
    for folder, suffix in (("vecd", ".py"), ("tests", ".py"), ("docs", ".md")):
        assert any(word.search(path.read_text()) for path in under(folder, suffix=suffix)), (
            f"{rule} is not in {folder}/"
        )


def test_documents_quote_promises_that_are_made() -> None:
    made = {number for number, _ in promises()}
    for path in DOCUMENTS:
        quoted = set(re.findall(r"\bP\d+\b", path.read_text()))
        assert quoted <= made, f"{relative(path)} quotes {', '.join(sorted(quoted - made))}"
