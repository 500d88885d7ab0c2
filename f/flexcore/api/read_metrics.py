# requirements: flexcore_api
# py: ==3.11.*
"""GET flexcore/metrics: executions, durations, rows, cost, orphans and forecast errors, for Prometheus."""

from datetime import UTC, datetime
from typing import Any

from f.flexcore.api.exchange import Answer, Request, answer, check_known, received
from f.flexcore.api.exposition import CONTENT_TYPE, exposition
from f.flexcore.api.measuring import measured
from f.flexcore.api.windmill import Windmill


def preprocessor(event: dict) -> dict:
    return received(event)


def main(request: dict) -> dict[str, Any]:
    return answer(request, metrics)


def metrics(asked: Request) -> Answer:
    check_known(asked.query, (), "Query parameter")
    return Answer(exposition(measured(Windmill(asked.token), datetime.now(UTC))), content_type=CONTENT_TYPE)
