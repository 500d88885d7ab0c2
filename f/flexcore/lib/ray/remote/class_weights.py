# requirements: flexcore_base
"""How much each class counts, and which classes are so rare that little can be said of them. Shipped as source."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from f.flexcore.lib.ray.remote import dataset, holdout, shared_storage

Json = dict[str, Any]
BALANCED = ["balanced"]
# Of so few held-out rows one more right answer moves a class's recall by 10 points or more.
FEW_HELD_OUT = 10
SHOWN_CLASSES = 5


def check_weights(given: list[str], plan: dataset.Plan) -> None:
    """Raises InvalidInput for weights of what is no class of the target."""
    if not given:
        return
    if plan.task != "classification":
        raise shared_storage.Problem(
            "InvalidInput",
            f"class_weights are given, but {plan.target!r} is learned as a {plan.task}, which has no classes",
            "class_weights",
            "Leave class_weights empty, or set task to classification.",
        )
    known = [dataset.format_label(label) for label in plan.labels]
    for name in parse_weights(given):
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise shared_storage.Problem(
                "InvalidInput",
                f"class_weights names {name!r}, which is no class of {plan.target!r}",
                "class_weights",
                f"{hint}There are: {', '.join(known[:20])}.",
            )


def parse_weights(given: list[str]) -> dict[str, float]:
    """Class → weight of those that are given one by one."""
    pairs = [item.rpartition("=") for item in given if given != BALANCED]
    return {name: float(weight) for name, _, weight in pairs}


def weigh_rows(truth: Any, plan: dataset.Plan, given: list[str]) -> Any:
    """The weight of each row; None when all weigh the same. balanced: all classes weigh the same over all rows that
    have a target, held-out ones among them, so that every worker finds the same. Source: class_weight="balanced" of
    scikit-learn, n / (k · n_c)."""
    if not given:
        return None
    names = truth.map(dataset.format_label)
    weights = parse_weights(given)
    if given == BALANCED:
        counts = plan.class_counts
        rows, classes = sum(counts.values()), len(counts)
        weights = {name: rows / (classes * count) for name, count in counts.items()}
    return names.map(lambda name: weights.get(name, 1.0)).to_numpy(dtype="float64")


def fit_weighted(pipeline: Any, rows: Any, truth: Any, weights: Any, algorithm: str) -> Any:
    """Fits a scikit-learn pipeline. Raises InvalidInput for an algorithm that takes no weights."""
    from sklearn.utils.validation import has_fit_parameter

    if weights is None:
        return pipeline.fit(rows, truth)
    if not has_fit_parameter(pipeline.named_steps["model"], "sample_weight"):
        raise shared_storage.Problem(
            "InvalidInput",
            f"{algorithm} cannot weigh its rows, so it takes no class_weights",
            "class_weights",
            "Choose xgboost, lightgbm or another algorithm, or leave class_weights empty.",
        )
    return pipeline.fit(rows, truth, model__sample_weight=weights)


def describe_rare_classes(seen: Any, held_out: Any) -> list[str]:
    """A note for each class of which so few rows are held out that its measure says little."""
    learned, measured = seen.value_counts(), held_out.value_counts()
    found = [
        f"The class {holdout.shorten_name(dataset.format_label(name))} has {learned.get(name, 0) + count} rows, of "
        f"which {count} {'is' if count == 1 else 'are'} held out: how well it is recognized is hardly measured"
        for name in sorted({*learned.index, *measured.index}, key=lambda name: int(measured.get(name, 0)))
        for count in [int(measured.get(name, 0))]
        if 0 < count < FEW_HELD_OUT
    ]
    left = len(found) - SHOWN_CLASSES
    return [*found[:SHOWN_CLASSES], *([f"So few rows have {left} further classes"] if left > 0 else [])]
