# requirements: flexcore_base
"""Learning to rank: rows of a group (a query) are put in order, measured by NDCG. Shipped as source.

Source: Järvelin and Kekäläinen, 2002. A group stands as a whole among the rows to learn from or the held-out ones.
"""

from __future__ import annotations

from typing import Any

from f.flexcore.lib.ray.remote import dataset, shared_storage

Json = dict[str, Any]
CUTOFF = 10
# xgboost's and LightGBM's gain of a relevance r is 2^r - 1.
MAX_RELEVANCE = 31
MIN_GROUPS = 4


def check_relevance(truth: Any, target: str) -> None:
    """Raises InvalidInput for a target that is no relevance: whole numbers from 0 to MAX_RELEVANCE."""
    wrong = truth[(truth < 0) | (truth > MAX_RELEVANCE) | (truth % 1 != 0)]
    if len(wrong):
        raise shared_storage.Problem(
            "InvalidInput",
            f"The target {target!r} is no relevance in {len(wrong)} of {len(truth)} rows, e.g. {wrong.iloc[0]:g}",
            "target_column",
            f"A ranking learns from whole numbers from 0 (not relevant) to {MAX_RELEVANCE}: make such grades of it.",
        )


def hold_out_groups(groups: Any, rows: Any, fraction: float) -> tuple[Any, list[str]]:
    """(the numbers of the held-out rows in order, notes): whole groups, chosen by their own hash. groups: of each row
    the hash of its group."""
    import numpy as np

    names, sizes = np.unique(groups, return_counts=True)
    if len(names) < MIN_GROUPS:
        raise shared_storage.Problem(
            "DataError",
            f"The rows are of {len(names)} groups; a ranking needs at least {MIN_GROUPS}",
            "group_column",
            "Extract more data, or name another group_column.",
        )
    count = min(max(1, round(len(names) * fraction)), len(names) - 1)
    # The hash of a group is as good as random, and the same whatever the order of the rows.
    held = names[:count]
    single = int((sizes == 1).sum())
    notes = [f"{len(names)} groups are ranked, of which {count} are held out as a whole"]
    if single:
        notes.append(f"{single} groups have a single row, of which no order can be learned")
    return np.sort(rows[np.isin(groups, held)]), notes


def order_by_group(frame: Any) -> Any:
    """The rows with those of a group together, as xgboost and LightGBM want them."""
    order = frame[dataset.GROUP].to_numpy(dtype="uint64").argsort(kind="stable")
    return frame.iloc[order].reset_index(drop=True)


def list_group_codes(frame: Any) -> Any:
    """0, 1, 2, … for the groups of ordered rows."""
    import numpy as np

    groups = frame[dataset.GROUP].to_numpy(dtype="uint64")
    return np.concatenate([[0], (groups[1:] != groups[:-1]).cumsum()]).astype("int64")


def measure(scores: Any, truth: Any, codes: Any) -> Json:
    """NDCG@10 over the held-out groups, and that of no order at all: the mean over all orders. Groups without a
    relevant row have none."""
    import numpy as np
    from sklearn.metrics import ndcg_score

    own, naive = [], []
    truth, scores = np.asarray(truth, dtype=float), np.asarray(scores, dtype=float)
    bounds = np.flatnonzero(np.diff(codes)) + 1
    for relevance, score in zip(np.split(truth, bounds), np.split(scores, bounds), strict=True):
        if len(relevance) < 2 or relevance.max() <= 0:
            continue
        gains = 2**relevance - 1
        own.append(ndcg_score([gains], [score], k=CUTOFF))
        # Equal scores: scikit-learn takes the mean over all orders of them.
        naive.append(ndcg_score([gains], [np.zeros(len(score))], k=CUTOFF))
    return {
        f"ndcg_at_{CUTOFF}": float(np.mean(own)) if own else None,
        f"baseline_ndcg_at_{CUTOFF}": float(np.mean(naive)) if naive else None,
        "test_groups": len(own),
        "test_rows": len(truth),
    }
