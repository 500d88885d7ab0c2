# requirements: flexcore_base
"""Features that nearly equal the target: most often they are known only after it, and no model needs them. Shipped as
source."""

from __future__ import annotations

from typing import Any

from f.flexcore.lib.ray.remote import dataset

# Of so many rows; more say no more.
MAX_SAMPLE_ROWS = 20_000
# Correlation, explained variance, or share of rows told apart, from which on a feature is as good as the target.
LEAK_THRESHOLD = 0.999
# Below so many rows chance may look like it.
MIN_ROWS = 30
MIN_ROWS_PER_CATEGORY = 3


def find_leaks(rows: Any, truth: Any, plan: dataset.Plan) -> list[str]:
    """A note for each feature that nearly tells the target by itself. rows: the features, truth: the target."""
    if len(truth) < MIN_ROWS:
        return []
    rows, truth = rows.reset_index(drop=True), truth.reset_index(drop=True)
    if len(truth) > MAX_SAMPLE_ROWS:
        rows = rows.sample(MAX_SAMPLE_ROWS, random_state=0)
        truth = truth.loc[rows.index]
    return [
        f"{name} nearly equals the target {plan.target}: leave it out if it is not known before {plan.target} is"
        for name, kind in plan.features.items()
        if kind != "time" and nearly_equals(rows[name], truth, kind, plan.task)
    ]


def nearly_equals(feature: Any, truth: Any, kind: str, task: str) -> bool:
    known = feature.notna()
    if known.sum() < MIN_ROWS:
        return False
    feature, truth = feature[known], truth[known]
    if kind == "category":
        return equals_by_category(feature, truth, task)
    return separates(feature, truth) if task == "classification" else correlates(feature, truth)


def equals_by_category(feature: Any, truth: Any, task: str) -> bool:
    groups = truth.groupby(feature.astype(str))
    if groups.ngroups * MIN_ROWS_PER_CATEGORY > len(truth):
        return False
    if task != "classification":
        total = float(((truth - truth.mean()) ** 2).sum())
        rest = float(((truth - groups.transform("mean")) ** 2).sum())
        return total > 0 and 1 - rest / total >= LEAK_THRESHOLD
    majority = float(truth.value_counts(normalize=True).iloc[0])
    explained = groups.agg(lambda part: int(part.value_counts().iloc[0])).sum() / len(truth)
    return bool(majority < LEAK_THRESHOLD <= explained)


def correlates(feature: Any, truth: Any) -> bool:
    """By a line, or by order alone (Spearman)."""
    if feature.nunique() < 3 or truth.nunique() < 3:
        return False
    pairs = [(feature, truth), (feature.rank(), truth.rank())]
    return any(abs(one.corr(other)) >= LEAK_THRESHOLD for one, other in pairs)


def separates(feature: Any, truth: Any) -> bool:
    """Whether a few thresholds tell the classes apart."""
    from sklearn.tree import DecisionTreeClassifier

    classes = truth.astype(str)
    majority = float(classes.value_counts(normalize=True).iloc[0])
    tree = DecisionTreeClassifier(max_leaf_nodes=max(2, classes.nunique()), random_state=0)
    values = feature.to_numpy(dtype="float32").reshape(-1, 1)
    return bool(majority < LEAK_THRESHOLD <= tree.fit(values, classes).score(values, classes))
