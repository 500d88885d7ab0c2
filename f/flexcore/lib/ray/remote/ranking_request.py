# requirements: flexcore_base
"""What a request for a ranking must say, seen without the data. Shipped as source."""

from __future__ import annotations

from typing import Any

from f.flexcore.lib.ray.remote import shared_storage

Json = dict[str, Any]
RANKERS = ("xgboost", "xgb", "lightgbm", "lgbm", "lgb")


def check_request(parameters: Json) -> None:
    """Raises InvalidInput for a ranking without a group column, by an algorithm that knows none, or a group column
    without a ranking."""
    task, group, algorithm = parameters["task"], parameters.get("group_column") or "", parameters["algorithm"]
    if task != "ranking":
        if group:
            raise shared_storage.Problem(
                "InvalidInput", "group_column is given, but task is not ranking", "group_column", "Set task to ranking."
            )
        return
    if not group:
        raise shared_storage.Problem(
            "InvalidInput",
            "group_column is empty: a ranking needs the column that says which rows are ranked together",
            "group_column",
            "Name it, e.g. the column of the query or the session.",
        )
    if group == parameters["target_column"]:
        raise shared_storage.Problem(
            "InvalidInput", "group_column is the target_column", "group_column", "Name another column."
        )
    if algorithm.lower() not in RANKERS:
        raise shared_storage.Problem(
            "InvalidInput", f"{algorithm} cannot rank", "algorithm", "Choose xgboost or lightgbm for a ranking."
        )
