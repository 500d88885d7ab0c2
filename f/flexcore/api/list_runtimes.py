# requirements: flexcore_kubernetes
"""GET flexcore/runtimes: every runtime of the settings, and the store between them, with health and free resources."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from f.flexcore.lib.api import http
from f.flexcore.lib.core import errors, redaction, resources
from f.flexcore.lib.operations import health
from f.flexcore.lib.windmill import api

AT_ONCE = 8


def preprocessor(event: dict) -> dict:
    return http.received(event)


def main(request: dict) -> dict[str, Any]:
    return http.answer(request, runtimes)


def runtimes(asked: http.Request) -> http.Answer:
    http.check_known(asked.query, (), "Query parameter")
    windmill = api.Windmill(asked.token)
    try:
        settings = errors.validated(resources.Settings, windmill.resource(api.SETTINGS) or {}, api.SETTINGS)
    except errors.NotFound:
        settings = resources.Settings()
    redactor = redaction.Redactor(settings.secrets())
    worker = os.environ.get("WM_WORKER_GROUP") or "this worker"
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = pool.map(health.measured, health.checks_of(settings, windmill.resource, worker))
    return http.Answer({"runtimes": [redactor.data(asdict(item)) for item in found]})
