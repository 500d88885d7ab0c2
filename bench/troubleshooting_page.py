"""Writes docs/troubleshooting.md from the tables by which the code diagnoses: categories, what they mean, what to do.

    uv run python -m bench.troubleshooting_page > docs/troubleshooting.md

Kinds of errors      the tree in core/errors, with the exit code of the command line
Kubernetes           categories.Category and ACTIONS; what they mean stands in MEANINGS, one for each category
Ray, Meltano, rest   RAY_ERRORS, and every diagnosis or error whose category the code writes out: its detail and remedy
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from f.flexcore.lib.core import contracts, errors, tls_errors
from f.flexcore.lib.kubernetes_api import categories
from f.flexcore.lib.meltano import diagnosis as meltano_diagnosis
from f.flexcore.lib.ray import job_diagnosis
from flexcore import exit_codes

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "f/flexcore/lib"
Category = categories.Category
MEANINGS = {
    Category.IMAGE_NOT_FOUND: "The registry has no such image or tag.",
    Category.IMAGE_DENIED: "The registry refuses to give out the image.",
    Category.IMAGE_UNREACHABLE: "The node gets no answer from the registry.",
    Category.IMAGE_INVALID: "The image's name cannot be parsed.",
    Category.CONFIG_MISSING: "A Secret, a ConfigMap, or a key of one does not exist.",
    Category.VOLUME_FAILED: "A volume cannot be mounted.",
    Category.UNSCHEDULABLE: "No node has room for the pod, or none fits its selectors and taints.",
    Category.SUSPENDED: "The Job is suspended, usually by a queue such as Kueue.",
    Category.QUEUE_NOT_FOUND: "The queue that the Job names does not exist.",
    Category.QUEUE_SILENT: "No queue takes notice of the Job, which stays suspended.",
    Category.QUEUE_STOPPED: "The queue was stopped by those who keep it.",
    Category.QUEUE_DEACTIVATED: "The queue has deactivated the Job's Workload.",
    Category.KUEUE_ABSENT: "The Job names a queue of Kueue, and Kueue is not on the cluster.",
    Category.QUOTA_EXCEEDED: "The namespace's quota does not allow the pod.",
    Category.ADMISSION_DENIED: "A policy or webhook of the cluster refuses the object.",
    Category.ADMISSION_UNREACHABLE: "An admission webhook of the cluster does not answer.",
    Category.SERVICE_ACCOUNT_MISSING: "The pod's service account does not exist.",
    Category.SANDBOX_FAILED: "The node cannot set up the pod's network or sandbox.",
    Category.COMMAND_NOT_FOUND: "The container's command does not exist in the image.",
    Category.CONTAINER_REFUSED: "The node's container runtime refuses to start the container.",
    Category.OUT_OF_MEMORY: "The container needed more memory than it may use.",
    Category.EXIT_CODE: "The program ended with an exit code other than 0.",
    Category.KILLED: "The program was ended by a signal.",
    Category.CRASH_LOOP: "The program ends again and again.",
    Category.SIDECAR_RUNNING: "The program has ended, but a proxy beside it keeps the pod alive.",
    Category.NOT_READY: "The model server runs, but does not become ready.",
    Category.MODEL_MISMATCH: "The model's files are not those that its manifest lists.",
    Category.MODEL_DENIED: "The store refuses to give out the model's files.",
    Category.MODEL_NOT_FOUND: "The model's files are not in the store.",
    Category.MODEL_UNREACHABLE: "The pod gets no answer from the store.",
    Category.NO_ADDRESS: "The service gets no address from outside.",
    Category.SMOKE_FAILED: "The model server answers, but not with a prediction.",
    Category.EVICTED: "The node ran short of memory or disk and evicted the pod.",
    Category.NODE_LOST: "The node of the pod is gone.",
    Category.PREEMPTED: "Work of a higher priority took the pod's place.",
    Category.DEADLINE: "The work did not end within its time.",
    Category.DELETED: "The object is gone before its end was seen.",
    Category.UNKNOWN: "Nothing in the cluster says why.",
}
# What programs say of each kind of TLS error.
TLS_SAMPLES = {
    "untrusted": "certificate verify failed: unable to get local issuer certificate",
    "expired": "certificate has expired",
    "name": "Hostname mismatch, certificate is not valid for 'ray-head'",
    "plain": "[SSL: WRONG_VERSION_NUMBER] wrong version number",
    "bundle": "Could not find a suitable TLS CA certificate bundle",
    "client": "tlsv13 alert certificate required",
    "handshake": "SSL routines: handshake failure",
}
# A name in the place of a category: what it may hold.
NAMED_CATEGORIES = {"kind": ("extractor_failed", "loader_failed", "mapper_failed")}
HEAD = """\
# Troubleshooting

