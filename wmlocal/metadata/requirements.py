"""What a server takes from a script's imports: the packages to lock, and the Python version.

As a server 1.743 does it: an import's own pin counts, a pin of an imported script counts unless repinned nearer, and an
imported script that names a requirement set, or has a PEP 723 block, brings what stands there.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from wmlocal.lint.python_code import imports
from wmlocal.lint.requirement_heads import read_head

# Packages that a server takes for a module; for any other it takes the module's own name.
_NAMES = """psycopg2=psycopg2-binary psycopg=psycopg[binary,pool] yaml=pyyaml git=GitPython shopify=ShopifyAPI
seleniumwire=selenium-wire openbb-terminal=openbb[all] riskfolio=riskfolio-lib smb=pysmb PIL=Pillow
googleapiclient=google-api-python-client googlecloudbigquery=google-cloud-bigquery dateutil=python-dateutil
mailparser=mail-parser mailparser-reply=mail-parser-reply gitlab=python-gitlab smbclient=smbprotocol playhouse=peewee
dns=dnspython msoffcrypto=msoffcrypto-tool tabula=tabula-py shapefile=pyshp sklearn=scikit-learn umap=umap-learn
cv2=opencv-python atlassian=atlassian-python-api mysql=mysql-connector-python tenable=pytenable ns1=ns1-python
pymsql=PyMySQL haystack=haystack-ai github=PyGithub ldap=python-ldap opensearchpy=opensearch-py
lokalise=python-lokalise-api msgraph=msgraph-sdk pythonjsonlogger=python-json-logger socks=PySocks taiga=python-taiga
docx=python-docx vt=vt-py grpc=grpcio serpapi=google-search-results"""
NAMES = dict(pair.split("=", 1) for pair in _NAMES.split())
# `google.cloud.storage` is of google-cloud-storage.
DOTTED = re.compile(
    r"google\.cloud\.\w+|azure\.mgmt\.\w+|google\.(?:generativeai|genai)|azure\.identity|azure\.keyvault\.secrets"
    r"|azure\.storage\.(?:blob|filedatalake)"
)
# The server's list of Python's own modules knows one less and one more than Python 3.11.
OWN_MODULES = (sys.stdlib_module_names - {"tomllib"}) | {"binhex"}
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
PIN = re.compile(r"#\s*(pin|repin):\s*(\S+)")
SPECIFIER = re.compile(r"^#\s?py:(.*)$")
SHORT = re.compile(r"^#\s*py(3)(\d+)\s*$")
BLOCK = re.compile(r"(?m)^# /// script.*\n((?:#.*\n)*?)# ///")
PACKAGE = re.compile(r"^[^!=<>]+")
REPIN, PINNED, FREE = range(3)


class NoRequirements(Exception):
    """The message says why nothing can be said."""


@dataclass
class Requirements:
    """By what is imported or asked for: how it is pinned, and the lines."""

    found: dict[str, tuple[int, list[str]]] = field(default_factory=dict)
    versions: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    @property
    def lines(self) -> list[str]:
        lines = {line for _, lines in self.found.values() for line in lines}
        return sorted(line for line in lines if line.strip() and not line.startswith("--"))

    def add(self, key: str, rank: int, lines: list[str]) -> None:
        had = self.found.get(key)
        if had is None or (rank < had[0] and had[0] != REPIN):
            self.found[key] = (rank, list(lines))
        elif rank == had[0] == PINNED:
            had[1].extend(line for line in lines if line not in had[1])


def infer_requirements(
    code: str, path: str, read: Callable[[str], str | None], found: Requirements | None = None
) -> Requirements:
    """Of the script and those that it imports. `read` gives a script, or a requirement set by its file's name."""
    found = found or Requirements()
    found.seen.add(path)
    found.versions += specifiers(code)
    head = read_head(code)
    own = [line for _, line in head.lines] if head else []
    for name in head.names if head else ():
        own += (read(f"dependencies/{name}.requirements.in") or "").split("\n")
    for line in own:
        if match := PACKAGE.match(line.strip()):
            found.add(match[0], PINNED, [line.strip()])
    if head and not head.extra:
        return found
    block = _block(code)
    if block is not None:
        found.versions += [str(block["requires-python"])] if "requires-python" in block else []
        for line in block.get("dependencies") or []:
            found.add((PACKAGE.match(str(line)) or [str(line)])[0], PINNED, [str(line)])
        return found
    rows, below = code.split("\n"), []
    for item in imports(code, path):
        root = item.module.split(".")[0]
        if not item.tracked:
            continue
        if root in ("f", "u"):
            below.append(item.module.replace(".", "/"))
        elif pin := PIN.search(rows[item.end_line - 1]):
            found.add(item.module, REPIN if pin[1] == "repin" else PINNED, [pin[2]])
        elif root and root not in OWN_MODULES:
            found.add(item.module, FREE, [_package(item.module)])
    for other in below:
        text = read(other) if other not in found.seen else None
        if text is not None:
            infer_requirements(text, other, read, found)
    return found


def _package(module: str) -> str:
    if DOTTED.fullmatch(module):
        return module.replace(".", "-").replace("_", "-").replace("filedatalake", "file-datalake")
    root = module.split(".")[0].replace("_", "-")
    return NAMES.get(root, root)


def _block(code: str) -> dict[str, Any] | None:
    """A PEP 723 block of the script's head."""
    match = BLOCK.search(code)
    if match is None:
        return None
    try:
        return tomllib.loads("\n".join(row[1:] for row in match[1].split("\n")))
    except tomllib.TOMLDecodeError as error:
        raise NoRequirements(f"the block `# /// script` is not TOML ({error}); mend it") from None


def specifiers(code: str) -> list[str]:
    """The Python versions that a script's head asks for."""
    found = []
    for row in code.split("\n"):
        if not row.startswith("#"):
            break
        if match := SHORT.match(row):
            found.append(f"=={match[1]}.{match[2]}.*")
        elif match := SPECIFIER.match(row):
            found.append(match[1].strip())
    return found


def choose_python(versions: list[str], instance: str) -> str:
    """The version that a server takes, whose own is `instance`: the next one from there up, else the newest below."""
    wanted = SpecifierSet()
    for text in versions:
        try:
            wanted &= SpecifierSet(text)
        except InvalidSpecifier:
            continue
    if any(len(one.version.removesuffix(".*").split(".")) > 2 for one in wanted):
        raise NoRequirements(f"{wanted} names a release whose newest only a server knows; name 3.x, as in ==3.11.*")
    fits = [one for one in PYTHONS if any(wanted.contains(f"{one}.{patch}") for patch in (0, 1, 99))]
    above = [one for one in fits if _number(one) >= _number(instance)]
    if not fits:
        raise NoRequirements(f"no Python is {wanted}; a server has {PYTHONS[0]} to {PYTHONS[-1]}")
    return above[0] if above else fits[-1]


def _number(version: str) -> int:
    return int(version.split(".")[1])
