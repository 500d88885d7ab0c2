"""What a flow says of its steps: ids, paths, arguments, and what its expressions can see where they stand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from wmlocal.lint.arguments import check_arguments
from wmlocal.lint.code import Code
from wmlocal.lint.context import Context
from wmlocal.lint.expressions import Access, global_names, parse_expression, syntax_error
from wmlocal.lint.places import place_in
from wmlocal.lint.positions import Item
from wmlocal.lint.references import check_reference
from wmlocal.lint.results_use import METHODS, misuses
from wmlocal.lint.schemas import check_form
from wmlocal.lint.steps import LOOPS, Seen, Step, steps, visibility
from wmlocal.suggest import suggest

# The editor refuses them: words of the graph and of JavaScript.
RESERVED = frozenset(
    {
        "do",
        "bg",
        "ctx",
        "state",
        "if",
        "else",
        "for",
        "delete",
        "while",
        "new",
        "in",
        "failure",
        "preprocessor",
        "as",
        "Input",
        "Result",
        "Trigger",
    }
)
ID = re.compile(r"[A-Za-z0-9_-]+")
# A script of the hub: `hub/28225/slack/send_message`; a server finds it by its number.
HUB_SCRIPT = re.compile(r"hub/[1-9]\d*(?:/[^/]+)*")
# `$args[amount]` of a concurrency or debounce key.
TEMPLATE = re.compile(r"\$args\[([\w-]+)")
EVERYWHERE = frozenset({"flow_input", "flow_env", "variable", "resource", "flow_user_state"})
APPROVAL = frozenset({"resume", "resumes", "approvers"})
STEP = EVERYWHERE | APPROVAL | {"results", "previous_result", "params", "error"}
FAILURE = frozenset({"started_at", "flow_job_id"})
PREDICATE = STEP | {"result"}
# After the step, of its own result: `error` is read from a result that is an error.
AFTER = EVERYWHERE | {"results", "result", "previous_result", "error", "all_iters"}
RESULT_ONLY = EVERYWHERE | {"result", "previous_result", "error"}
# What a server asks with no step at hand.
FLOW = EVERYWHERE | {"result", "previous_result", "WM_SCHEDULED_FOR"}


@dataclass(frozen=True, slots=True)
class Site:
    """An expression, where it stands, and what it can name there."""

    item: Item
    what: str
    names: frozenset[str]
    step: Step | None = None
    after: bool = False
    predicate: bool = False


class FlowCheck:
    """One flow.yaml."""

    def __init__(self, context: Context, code: Code, file: str, document: Item) -> None:
        self.context, self.code, self.file, self.document = context, code, file, document
        self.steps = steps(document)
        self.by_id: dict[str, list[Step]] = {}
        for step in self.steps:
            self.by_id.setdefault(step.id, []).append(step)

    def run(self) -> None:
        check_form(self.context, self.file, self.document.get("schema"))
        self._ids()
        for step in self.steps:
            self._target(step)
        for site in self._sites():
            self._expression(site)
        self._named_steps()
        self._combinations()

    def report(self, place: tuple[int, int] | Item, rule: str, message: str, warn: bool = False) -> None:
        self.context.report(self.file, place, rule, message, warn)

    # Ids

    def _ids(self) -> None:
        first: dict[str, Step] = {}
        for step in self.steps:
            item = step.item.get("id")
            if item is None or not isinstance(item.value, str):
                continue
            if step.id in first:
                self.report(
                    item,
                    "duplicate-id",
                    f"step {step.id} is there twice (first in line {first[step.id].item.line}); rename one",
                )
            first.setdefault(step.id, step)
            if step.part == "modules" and step.id in RESERVED:
                self.report(item, "reserved-id", explain_reserved(step.id))
            if step.part != "modules" and not step.around and step.id != step.part:
                self.report(
                    item,
                    "reserved-id",
                    f"the {step.part} module's id is {step.part} by custom, not {step.id}",
                    warn=True,
                )
            if not ID.fullmatch(step.id):
                self.report(item, "bad-id", f"{step.id!r} is not an id of a step; write letters, digits, _ and -")
            if step.part != "modules" and not step.around and step.type not in ("script", "rawscript", "flow", ""):
                kinds = "a script or rawscript"
                self.report(step.item, "wrong-kind", f"the {step.part} module must be {kinds}, not {step.type}")

    # What a step runs

    def _target(self, step: Step) -> None:
        value = step.item.get("value")
        path = value.get("path") if value is not None else None
        if value is None:
            return
        if step.type in ("script", "flow") and path is not None and isinstance(path.value, str):
            is_flow = step.type == "flow"
            if path.value.startswith("hub/"):
                self._hub(step, path, path.value)
            if self.context.runnable(self.file, path, path.value, is_flow, f"step {step.id}"):
                # A flow's preprocessor runs the function of that name.
                if not is_flow and step.part != "preprocessor":
                    self.code.check_main(self.file, path, path.value, f"step {step.id}")
                schema = self.context.schema(path.value, is_flow)
                if schema is not None:
                    check_arguments(
                        self.context, self.file, step, schema, path.value, self.code.list_arguments(path.value)
                    )

    def _hub(self, step: Step, path: Item, name: str) -> None:
        if step.type == "flow":
            approval = "; an approval is a step with `suspend: {required_events: 1}` beside its `value`"
            message = f"step {step.id}: a server runs no flow of the hub ({name}) as a step; copy it into the workspace"
            self.report(path, "unknown-path", message + (approval if "approv" in name.lower() else ""))
        elif not HUB_SCRIPT.fullmatch(name):
            message = f"step {step.id}: {name} is not a script of the hub, which is hub/NUMBER/APP/NAME"
            self.report(path, "bad-path", message)

    # Expressions

    def _sites(self) -> Iterator[Site]:
        value = self.document.get("value")
        skip = value.get("skip_expr") if value is not None else None
        if skip is not None:
            yield Site(skip, "skip_expr", FLOW, predicate=True)
        for step in self.steps:
            yield from _step_sites(step)

    def _expression(self, site: Site) -> None:
        text = site.item.value
        if not isinstance(text, str):
            return
        if not text.strip():
            message = f"{site.what} is empty" + ("" if site.predicate else ", which is null")
            self.report(site.item, "empty-expression", f"{message}; write an expression", warn=not site.predicate)
            return
        error = syntax_error(text, site.predicate)
        if error is not None:
            line = site.item.line + error[1] - 1 + (1 if site.item.style == "|" else 0)
            self.report(
                (min(line, site.item.end_line), site.item.column) if error[1] > 1 else site.item,
                "javascript-syntax",
                f"{site.what} is not JavaScript: {error[0]}{_hint(text, site)}",
            )
        expression = parse_expression(text)
        for access in expression.accesses:
            if access.holder == "results":
                self._result(site, access)
            elif access.holder == "flow_input":
                self._flow_input(site, access)
        if error is None:
            self._names(site, expression.free)
            self._loop_skipped_again(site, expression.accesses, expression.free)
            for misuse in misuses(text) if "results" in site.names else ():
                place = self._at(site, misuse.offset)
                self.report(place, "results-misread", f"{site.what}: {misuse.message}", warn=not misuse.certain)
        for function, path, offset in expression.calls:
            self._item_of_workspace(site, function, path, offset)

    def _at(self, site: Site, offset: int) -> tuple[int, int]:
        return place_in(site.item, offset, self.context.lines(self.file))

    def _result(self, site: Site, access: Access) -> None:
        if access.key is None or "results" not in site.names or site.step is None:
            return
        others = self.by_id.get(access.key)
        place = self._at(site, access.offset)
        if not others and access.key in METHODS:
            # It is told with what it was asked for.
            return
        if not others:
            known = [step.id for step in self.steps if step is not site.step]
            self.report(
                place,
                "unknown-step",
                f"results.{access.key} names no step of this flow" + suggest(access.key, known),
            )
            return
        states = [visibility(site.step, other, site.after) for other in others]
        if Seen.YES in states:
            return
        state, other = min(zip(states, others, strict=True), key=lambda pair: ORDER.index(pair[0]))
        if state is Seen.INSIDE and access.has_fallback:
            return
        message, warn = _explain(state, site.step, other)
        self.report(place, "result-not-there", message, warn)

    def _flow_input(self, site: Site, access: Access) -> None:
        schema = self.document.get("schema")
        properties = schema.get("properties") if schema is not None else None
        if access.key is None or properties is None or not isinstance(properties.value, dict):
            return
        place = self._at(site, access.offset)
        if access.key == "iter":
            inside = site.step is None or site.step.in_loop or site.step.part == "failure"
            loop_itself = site.step is not None and site.step.type in ("forloopflow", "whileloopflow") and site.after
            if "iter" not in properties.value and not inside and not loop_itself:
                self.report(place, "unknown-input", "flow_input.iter is there inside of a loop only")
            return
        more = schema.get("additionalProperties") if schema is not None else None
        if (
            access.key in properties.value
            or access.key.startswith("wm_")
            or (more is not None and more.value is not False)
        ):
            return
        if access.key in ("hasOwnProperty", "toString", "constructor", "length"):
            return
        self.report(
            place,
            "unknown-input",
            f"flow_input.{access.key} is not in the flow's schema" + suggest(access.key, list(properties.value)),
            warn=access.has_fallback,
        )

    def _names(self, site: Site, free: tuple[tuple[str, int], ...]) -> None:
        for name, offset in free:
            if name in ("previous_result", "error") and name in site.names and site.step is not None:
                self._of_the_step_before(site, site.step, name, offset)
            elif name not in site.names and name not in global_names():
                known = sorted(site.names)
                self.report(
                    self._at(site, offset),
                    "unknown-name",
                    f"{name} is not defined in {site.what}; it can name {', '.join(known)}" + suggest(name, known),
                )

    def _of_the_step_before(self, site: Site, step: Step, name: str, offset: int) -> None:
        if site.after or step.part == "failure" or (step.around and step.around[0].part == "failure"):
            return
        if step.part == "preprocessor":
            self.report(
                self._at(site, offset), "unknown-name", f"{name} is not there in the preprocessor: nothing ran before"
            )
        elif name == "previous_result" and step.previous is None and not step.tool:
            self.report(
                self._at(site, offset),
                "no-step-before",
                f"{step.id} is the first of its list, where previous_result is the input; write flow_input",
                warn=True,
            )
        elif name == "error" and not _may_be_error(step.previous):
            self.report(
                self._at(site, offset),
                "unknown-name",
                "error is there in the failure module, and after a step that continues on error; write results.ID",
            )

    def _item_of_workspace(self, site: Site, function: str, path: str, offset: int) -> None:
        path = path.removeprefix("$res:").removeprefix("$var:")
        check_reference(self.context, self.file, self._at(site, offset), function, path, f"{function}({path!r})")

    def _loop_skipped_again(self, site: Site, accesses: tuple[Access, ...], free: tuple[tuple[str, int], ...]) -> None:
        """Up to the fix of upstream 11008 a server asks the skip_if of a loop before every iteration, and takes the
        last iteration's result for that of the step before."""
        step = site.step
        if step is None or step.previous is None or site.after or not site.what.endswith("skip_if"):
            return
        if step.type not in LOOPS or step.in_parallel:
            return
        read = [
            (f"results.{access.key}", access.offset)
            for access in accesses
            if access.holder == "results" and access.key == step.previous.id
        ]
        read += [(name, offset) for name, offset in free if name in ("previous_result", "result")]
        for name, offset in sorted(read, key=lambda item: item[1])[:1]:
            message = (
                f"{site.what}: a server like 1.743 asks it again before every iteration, where {name} then is the last"
                f" iteration's result; put {step.id} into a branchone, which asks once"
            )
            self.report(self._at(site, offset), "skip-asked-again", message, warn=True)

    # The rest

    def _named_steps(self) -> None:
        value = self.document.get("value")
        early = value.get("early_return") if value is not None else None
        if early is not None and isinstance(early.value, str) and early.value and early.value not in self.by_id:
            self.report(
                early,
                "unknown-step",
                f"early_return names no step: {early.value}" + suggest(early.value, self.by_id),
            )
        for key in ("concurrency_key", "debounce_key"):
            self._template(value.get(key) if value is not None else None)
        for group in self.document.list("value", "groups"):
            for key in ("start_id", "end_id"):
                named = group.get(key)
                if named is not None and isinstance(named.value, str) and named.value not in self.by_id:
                    self.report(named, "unknown-step", f"{key} names no step: {named.value}", warn=True)

    def _template(self, item: Item | None) -> None:
        properties = self.document.get("schema", "properties")
        if item is None or not isinstance(item.value, str) or properties is None:
            return
        for name in TEMPLATE.findall(item.value):
            if name not in properties.map():
                self.report(
                    item,
                    "unknown-input",
                    f"$args[{name}] is not in the flow's schema" + suggest(name, properties.map()),
                )

    def _combinations(self) -> None:
        """Keys that exclude each other."""
        value = self.document.get("value")
        same_worker = value is not None and (item := value.get("same_worker")) is not None and item.value is True
        for step in self.steps:
            self._approval(step)
            parallel = step.item.get("value", "parallel")
            if (
                same_worker
                and parallel is not None
                and parallel.value is True
                and step.type in ("forloopflow", "branchall")
            ):
                self.report(
                    parallel, "parallel-same-worker", "same_worker flows cannot run in parallel; remove one of the two"
                )
            exponential, branches = step.item.get("retry", "exponential"), step.item.get("value", "branches")
            attempts, seconds = (
                (exponential.get("attempts"), exponential.get("seconds")) if exponential else (None, None)
            )
            if (
                exponential
                and attempts
                and isinstance(attempts.value, int)
                and attempts.value > 0
                and (seconds is None or seconds.value == 0)
            ):
                self.report(
                    seconds or exponential,
                    "retry-seconds",
                    "an exponential retry needs seconds above 0; the server refuses the flow",
                )
            if step.type == "branchone" and branches is not None and branches.value == []:
                self.report(
                    branches, "empty-branches", "a branchone without branches always takes its default", warn=True
                )

    def _approval(self, step: Step) -> None:
        """A suspend holds back what comes next; a server puts an empty step behind the last one of a list for it."""
        suspend = step.item.get("suspend")
        if suspend is None or not isinstance(suspend.value, dict):
            return
        place = (suspend.key_line, suspend.key_column)
        events = suspend.get("required_events")
        if step.part != "modules" and not step.around:
            message = f"nothing comes after the {step.part} module, so the flow does not wait here; remove suspend"
            self.report(place, "not-waited", message, warn=True)
        elif step.tool:
            self.report(place, "not-waited", f"an agent's tool does not wait; suspend of {step.id} has no effect", True)
        elif events is None or events.value in (None, 0):
            message = f"step {step.id}: suspend without required_events waits for nobody; write required_events: 1"
            self.report(place, "not-waited", message, warn=True)


