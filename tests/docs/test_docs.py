"""The pages say what the code does: their commands run or parse, their examples are valid, their links lead on."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.command_table import list_commands
from bench.pages import DOCS
from bench.pages import PAGES as GENERATED
from bench.troubleshooting_page import MEANINGS, NAMED_CATEGORIES, TLS_SAMPLES, read_literal_rows
from f.flexcore.lib.core import resources, tls_errors
from f.flexcore.lib.kubernetes_api.categories import Category
from flexcore.client.arguments import complete_arguments
from flexcore.client.local import local_workflow
from flexcore.configuration import files
from flexcore.console import EXIT_CODES
from tests.docs.pages import (
    PAGES,
    ROOT,
    Block,
    anchors,
    blocks,
    links,
    mentions,
    name_of,
    prose,
    runs,
    shell_commands,
)
from tests.fourth_runtime.patches import add_branch

BLOCKS = [block for page in PAGES for block in blocks(page)]
# console: run here; sh: parsed, for it needs a server, a cluster or a person; python FILE: a part of that file, and
# python alone is run.
LANGUAGES = {"console", "sh", "json", "yaml", "python", "mermaid"}
MAX_README_LINES = 130
TIMEOUT_S = 120
# Of a machine or a registry; none belongs into a page.
PRIVATE = re.compile(r"/work/|/root/|/home/|/tmp/|pypi\.org|npmjs|(?<![\d.])10\.\d+\.\d+\.\d+")


def of(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language in languages]


def ids(items: list[Block]) -> list[str]:
    return [f"{name_of(block.page)}-{number}" for number, block in enumerate(items)]


# Commands


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what a reader has: the bundle, samples and examples."""
    root = tmp_path / "checkout"
    for folder in ("f", "u", "locks", "dependencies", "resources/samples", "docs/examples"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (ROOT / "wmill.yaml", ROOT / "wmill-lock.yaml", *ROOT.glob("*.resource-type.yaml")):
        shutil.copy(file, root)
    return root


@pytest.mark.slow
@pytest.mark.parametrize("block", of("console"), ids=ids(of("console")))
def test_a_command_prints_what_its_page_shows(block: Block, checkout: Path, tmp_path: Path) -> None:
    env = os.environ | {
        "PATH": f"{ROOT / 'bin'}:{os.environ['PATH']}",
        "FLEXCORE_HOME": str(tmp_path / "home"),
        "WMILL_CONFIG_DIR": str(tmp_path / "config"),
        # The order in which a terminal shows both streams, and its width.
        "PYTHONUNBUFFERED": "1",
        "COLUMNS": "110",
    }
    for run in runs(block):
        done = subprocess.run(
            ["bash", "-c", run.command],
            cwd=checkout,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_S,
        )
        printed = done.stdout + (f"\n[exit code {done.returncode}]" if done.returncode else "")
        assert re.fullmatch(as_pattern(run.output), flat(printed)), f"$ {run.command}\n{printed}"


def as_pattern(output: str) -> str:
    """… stands for anything; how lines are broken does not count."""
    return re.escape(flat(output)).replace("…", ".*").replace(r"\ .*\ ", r"\ .*")


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize(("shown", "printed"), [("a\n…\nd", "a b c e"), ("a b", "a b c"), ("a", "b"), ("", "a")])
def test_other_output_than_the_page_shows_is_found(shown: str, printed: str) -> None:
    assert not re.fullmatch(as_pattern(shown), flat(printed))


@pytest.mark.parametrize("block", of("sh", "console"), ids=ids(of("sh", "console")))
def test_a_command_line_parses(block: Block) -> None:
    for words in shell_commands(block):
        if words[0] == "flexcore":
            parse(words[1:])
        elif words[0] == "make":
            targets = [word for word in words[1:] if "=" not in word]
            assert set(targets) <= make_targets(), words


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_command_in_the_text_exists_with_its_options(page: Path) -> None:
    for words in mentions(page):
        path = path_of(words)
        if path is None:
            # `flexcore --install-completion`, `flexcore COMMAND --help`
            assert words[0].startswith("--") or words[0].isupper() or words[0] in groups(), words
            continue
        options = {name for item in list_commands()[path].params for name in item.opts} | {"--help"}
        assert {word for word in words if word.startswith("--")} <= options, words


def test_every_command_is_in_the_table_and_used_in_an_example() -> None:
    used = {
        path_of(words[1:]) for block in of("sh", "console") for words in shell_commands(block) if words[0] == "flexcore"
    }
    said = {path_of(words) for page in PAGES for words in mentions(page)}
    assert set(list_commands()) <= used | said


def parse(words: list[str]) -> None:
    """As the command line would, every argument and option there; nothing is run."""
    path = path_of(words)
    assert path is not None, f"there is no command flexcore {' '.join(words)}"
    command = list_commands()[path]
    with command.make_context(" ".join(path), words[len(path) :]):
        pass


def path_of(words: list[str]) -> tuple[str, ...] | None:
    return next((tuple(words[:n]) for n in (2, 1) if tuple(words[:n]) in list_commands()), None)


def groups() -> set[str]:
    return {path[0] for path in list_commands()}


def make_targets() -> set[str]:
    return set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_exit_codes_are_those_of_the_help() -> None:
    page = (DOCS / "cli.md").read_text()
    for code, text in re.findall(r"(\d+) ([^,.]+)", EXIT_CODES):
        assert f"| {code} | {text}" in page, code


# Examples


@pytest.mark.parametrize("block", BLOCKS, ids=ids(BLOCKS))
def test_a_block_says_what_it_is(block: Block) -> None:
    assert block.language in LANGUAGES


PARTS = [block for block in of("python") if block.source]
PROGRAMS = [block for block in of("python") if not block.source]


@pytest.mark.parametrize("block", PROGRAMS, ids=ids(PROGRAMS))
def test_a_program_on_a_page_runs(block: Block, checkout: Path) -> None:
    (checkout.parent / "BUNDLE").symlink_to(checkout)
    command = [sys.executable, "-c", block.text]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=checkout.parent, env=env, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", PARTS, ids=ids(PARTS))
def test_code_on_a_page_is_that_of_its_file(block: Block) -> None:
    source = (ROOT / block.source).read_text(encoding="utf-8")
    for part in block.text.split("\n\n\n"):
        # A part of a class or a call stands at the margin of the page.
        code = part.strip("\n")
        assert any(textwrap.indent(code, " " * width) in source for width in (0, 4, 8)), code


@pytest.mark.parametrize("block", of("json", "yaml"), ids=ids(of("json", "yaml")))
def test_data_on_a_page_can_be_read(block: Block) -> None:
    assert json.loads(block.text) if block.language == "json" else yaml.safe_load(block.text)


REQUESTS = [(block, json.loads(block.text)) for block in of("json")]


@pytest.mark.parametrize(
    ("flow", "request_"),
    [("hybrid_pipeline", value) for _, value in REQUESTS if "extraction" in value]
    + [("data_pipeline", value) for _, value in REQUESTS if "workflow_type" in value],
)
def test_a_request_on_a_page_fits_the_form(flow: str, request_: dict[str, Any]) -> None:
    assert complete_arguments(local_workflow(ROOT, flow).schema, request_)


def test_the_configuration_on_its_page_has_no_problem(checkout: Path) -> None:
    text = {"windmill.yaml": "", "flexcore.yaml": ""}
    for block in blocks(DOCS / "configuration.md"):
        name = next((name for name in text if block.text.startswith(f"# {name}")), "")
        if name:
            text[name] = block.text
    for name, content in text.items():
        assert content
        (checkout / name).write_text(content)
    environment = {name: "x" for name in re.findall(r"\$\{(\w+)\}", "".join(text.values()))}
    environment["DATABASE_URL"] = "postgres://db/windmill"
    assert files.check(checkout, environment).problems == ()


def test_the_branch_of_a_new_runtime_is_the_one_that_is_tested(tmp_path: Path) -> None:
    (shown,) = [
        yaml.safe_load(block.text) for block in blocks(DOCS / "adding-a-runtime.md") if block.language == "yaml"
    ]
    flow = tmp_path / "flow.yaml"
    shutil.copy(ROOT / "f/flexcore/data_pipeline__flow/flow.yaml", flow)
    add_branch(flow)
    assert shown in [without_defaults(branch) for branch in branches(yaml.safe_load(flow.read_text()))]


def branches(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for loop in document["value"]["modules"]:
        for module in loop["value"].get("modules", ()):
            yield from module["value"].get("branches", ())


def without_defaults(branch: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in branch.items() if name not in ("parallel", "skip_failure")}


# Pages


@pytest.mark.parametrize("name", GENERATED)
def test_a_page_made_from_the_code_is_what_the_code_makes(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == GENERATED[name](), "run: make pages"


def test_every_category_has_a_meaning_and_what_is_read_from_the_code_is_there() -> None:
    assert set(MEANINGS) == set(Category)
    assert {kind: tls_errors.tls_kind(text) for kind, text in TLS_SAMPLES.items()} == {
        kind: kind for kind in TLS_SAMPLES
    }
    assert set(TLS_SAMPLES) == set(tls_errors.KINDS)
    found = {(row.module.split("/")[0], row.category) for row in read_literal_rows()}
    assert {("meltano", name) for names in NAMED_CATEGORIES.values() for name in names} <= found
    assert {("ray", "program_failed"), ("ray", "job_lost"), ("meltano", "locked"), ("meltano", "disk")} <= found


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


# Where a path of the bundle may begin, and what is added to it before it is looked for.
PLACES = {
    **dict.fromkeys(("f", "flexcore", "wmlocal", "tests", "bench", "resources", "docs", "dependencies", "locks"), ""),
    **dict.fromkeys(("lib", "operations", "templates", "meltano", "ray", "kubernetes", "storage"), "f/flexcore/"),
}
# Made in a workspace, or by the reader.
NOT_IN_THE_BUNDLE = re.compile(
    r"f/(?!flexcore/)|f/flexcore/(settings|forecast|notifications|(lib/)?command)\b|resources/deploy/secrets"
)


# The change log names what was, too.
@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=name_of)
def test_a_path_on_a_page_exists(page: Path) -> None:
    for code in re.findall(r"`([\w.]+/[\w./*-]+)`", prose(page)):
        first = code.partition("/")[0]
        if first not in PLACES or NOT_IN_THE_BUNDLE.match(code):
            continue
        # A word in capitals is the reader's to fill in.
        path = PLACES[first] + re.sub(r"\b[A-Z]+\b", "*", code.rstrip("/"))
        assert any(any(ROOT.glob(path + end)) for end in ("", ".py", "__flow", ".schedule.yaml")), code


def test_every_page_is_reached_from_the_readme() -> None:
    reached, ahead = set(), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page in reached:
            continue
        reached.add(page)
        targets = [(page.parent / link.partition("#")[0]).resolve() for link in links(page) if "://" not in link]
        ahead += [target for target in targets if target.suffix == ".md" and target.exists()]
    assert {page for page in PAGES if page.parent == DOCS} <= reached


def test_the_readme_is_one_page() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= MAX_README_LINES


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent == DOCS], ids=name_of)
def test_a_page_begins_with_what_the_reader_gets(page: Path) -> None:
    title, first = prose(page).split("\n\n")[:2]
    assert title.startswith("# ") and first.startswith("You get ")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_names_no_machine_and_no_registry(page: Path) -> None:
    assert not PRIVATE.search(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("settings", [value for _, value in REQUESTS if set(value) == {"runtimes"}])
def test_settings_on_a_page_are_valid(settings: dict[str, Any]) -> None:
    assert resources.Settings.model_validate(settings).runtimes
