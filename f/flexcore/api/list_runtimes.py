# requirements: flexcore_kubernetes
"""GET flexcore/runtimes: every runtime of the settings, and the store between them, with health and free resources."""

from functools import partial
from typing import Any

from f.flexcore.lib.api import http, routes
from f.flexcore.lib.operations import configured_runtimes


def preprocessor(event: dict) -> dict:
    return http.receive(event)


def main(request: dict) -> dict[str, Any]:
    return http.respond(request, partial(routes.list_runtimes, check_all=configured_runtimes.check_all))
