"""Imports of Python scripts: what Windmill tracks, what a lock must hold.

Windmill looks at statements before `def main(` at the left margin alone, and takes `from f.x import y` for the script
`f/x`: where that is a folder, the packages of `y` reach no lock and a change of it makes nothing stale.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from wmlocal.lint.context import Context
from wmlocal.lint.files import Script
from wmlocal.lint.requirement_heads import is_lock_inferred
from wmlocal.suggest import suggest

# Packages whose name is not that of their module; `-`, `_` and case do not count.
PROVIDERS = {
    "yaml": "pyyaml",
    "cv2": "opencv-python opencv-python-headless",
    "pil": "pillow",
    "sklearn": "scikit-learn",
    "bs4": "beautifulsoup4",
    "dateutil": "python-dateutil",
    "dotenv": "python-dotenv",
    "jwt": "pyjwt",
    "mysqldb": "mysqlclient",
    "psycopg2": "psycopg2 psycopg2-binary",
    "serial": "pyserial",
    "skimage": "scikit-image",
    "usb": "pyusb",
    "zmq": "pyzmq",
    "crypto": "pycryptodome",
    "cryptodome": "pycryptodomex",
    "docx": "python-docx",
    "pptx": "python-pptx",
    "fitz": "pymupdf",
    "magic": "python-magic",
    "git": "gitpython",
    "github": "pygithub",
    "gitlab": "python-gitlab",
    "slack": "slack-sdk slackclient",
    "telegram": "python-telegram-bot",
    "ldap": "python-ldap",
    "ldap3": "ldap3",
    "openssl": "pyopenssl",
    "nacl": "pynacl",
    "markdown": "markdown",
    "attr": "attrs",
    "pkg_resources": "setuptools",
    "win32api": "pywin32",
    "faiss": "faiss-cpu faiss-gpu",
    "xgboost": "xgboost xgboost-cpu",
    "snowflake": "snowflake-connector-python snowflake-snowpark-python",
    "websocket": "websocket-client",
    "jose": "python-jose",
    "multipart": "python-multipart",
    "odf": "odfpy",
    "ibm_db": "ibm-db",
    "osgeo": "gdal",
    "shapefile": "pyshp",
    "ee": "earthengine-api",
    "rest_framework": "djangorestframework",
    "decouple": "python-decouple",
    "psycopg": "psycopg psycopg-binary",
    "grpc": "grpcio",
    "stdnum": "python-stdnum",
    "slugify": "python-slugify",
    "airtable": "airtable-python-wrapper pyairtable",
    "woocommerce": "woocommerce",
    "mpl_toolkits": "matplotlib",
    "pylab": "matplotlib",
    "gi": "pygobject",
    "typing_extensions": "typing-extensions",
    "_typeshed": "",
}
# Many packages put modules below these names.
SHARED = frozenset(
    {"google", "azure", "ruamel", "zope", "backports", "sphinxcontrib", "jaraco", "opentelemetry", "aws_cdk"}
)
MAIN = re.compile(r"^(?:async\s+)?def\s+main\s*\(", re.MULTILINE)
PACKAGE = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)")


@dataclass(frozen=True, slots=True)
class Import:
    """`from module import name` or `import module`; relative modules are resolved. `tracked`: Windmill sees it."""

    module: str
    names: tuple[str, ...]
    line: int
    column: int
    tracked: bool
    end_line: int = 0


@lru_cache(maxsize=4096)
def imports(code: str, path: str) -> list[Import]:
    """Every import statement; none when the code cannot be parsed, which is told elsewhere."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError):
        return []
    match = MAIN.search(code)
    main_line = code.count("\n", 0, match.start()) + 1 if match else sys.maxsize
    return [
        found
        for node, top, skipped in _walk(tree.body, True, False)
        if not skipped
        for found in _read_import(node, path, top and node.lineno < main_line)
    ]


