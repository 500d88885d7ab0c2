"""The two files of a bundle, read and checked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from f.flexcore.lib.core.errors import InvalidInput
from flexcore.configuration.check import flexcore_problems, parse_section, windmill_problems
from flexcore.configuration.document import Document, Path_, Problem, read
from flexcore.configuration.models import FlexcoreFile, WindmillFile

WINDMILL, FLEXCORE = "windmill.yaml", "flexcore.yaml"


@dataclass(frozen=True, slots=True)
class Configuration:
    """A file that is not there is one with nothing in it. given: which are there; from_environment: the values of
    windmill.yaml that came from there, by path."""

    windmill: WindmillFile
    flexcore: FlexcoreFile
    given: tuple[str, ...]
    from_environment: frozenset[Path_] = frozenset()
    problems: tuple[Problem, ...] = ()


def check(root: Path, environment: Mapping[str, str] = os.environ) -> Configuration:
    """With every problem of both files; what has problems counts as not there."""
    documents = {name: read(root / name, environment) for name in (WINDMILL, FLEXCORE) if (root / name).is_file()}
    windmill = parse_section(WindmillFile, _unwrap(documents[WINDMILL], "windmill")) if WINDMILL in documents else None
    flexcore = parse_section(FlexcoreFile, _unwrap(documents[FLEXCORE], "flexcore")) if FLEXCORE in documents else None
    if windmill:
        windmill_problems(documents[WINDMILL], windmill)
    if flexcore:
        flexcore_problems(documents[FLEXCORE], flexcore, root)
    problems = sorted({problem for document in documents.values() for problem in document.problems})
    from_environment = frozenset(documents[WINDMILL].from_environment) if WINDMILL in documents else frozenset()
    return Configuration(
        windmill or WindmillFile(), flexcore or FlexcoreFile(), tuple(documents), from_environment, tuple(problems)
    )


def _unwrap(document: Document, name: str) -> Document:
    """Some write all of it below one key of the file's own name."""
    if isinstance(document.data, dict) and list(document.data) == [name] and isinstance(document.data[name], dict):
        document.data = document.data[name]
        document.lines |= {path[1:]: line for path, line in document.lines.items() if len(path) > 1}
        document.from_environment |= {path[1:] for path in document.from_environment}
    return document


def read_configuration(root: Path) -> Configuration:
    """Raises InvalidInput with the first problem."""
    found = check(root)
    if found.problems:
        more = f" (and {len(found.problems) - 1} more)" if len(found.problems) > 1 else ""
        raise InvalidInput(
            f"{found.problems[0]}{more}", subject="configuration", remedy="`flexcore config check` shows all."
        )
    return found
