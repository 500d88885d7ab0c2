# requirements: flexcore_api
"""GET flexcore/metrics: executions, durations, rows, cost, orphans and forecast errors, for Prometheus."""

from datetime import UTC, datetime
from typing import Any

from f.flexcore.lib.api import http, measuring, metrics_text
from f.flexcore.lib.windmill import api


def preprocessor(event: dict) -> dict:
    return http.received(event)


def main(request: dict) -> dict[str, Any]:
    return http.answer(request, metrics)


def metrics(asked: http.Request) -> http.Answer:
    http.check_known(asked.query, (), "Query parameter")
    return http.Answer(
        metrics_text.exposition(measuring.measured(api.Windmill(asked.token), datetime.now(UTC))),
        content_type=metrics_text.CONTENT_TYPE,
    )