def _walk(body: list[ast.stmt], top: bool, skipped: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool, bool]]:
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, top, skipped
            continue
        typing = isinstance(node, ast.If) and any(
            "TYPE_CHECKING" in (getattr(part, "id", ""), getattr(part, "attr", "")) for part in ast.walk(node.test)
        )
        for name in ("body", "orelse", "finalbody"):
            below = getattr(node, name, None)
            if isinstance(below, list):
                yield from _walk(below, False, skipped or (typing and name == "body"))
        for handler in getattr(node, "handlers", ()):
            yield from _walk(handler.body, False, skipped)
        for case in getattr(node, "cases", ()):
            yield from _walk(case.body, False, skipped)


def _read_import(node: ast.Import | ast.ImportFrom, path: str, tracked: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(alias.name, (), node.lineno, node.col_offset + 1, tracked, node.end_lineno or node.lineno)
        return
    module = node.module or ""
    if node.level:
        base = path.split("/")[: -node.level]
        module = ".".join([*base, *([module] if module else [])])
    names, end = tuple(alias.name for alias in node.names), node.end_lineno or node.lineno
    yield Import(module, names, node.lineno, node.col_offset + 1, tracked, end)


def check_imports(context: Context, script: Script, code: str) -> None:
    """Whether the modules of the bundle that a script imports are there, and are seen by a server where it makes the
    lock from them. Where the lock comes from a requirement set, `from f.folder import module` is the better form: a
    server then runs no dependency job for each importer of a module that is pushed."""
    scripts, inferred = context.files.scripts, is_lock_inferred(code)
    for found in imports(code, script.path):
        root = found.module.split(".")[0]
        if root not in ("f", "u"):
            continue
        path = found.module.replace(".", "/")
        place = (found.line, found.column)
        inner = [name for name in found.names if f"{path}/{name}" in scripts]
        if path in scripts:
            if inferred and not found.tracked:
                context.report(
                    script.file,
                    place,
                    "untracked-import",
                    f"Windmill sees only imports above main, at the left margin; {found.module} is not tracked",
                    warn=True,
                )
        elif inner:
            if inferred:
                context.report(
                    script.file,
                    place,
                    "untracked-import",
                    f"Windmill takes this for {path}, which is a folder, so {inner[0]} is not tracked;"
                    f" write from {found.module}.{inner[0]} import …, or name a requirement set (# requirements: NAME)",
                )
        else:
            _report_unknown(context, script, path, place)


def _report_unknown(context: Context, script: Script, path: str, place: tuple[int, int]) -> None:
    if context.files.taken(f"{path}.py"):
        context.report(
            script.file,
            place,
            "unknown-import",
            f"the bundle has no script {path}" + suggest(path, list(context.files.scripts)),
        )
    else:
        context.report(
            script.file,
            place,
            "outside-path",
            f"{path} is not among the files that are pushed; it must exist in the workspace",
            warn=True,
        )


def check_locked(context: Context, script: Script, code: str, packages: set[str]) -> None:
    """Each package that is imported above main and that the lock does not hold."""
    for found in imports(code, script.path):
        root = found.module.split(".")[0]
        if found.tracked and root not in ("f", "u", "") and not _is_provided(root, packages):
            context.report(
                script.file,
                (found.line, found.column),
                "not-locked",
                f"{root} is imported, and no package of the lock provides it; add it to the requirements"
                " and run flexcore metadata",
            )


def _is_provided(module: str, packages: set[str]) -> bool:
    name = normal(module)
    if module in sys.stdlib_module_names or module in SHARED or module == "__future__":
        return True
    if name in packages or any(normal(word) in packages for word in PROVIDERS.get(module.lower(), "").split()):
        return True
    # A module that we know no package of may be part of one whose name has its name in it.
    bare = name.replace("-", "")
    return any(bare in package.replace("-", "") or package.replace("-", "") in bare for package in packages)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def parse_package(line: str) -> str | None:
    """The package of a line of requirements or of a lock, in normal form; None for comments."""
    match = PACKAGE.match(line.strip())
    return normal(match[1]) if match else None
