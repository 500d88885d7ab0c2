# requirements: flexcore_base
"""What a model server counts, as Prometheus text. Shipped as source.

Only requests for an inference count: probes would make any share of errors look small.
Source: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from bisect import bisect_left

# Seconds: from a booster's answer to one row, to a large batch.
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class ServerMetrics:
    """Counts of one process. Changed and read by the thread of its event loop alone."""

    def __init__(self, model: str, version: str, load_s: float = 0.0) -> None:
        self.labels = f'model="{escape(model)}",version="{escape(version)}"'
        self.load_s, self.in_flight, self.is_draining = load_s, 0, False
        self.requests: dict[int, int] = {}
        self.buckets, self.seconds = [0] * (len(BUCKETS_S) + 1), 0.0

    def count(self, code: int, seconds: float) -> None:
        self.requests[code] = self.requests.get(code, 0) + 1
        self.buckets[bisect_left(BUCKETS_S, seconds)] += 1
        self.seconds += seconds

    def render(self) -> str:
        total, lines = 0, []
        for edge, number in zip((*map(str, BUCKETS_S), "+Inf"), self.buckets):  # noqa: B905 (Python 3.9)
            total += number
            lines.append(f'flexcore_request_seconds_bucket{{{self.labels},le="{edge}"}} {total}')
        # A counter that is there from the beginning: the first failure is an increase.
        requests = {200: 0, 500: 0, **self.requests}
        return "\n".join(
            [
                "# HELP flexcore_requests_total Requests for an inference that were answered.",
                "# TYPE flexcore_requests_total counter",
                *(
                    f'flexcore_requests_total{{{self.labels},code="{code}"}} {n}'
                    for code, n in sorted(requests.items())
                ),
                "# HELP flexcore_request_seconds Time from the whole request to its answer.",
                "# TYPE flexcore_request_seconds histogram",
                *lines,
                f"flexcore_request_seconds_sum{{{self.labels}}} {self.seconds:.6f}",
                f"flexcore_request_seconds_count{{{self.labels}}} {total}",
                "# HELP flexcore_requests_in_flight Requests that are answered or wait for their turn.",
                "# TYPE flexcore_requests_in_flight gauge",
                f"flexcore_requests_in_flight{{{self.labels}}} {self.in_flight}",
                "# HELP flexcore_model_load_seconds Time that reading the model took.",
                "# TYPE flexcore_model_load_seconds gauge",
                f"flexcore_model_load_seconds{{{self.labels}}} {self.load_s:.3f}",
                "# HELP flexcore_draining 1 from the signal to stop on.",
                "# TYPE flexcore_draining gauge",
                f"flexcore_draining {int(self.is_draining)}",
                "",
            ]
        )


def escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
