# requirements: flexcore_kubernetes
# py: ==3.11.*
"""GET flexcore/runtimes: every runtime of the settings, and the store between them, with health and free resources."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from f.flexcore.api.exchange import Answer, Request, answer, check_known, received
from f.flexcore.api.windmill import SETTINGS, Windmill
from f.flexcore.core.errors import NotFound, validated
from f.flexcore.core.redaction import Redactor
from f.flexcore.core.resources import Settings
from f.flexcore.operations.health import checks_of, measured

AT_ONCE = 8


def preprocessor(event: dict) -> dict:
    return received(event)


def main(request: dict) -> dict[str, Any]:
    return answer(request, runtimes)


def runtimes(asked: Request) -> Answer:
    check_known(asked.query, (), "Query parameter")
    windmill = Windmill(asked.token)
    try:
        settings = validated(Settings, windmill.resource(SETTINGS) or {}, SETTINGS)
    except NotFound:
        settings = Settings()
    redactor = Redactor(settings.secrets())
    worker = os.environ.get("WM_WORKER_GROUP") or "this worker"
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = pool.map(measured, checks_of(settings, windmill.resource, worker))
    return Answer({"runtimes": [redactor.data(asdict(item)) for item in found]})
