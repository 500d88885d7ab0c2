# requirements: flexcore_kubernetes
"""GET flexcore/runtimes: every runtime of the settings, and the store between them, with health and free resources."""

from typing import Any

from f.flexcore.lib.api import http, routes


def preprocessor(event: dict) -> dict:
    return http.receive(event)


def main(request: dict) -> dict[str, Any]:
    return http.respond(request, routes.list_runtimes)