You get from an error to what to do about it. This page is written from the code by `make pages`; do not edit it.

An error says what is wrong, where, and what to do. In Windmill, `error.extra` of a failed job holds `category`,
`subject`, `remedy` and `retryable`; on the command line the exit code says what can be done. First aid:

```sh
flexcore doctor --server production          # workers, tags, resource types, requirement sets, runtimes
flexcore workflow status ID --server production
flexcore workflow logs ID --server production
flexcore runtime health --server production
kubectl get job,pod,event -o json | flexcore kubernetes explain -
```

## Nothing fails, and nothing happens

- A run stays queued: no worker listens to its tag, or all are busy. `flexcore doctor` names tags that nobody serves;
  the HTTP routes wait in the same queue.
- A deferred flow stays suspended: the schedule `f/flexcore/operations/reconcile` is off, or its settings do not name
  the cluster. [Reliability](reliability.md#waiting-without-a-worker)
- A job was stopped and nobody did it: [Why did reconcile stop my job?](reliability.md#why-did-reconcile-stop-my-job)
- A run behaves as two versions: [What a push does to running flows](windmill.md#what-a-push-does-to-running-flows)
- A flow is there, but others get 401 or do not see it: [Rights](windmill.md#rights)
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A category as the code writes it out. detail: what it says; … stands for a value."""

    category: str
    detail: str
    remedy: str
    module: str


def render_page() -> str:
    rows = sorted(read_literal_rows(), key=lambda row: (row.category, row.detail))
    ray = [row for row in rows if row.module.startswith("ray/")]
    meltano = [row for row in rows if row.module.startswith("meltano/")]
    rest = [row for row in rows if not row.module.startswith(("ray/", "meltano/", "kubernetes/"))]
    sections = [
        HEAD,
        "## Kinds of errors\n\nThe class says what you can do about it.\n",
        table(("error", "category", "what it means", "tried again", "exit code"), list(render_kinds())),
        "## Kubernetes\n",
        table(("category", "what it means", "what to do", "error"), list(render_kubernetes())),
        "## Ray\n",
        table(("category", "what it means", "what to do"), sorted([*render_ray_types(), *map(cells, ray)])),
        "## Meltano\n\n" + render_meltano_meanings(),
        table(("category", "what it says", "what to do"), [cells(row) for row in meltano]),
        "## Certificates\n\nOf any service, with the category `tls` where there is no closer one.\n",
        table(("what a program says, for example", "what to do"), list(render_tls())),
        "## Everywhere\n",
        table(("category", "what it says", "what to do"), [cells(row) for row in rest]),
    ]
    return "\n".join(sections)


def render_kinds() -> Iterator[tuple[str, ...]]:
    meanings = dict(re.findall(r"^[│├└─ ]*(\w+) {2,}(.+)$", errors.__doc__ or "", re.MULTILINE))
    for name, kind in errors.KINDS.items():
        if name in meanings:
            retried = "yes" if kind.retryable else "no"
            yield f"`{name}`", f"`{kind.category}`", meanings[name], retried, str(exit_codes.of_error(kind))


def render_kubernetes() -> Iterator[tuple[str, ...]]:
    for category in categories.Category:
        kind, remedy = categories.ACTIONS[category]
        yield f"`{category}`", MEANINGS[category], remedy, f"`{kind.__name__}`"


def render_ray_types() -> Iterator[tuple[str, ...]]:
    for ray_type, (category, remedy) in job_diagnosis.RAY_ERRORS.items():
        yield f"`{category}`", f"Ray reports {ray_type}", remedy


def render_tls() -> Iterator[tuple[str, ...]]:
    for kind in TLS_SAMPLES:
        yield f"`{TLS_SAMPLES[kind]}`", tls_errors.tls_remedy(TLS_SAMPLES[kind])


def render_meltano_meanings() -> str:
    """The list of categories at the head of the diagnosis."""
    found = re.findall(r"^([a-z_]+(?:, [a-z_]+)*) {2,}(\S.+)$", meltano_diagnosis.__doc__ or "", re.MULTILINE)
    lines = [f"- {', '.join(f'`{name}`' for name in names.split(', '))}: {text}" for names, text in found]
    return "\n".join(lines) + "\n"


def read_literal_rows() -> Iterator[Row]:
    """Every call in the library that writes out a category together with a remedy."""
    for file in sorted(LIBRARY.rglob("*.py")):
        module = file.relative_to(LIBRARY).as_posix()
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
                yield from _rows(call, function, module)


def _rows(call: ast.Call, function: ast.FunctionDef, module: str) -> Iterator[Row]:
    given = {item.arg: item.value for item in call.keywords if item.arg}
    detail = given.get("detail") or (call.args[0] if call.args else None)
    if detail is None or "category" not in given or "remedy" not in given:
        return
    for said, remedy in product(texts_of(detail, call, function), texts_of(given["remedy"], call, function)):
        for category in _categories(given["category"]):
            yield Row(category, said, remedy, module)


def _categories(node: ast.expr) -> Sequence[str]:
    """The categories that an expression may have: a literal, either side of `a if … else b`, or a known name."""
    match node:
        case ast.Constant(value=str(category)):
            # What is wrong with certificates is the same everywhere, and has a section of its own.
            return [category] if category not in ("", "tls") else []
        case ast.IfExp(body=first, orelse=other):
            return [*_categories(first), *_categories(other)]
        case ast.Name(id=name):
            return NAMED_CATEGORIES.get(name, ())
        case ast.Attribute(value=ast.Name(id="contracts"), attr=name):
            return [getattr(contracts, name)]
    return ()


def texts_of(node: ast.expr, call: ast.Call, function: ast.FunctionDef) -> list[str]:
    """The texts that an expression may have at `call`, with … for each value; none where it is no text."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=parts):
            return ["".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in parts)]
        case ast.IfExp(body=first, orelse=other):
            return [*texts_of(first, call, function), *texts_of(other, call, function)]
        case ast.BoolOp(values=parts):
            return [text for part in parts for text in texts_of(part, call, function)]
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="format")):
            return [re.sub(r"\{.*?\}", "…", getattr(meltano_diagnosis, name, ""))]
        case ast.Name(id=name):
            return [text for value in _values_before(name, call, function) for text in texts_of(value, call, function)]
    return []


def _values_before(name: str, call: ast.Call, function: ast.FunctionDef) -> list[ast.expr]:
    """What a local name may hold at `call`: its last assignment before, and while that is one of a branch that ends
    before the call, the one before it too."""
    found: list[ast.expr] = []
    branches = [node for node in ast.walk(function) if isinstance(node, ast.If)]
    assigned = [
        node
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and node.lineno < call.lineno and getattr(node.targets[0], "id", "") == name
    ]
    for node in sorted(assigned, key=lambda item: -item.lineno):
        found.insert(0, node.value)
        around = [item for item in branches if item.lineno <= node.lineno <= (item.end_lineno or 0)]
        if all(item.lineno <= call.lineno <= (item.end_lineno or 0) for item in around):
            break
    return found


def cells(row: Row) -> tuple[str, str, str]:
    return f"`{row.category}`", row.detail, row.remedy


def table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [columns, tuple("---" for _ in columns), *dict.fromkeys(rows)]
    return "".join("| " + " | ".join(_cell(text) for text in line) + " |\n" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    print(render_page(), end="")
