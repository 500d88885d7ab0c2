"""The steps of a flow and where each stands, so that one can say what a step has before it.

A place is the way down from the flow: one (list, index) for each module list that encloses the step. Two steps differ
first either by their index in a common list (before, after) or by the list (another branch of the same step).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from wmlocal.lint.positions import Item

Place = tuple[tuple[str, int], ...]
LOOPS = ("forloopflow", "whileloopflow")
BRANCHES = ("branchone", "branchall", "aiagent")


class Seen(Enum):
    """What a step can know of another one's result."""

    # It has run before.
    YES = auto()
    # It stands inside a branch or loop that has ended: there, unless another branch was taken.
    INSIDE = auto()
    # An earlier branch of a step whose branches run one after the other.
    EARLIER_BRANCH = auto()
    # A later step of the same sequential loop: null in the first iteration.
    LAST_ITERATION = auto()
    LATER = auto()
    OTHER_BRANCH = auto()
    AROUND = auto()
    ITSELF = auto()


@dataclass(frozen=True, slots=True)
class Step:
    """A module: `place` is where it stands, `around` the steps that enclose it, outermost first."""

    item: Item
    id: str
    type: str
    place: Place
    around: tuple[Step, ...] = ()
    # `modules`, `failure` or `preprocessor`: which part of the flow it belongs to.
    part: str = "modules"
    # The step before it in the same list.
    previous: Step | None = None
    tool: bool = False

    @property
    def in_parallel(self) -> bool:
        """Whether it starts its iterations or branches at once."""
        return _true(self.item.get("value", "parallel"))

    @property
    def in_loop(self) -> bool:
        """Also when a step around it is of an unknown type, which is told by itself."""
        return any(step.type not in BRANCHES for step in self.around)


def steps(flow: Item) -> list[Step]:
    """Every step of a flow.yaml's document, in the order of the file's parts. Broken parts are passed over."""
    value = flow.get("value")
    if value is None or not isinstance(value.value, dict):
        return []
    found = list(_list_steps(value.get("modules"), "", (), (), "modules"))
    for part in ("failure", "preprocessor"):
        module = value.get(f"{part}_module")
        if module is not None and isinstance(module.value, dict):
            found += _module(module, part, 0, (), (), part, None)
    return found


def _list_steps(modules: Item | None, name: str, place: Place, around: tuple[Step, ...], part: str) -> Iterator[Step]:
    previous = None
    for number, module in enumerate(modules.value if modules is not None and isinstance(modules.value, list) else ()):
        if not isinstance(module.value, dict):
            continue
        inner = list(_module(module, name, number, place, around, part, previous))
        previous = inner[0]
        yield from inner


def _module(
    module: Item, name: str, number: int, place: Place, around: tuple[Step, ...], part: str, previous: Step | None
) -> Iterator[Step]:
    here = (*place, (name, number))
    step = Step(module, module.text("id") or "", module.text("value", "type") or "", here, around, part, previous)
    yield step
    value, inside, below = module.get("value"), (*around, step), f"{part}/{'/'.join(f'{a}.{b}' for a, b in here)}"
    if value is None or not isinstance(value.value, dict):
        return
    yield from _list_steps(value.get("modules"), f"{below}:loop", here, inside, part)
    for index, branch in enumerate(value.list("branches")):
        yield from _list_steps(branch.get("modules"), f"{below}:{index}", here, inside, part)
    yield from _list_steps(value.get("default"), f"{below}:default", here, inside, part)
    for index, tool in enumerate(value.list("tools")):
        if isinstance(tool.value, dict):
            yield Step(
                tool,
                tool.text("id") or "",
                tool.text("value", "type") or "",
                (*here, (f"{below}:tools", index)),
                inside,
                part,
                None,
                tool=True,
            )


def visibility(reader: Step, other: Step, after: bool = False) -> Seen:
    """What `reader` has of `other`'s result; `after`: in an expression that is evaluated once the reader has run."""
    if reader.part != other.part:
        # The failure module runs last; nothing has run before the preprocessor.
        return Seen.YES if reader.part == "failure" else Seen.LATER
    if reader.place == other.place:
        return Seen.YES if after else Seen.ITSELF
    depth = next(
        (level for level, (a, b) in enumerate(zip(reader.place, other.place, strict=False)) if a != b),
        min(len(reader.place), len(other.place)),
    )
    if depth == len(other.place):
        return Seen.AROUND
    if depth == len(reader.place):
        # The other stands inside the reader.
        return Seen.INSIDE if after else Seen.LATER
    (list_a, index_a), (list_b, index_b) = reader.place[depth], other.place[depth]
    if list_a != list_b:
        return _across(reader.around[depth - 1], list_a, list_b)
    if index_b > index_a:
        loop = depth > 0 and reader.around[depth - 1]
        sequential = loop and loop.type in LOOPS and not _true(loop.item.get("value", "parallel"))
        return Seen.LAST_ITERATION if sequential else Seen.LATER
    return Seen.YES if depth == len(other.place) - 1 else Seen.INSIDE


def _across(around: Step, mine: str, other: str) -> Seen:
    parallel = around.item.get("value", "parallel")
    one_by_one = around.type == "branchall" and parallel is not None and not _true(parallel)
    mine, other = mine.rpartition(":")[2], other.rpartition(":")[2]
    if one_by_one and mine.isdigit() and other.isdigit() and int(other) < int(mine):
        return Seen.EARLIER_BRANCH
    return Seen.OTHER_BRANCH


def _true(item: Item | None) -> bool:
    return item is not None and item.value is True
