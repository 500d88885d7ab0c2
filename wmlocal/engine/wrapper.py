"""Writes the files of a job directory: the script, the wrapper that calls its `main`, and the import finder.

The wrapper is a program of its own, run with the step's interpreter; it must stay small, since its start is part of
every step. What it does to arguments and results is what Windmill's wrapper does, oddities included.
"""

from __future__ import annotations

import keyword
import re
from pathlib import Path

from wmlocal.engine.signature import Argument, Signature

# Only then does Windmill give a script the finder for `f.` and `u.` modules.
IMPORTS_SHARED = re.compile(r"(import|from)\s(((u|f)\.)|\.)")
INSIDE_FLOW = re.compile(r"(?i)(.*?)(?:/branchone-\d+/|/branchall-\d+/|/loop-\d+|/forloop-\d+/)")


def write_job_files(
    job_dir: Path,
    path: str,
    source: str,
    signature: Signature,
    bundle_root: Path | None,
    preprocessor: Signature | None = None,
    entrypoint: str = "main",
) -> None:
    """preprocessor: of the script's function of that name, when it is to make the arguments of those that are given.
    entrypoint: the function that is run, whose signature is given."""
    folder, name = module_place(path)
    (job_dir / folder).mkdir(parents=True, exist_ok=True)
    (job_dir / folder / f"{name}.py").write_text(source, encoding="utf-8")
    shared = bool(bundle_root) and bool(IMPORTS_SHARED.search(source))
    if shared:
        (job_dir / "loader.py").write_text(LOADER.replace("@ROOT@", repr(str(bundle_root))), encoding="utf-8")
    module = f"{folder.replace('/', '.')}.{name}"
    (job_dir / "wrapper.py").write_text(_wrapper(module, signature, shared, preprocessor, entrypoint), encoding="utf-8")


def module_place(path: str) -> tuple[str, str]:
    """Folder and module name below the job directory; steps inside branches and loops sit in `<flow>/flow`."""
    nested = INSIDE_FLOW.match(path)
    if nested:
        path = nested.group(1) + "/flow"
    *folders, name = path.split("/")
    folder = "/".join(_module_name(part) for part in folders).replace("-", "_").replace("@", ".").strip("/")
    safe = "/".join("_" if part in (".", "..") else part for part in folder.split("/"))
    return safe or "tmp", _module_name(name.replace("-", "_").replace(" ", "_").lower())


def _module_name(part: str) -> str:
    return f"_{part}" if part[:1].isdigit() or keyword.iskeyword(part) else part


def _wrapper(module: str, signature: Signature, shared: bool, preprocessor: Signature | None, entrypoint: str) -> str:
    package, _, name = module.rpartition(".")
    conversions = "\n".join(f"_convert({a.name!r}, _{a.conversion})" for a in signature.arguments if a.conversion)
    arguments = _arguments(signature)
    before = PREPROCESSOR.format(arguments=_arguments(preprocessor)) if preprocessor else ""
    return WRAPPER.format(
        loader="import loader" if shared else "",
        package=package,
        name=name,
        conversions=conversions,
        preprocessor=before,
        arguments=arguments,
        entrypoint=entrypoint,
    )


def _arguments(signature: Signature) -> str:
    return "args = kwargs" if signature.takes_all else "\n    ".join(map(_argument, signature.arguments)) or "pass"


def _argument(argument: Argument) -> str:
    """A missing argument without a default arrives as None; one with a default is left out, so that it applies."""
    if not argument.has_default:
        return f"args[{argument.name!r}] = kwargs.get({argument.name!r})"
    return f"if kwargs.get({argument.name!r}) is not None: args[{argument.name!r}] = kwargs[{argument.name!r}]"


# Runs in the process of `main`, before it; its result becomes the job's arguments.
PREPROCESSOR = r"""if not callable(getattr(inner_script, "preprocessor", None)):
        raise ValueError("preprocessor function is missing")
    {arguments}
    kwargs, args = inner_script.preprocessor(**args), {{}}
    with open("args.json", "w") as file:
        file.write(_as_json(kwargs, type(kwargs)))"""