def explain_reserved(id: str) -> str:
    """What to say of a step among the modules that has one of Windmill's own words for its id."""
    if id in ("failure", "preprocessor"):
        does = "handles no failure" if id == "failure" else "makes no arguments"
        return (
            f"a step called {id} among `modules` runs like any other and {does}; move it to `{id}_module`, beside"
            " `modules`, or give it another id"
        )
    return f"{id} is a word of Windmill's own; give the step another id"


def _step_sites(step: Step) -> Iterator[Site]:
    item, name = step.item, f"step {step.id}"
    value = item.get("value")
    if value is None or not isinstance(value.value, dict):
        return
    names = {"preprocessor": STEP - {"results"}, "failure": STEP | FAILURE}.get(step.part, STEP)
    for key, transform in value.map("input_transforms").items():
        yield from _transform(transform, f"{name}, input {key}", names, step)
    yield from _transform(value.get("iterator"), f"{name}, iterator", PREDICATE, step)
    yield from _transform(value.get("parallelism"), f"{name}, parallelism", PREDICATE, step)
    for number, branch in enumerate(value.list("branches")):
        if step.type == "branchone" and (predicate := branch.get("expr")) is not None:
            yield Site(predicate, f"{name}, branch {number + 1}", PREDICATE, step, predicate=True)
    yield from _transform(item.get("timeout"), f"{name}, timeout", PREDICATE, step)
    # A server asks a sleep after the step, and has no results then.
    yield from _transform(item.get("sleep"), f"{name}, sleep", RESULT_ONLY, step, after=True)
    yield from _transform(item.get("suspend", "user_groups_required"), f"{name}, user_groups_required", PREDICATE, step)
    for key, names, after in (
        ("skip_if", PREDICATE, False),
        ("stop_after_if", AFTER, True),
        ("stop_after_all_iters_if", AFTER, True),
    ):
        if (found := item.get(key, "expr")) is not None:
            yield Site(found, f"{name}, {key}", names, step, after, predicate=True)
    if (found := item.get("retry", "retry_if", "expr")) is not None:
        yield Site(found, f"{name}, retry_if", RESULT_ONLY, step, after=True, predicate=True)


