# requirements: flexcore_api
"""Answers the routes that read: executions, their logs, workflows, metrics."""

from typing import Any

from f.flexcore.lib.api import http, routes


def preprocessor(event: dict) -> dict:
    return http.receive(event)


def main(request: dict) -> dict[str, Any]:
    return http.respond(request, routes.handle_get)