# The arguments come on stdin, from a file that has no name: args.json shows them with their secrets masked.
WRAPPER = r"""
import json, os, sys
kwargs = json.load(sys.stdin, strict=False)
with open(os.devnull) as nothing:
    os.dup2(nothing.fileno(), 0)
{loader}
from {package} import {name} as inner_script

args = {{}}

def _bytes(value):
    import base64
    return base64.b64decode(value)

def _datetime(value):
    from datetime import datetime
    return datetime.fromisoformat(value)

def _date(value):
    from datetime import date, datetime
    try:
        return date.fromisoformat(value)
    except ValueError:
        for form in ("%d-%m-%Y", "%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d"):
            try:
                return datetime.strptime(value, form).date()
            except ValueError:
                continue
    return value

def _convert(name, to):
    if kwargs.get(name) is not None:
        kwargs[name] = to(kwargs[name])

{conversions}

def _base64(value):
    import base64
    return base64.b64encode(value).decode("ascii")

def _plain(value, kind):
    if kind.__name__ == "DataFrame":
        if kind.__module__ == "pandas.core.frame":
            return value.values.tolist()
        if kind.__module__ == "polars.dataframe.frame":
            return value.rows()
    elif kind.__name__ == "bytes":
        return _base64(value)
    elif kind.__name__ == "dict":
        for key, item in value.items():
            if type(item).__name__ == "bytes":
                value[key] = _base64(item)
    return value

def _as_json(value, kind):
    text = json.dumps(_plain(value, kind), separators=(",", ":"), default=str).replace("\n", "")
    if "NaN" not in text and "Infinity" not in text and "\\u0000" not in text:
        return text
    import re
    def mend(match):
        part = match.group(0)
        if part[0] != '"':
            return " null "
        return re.sub(r"\\\\|\\u0000", lambda m: " null " if m.group(0)[1] == "u" else m.group(0), part)
    return re.sub(r'"(?:\\.|[^"\\])*"|\bNaN\b|-?Infinity', mend, text)

_streams = (str, dict, list, bytes, tuple, set, frozenset, range, memoryview, bytearray)
_result = os.path.join(os.path.abspath(os.path.dirname(__file__)), "result.json")
try:
    {preprocessor}
    {arguments}
    for key, value in list(args.items()):
        if isinstance(value, str) and value == "<function call>":
            del args[key]
    if inner_script.{entrypoint} is None or not callable(inner_script.{entrypoint}):
        raise ValueError("{entrypoint} function is missing")
    res = inner_script.{entrypoint}(**args)
    kind = type(res)
    if hasattr(res, "__iter__") and not isinstance(res, _streams) and kind.__name__ != "DataFrame":
        for chunk in res:
            print("WM_STREAM: " + chunk.replace("\n", "\\n"))
        res = None
    text = _as_json(res, kind)
    with open(_result, "w") as file:
        file.write(text)
except BaseException as e:
    import traceback
    stack = traceback.format_tb(sys.exc_info()[2])
    with open(_result, "w") as file:
        err = {{"message": str(e), "name": e.__class__.__name__, "stack": "\n".join(stack[1:])}}
        if e.__dict__:
            err["extra"] = e.__dict__
        if os.environ.get("WM_FLOW_STEP_ID"):
            err["step_id"] = os.environ["WM_FLOW_STEP_ID"]
        file.write(json.dumps(err, separators=(",", ":"), default=str).replace("\n", ""))
    sys.exit(1)
"""

# Shared modules become real files below the job directory, so that `inspect.getsource` and pickling by value work.
# A name that leads nowhere becomes an empty module, as on a server; the import of a name from it then fails.
LOADER = r"""
import os, sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader

ROOT = @ROOT@

class _Folder(Loader):
    def __init__(self, name):
        self.name = name
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        module.__path__ = self.name

class _Finder(MetaPathFinder):
    @classmethod
    def find_spec(cls, name, path, target=None):
        parts = name.split(".")
        if parts[0] not in ("f", "u"):
            return None
        source = os.path.join(ROOT, *parts) + ".py"
        if len(parts) <= 2 or not os.path.isfile(source):
            return ModuleSpec(name, _Folder(name))
        copy = os.path.join(os.getcwd(), "tmp", *parts) + ".py"
        if not os.path.exists(copy):
            os.makedirs(os.path.dirname(copy), exist_ok=True)
            with open(source, "rb") as found, open(copy, "wb") as kept:
                kept.write(found.read())
        return ModuleSpec(name, SourceFileLoader(name, copy))

sys.meta_path.append(_Finder)
"""
