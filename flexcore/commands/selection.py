"""`flexcore select` and `flexcore compare`: files in, one answer per workload out.

Warnings go to stderr, answers alone to stdout. A workload that cannot be read gets an answer with runtime null and an
error, and the command ends with 1; a history row that cannot be used is skipped and counted on stderr; settings that
cannot be read stop the command (InvalidInput, exit code 2).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from f.flexcore.lib.core.errors import FlexcoreError, InvalidInput, validate
from f.flexcore.lib.core.workloads import Market, Run, Selection, Workload, read_runs
from f.flexcore.lib.selection.comparison import Comparison, compare_runs
from f.flexcore.lib.selection.forecast import Forecasts, parse_forecasts
from f.flexcore.lib.selection.selector import select

UNREADABLE = object()


def select_command(
    workload: Path, history: Path | None, forecast: Path | None, settings: Path | None, as_json: bool
) -> int:
    """Answers every workload of the file; 0, or 1 when one of them has no runtime."""
    market = (
        validate(Market, _drop_unknown(Market, _object(settings), "settings"), "settings") if settings else Market()
    )
    if history and forecast:
        raise InvalidInput("Both a history and a forecast are given", remedy="Give one of --history and --forecast.")
    runs, problems = _history(history)
    model, missing = parse_forecasts(_json(forecast)) if forecast else _fit(runs)
    if missing:
        _warn(missing)
    answered = missed = 0
    for number, value in _values(workload):
        answer = _select(value, f"workload {number}", model, market, missing)
        if problems:
            reason = f"{answer.reason}; {problems} history rows could not be used"
            answer = answer.model_copy(update={"reason": reason})
        answered, missed = answered + 1, missed + (answer.runtime is None)
        if as_json:
            print(json.dumps(answer.plain()))
        else:
            show_selection(answer)
    if not answered:
        raise InvalidInput(f"{workload} holds no workload", remedy="Write one JSON object, or one per line.")
    return 1 if missed else 0


def compare_command(
    history: Path, workflow_type: str, since: datetime | None, until: datetime | None, as_json: bool
) -> int:
    runs, _ = _history(history)
    found = compare_runs(runs, workflow_type, since, until)
    if as_json:
        print(json.dumps(found.plain()))
    else:
        _show_comparison(found)
    return 0


def _fit(runs: list[Run]) -> tuple[Forecasts | None, str]:
    """The model of `runs`, or None and why there is none."""
    if not runs:
        return None, ""
    from f.flexcore.lib.selection.forecast_fit import fit_forecasts  # numpy takes longer to import than all the rest

    try:
        return fit_forecasts(runs), ""
    except (ArithmeticError, ValueError) as error:
        return None, f"the history cannot be fitted ({error})"


def _select(value: Any, what: str, model: Forecasts | None, market: Market, missing: str) -> Selection:
    try:
        if value is UNREADABLE:
            raise InvalidInput(f"{what} is not JSON object", remedy="Write one JSON object per line.")
        return select(validate(Workload, _drop_unknown(Workload, value, what), what), model, market, missing)
    except FlexcoreError as error:
        return Selection(runtime=None, mode="rules", reason=str(error), error=str(error))


def _history(path: Path | None) -> tuple[list[Run], int]:
    """The usable rows of a history file, and how many could not be used."""
    if path is None:
        return [], 0
    runs, problems = read_runs(value for _, value in _values(path))
    for problem in problems[:3]:
        _warn(f"skipped {problem}")
    if len(problems) > 3:
        _warn(f"skipped {len(problems)} rows of {path.name} in all")
    return runs, len(problems)


def _values(path: Path) -> Iterator[tuple[int, Any]]:
    """(line number, value) of a file that holds one JSON object, or one per line. UNREADABLE for what is not JSON."""
    text = _text(path)
    whole = _parse(text)
    if whole is not UNREADABLE:
        yield from enumerate(whole, 1) if isinstance(whole, list) else [(1, whole)]
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, _parse(line)


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return UNREADABLE


def _json(path: Path) -> Any:
    """The value of a JSON file; its text when it is none, which no model accepts."""
    text = _text(path)
    value = _parse(text)
    return text if value is UNREADABLE else value


def _object(path: Path) -> dict[str, Any]:
    value = _json(path)
    if not isinstance(value, dict):
        raise InvalidInput(f"{path} holds no JSON object", remedy="Write the settings as one JSON object.")
    return value


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read ({error.strerror})", remedy="Give a file.") from None


def _drop_unknown(model: type[BaseModel], value: Any, what: str) -> Any:
    """`value` without the fields that `model` does not have, each named on stderr: a file may say more than we read."""
    if not isinstance(value, dict):
        return value
    kept = {}
    for key, item in value.items():
        field = model.model_fields.get(key)
        if field is None:
            _warn(f"{what}.{key} is not a field that is read; it is ignored")
            continue
        inner = _inner(field.annotation)
        if inner and get_args(field.annotation) and isinstance(item, dict):
            kept[key] = {name: _drop_unknown(inner, each, f"{what}.{key}.{name}") for name, each in item.items()}
        else:
            kept[key] = _drop_unknown(inner, item, f"{what}.{key}") if inner else item
    return kept


def _inner(annotation: Any) -> type[BaseModel] | None:
    """The model in an annotation such as `Model` or `dict[str, Model]`."""
    for part in (annotation, *get_args(annotation)):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None


def _warn(text: str) -> None:
    print(f"flexcore: {text}", file=sys.stderr)


def show_selection(answer: Selection) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    console.print(f"[bold]{answer.runtime or 'none'}[/bold] ({answer.mode}): {escape(answer.reason)}", highlight=False)
    if not answer.candidates:
        return
    table = Table("runtime", "runs", "seconds (p10 · p50 · p90)", "cost $ (p10 · p50 · p90)", "succeeds", "in time")
    for item in answer.candidates:
        chances = [
            None if one is None else f"{one:.0%}" for one in (item.success_probability, item.deadline_probability)
        ]
        cells = [item.runtime, str(item.samples), _interval(item.duration_s), _interval(item.cost_usd), *chances]
        table.add_row(*(cell or "—" for cell in cells), style=None if item.eligible else "dim")
    console.print(table)
    for item in answer.candidates:
        console.print(f"  [bold]{item.runtime}[/bold] {escape(item.reason)}", highlight=False)


def _interval(value: Any) -> str | None:
    return None if value is None else " · ".join(f"{each:.3g}" for each in (value.p10, value.p50, value.p90))


def _show_comparison(found: Comparison) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table("runtime", "runs", "succeeded", "p50 s", "p95 s", "rows/s", "cost $ (p50)", "note")
    for item in found.runtimes:
        numbers = (item.duration_p50_s, item.duration_p95_s, item.rows_per_s, item.cost_usd_p50)
        rate = "—" if item.success_rate is None else f"{item.success_rate:.0%} of {item.runs}"
        table.add_row(
            item.runtime, str(item.runs), rate, *("—" if n is None else f"{n:.4g}" for n in numbers), item.note
        )
    if found.runtimes:
        console.print(table)
    console.print(found.recommendation.reason, highlight=False)