def _transform(item: Item | None, what: str, names: frozenset[str], step: Step, after: bool = False) -> Iterator[Site]:
    if item is not None and item.text("type") == "javascript" and (expr := item.get("expr")) is not None:
        yield Site(expr, what, names, step, after)


def _may_be_error(previous: Step | None) -> bool:
    """Whether a step's result may be an error that the flow goes on with."""
    if previous is None:
        return False
    go_on = (previous.item.get("continue_on_error"), previous.item.get("value", "skip_failures"))
    branches = [branch.get("skip_failure") for branch in previous.item.list("value", "branches")]
    return any(item is not None and item.value is True for item in (*go_on, *branches))


# The best that one of several steps of the same id offers.
ORDER = [
    Seen.YES,
    Seen.INSIDE,
    Seen.EARLIER_BRANCH,
    Seen.LAST_ITERATION,
    Seen.LATER,
    Seen.OTHER_BRANCH,
    Seen.AROUND,
    Seen.ITSELF,
]


def _explain(state: Seen, step: Step, other: Step) -> tuple[str, bool]:
    """What to tell the reader, and whether it is only a warning."""
    name, here = f"results.{other.id}", step.id
    outer = next((a.id for a in other.around if a not in step.around), "")
    match state:
        case Seen.INSIDE:
            return (
                f"{name} is the result of a step inside of {outer}, null when it did not run; read results.{outer}",
                True,
            )
        case Seen.EARLIER_BRANCH:
            return f"{other.id} is in another branch; {here} finds its result only as long as they run one by one", True
        case Seen.LAST_ITERATION:
            return f"{other.id} comes after {here}; {name} is the last iteration's, and null in the first", True
        case Seen.OTHER_BRANCH:
            return f"{other.id} is in another branch than {here}; its result is not there", False
        case Seen.AROUND:
            return (
                f"{here} is inside of {other.id}, which has no result yet; read a step before it, or flow_input.iter",
                False,
            )
        case Seen.ITSELF:
            return f"{here} reads its own result before it has run; name a step before it", False
    if step.part == "preprocessor":
        return "the preprocessor runs before every step; no results are there", False
    return f"{other.id} runs after {here}; its result is not there yet, move it or name a step before {here}", False


def _hint(text: str, site: Site) -> str:
    if "//" in text.rsplit("\n", 1)[-1]:
        return "; a comment at its end swallows what the server puts behind it"
    return "; it must be one expression, not statements" if site.predicate and "return" in text else ""
