"""The choice among clusters: 50 clusters of 20 kinds of nodes each, 20 shapes, the pure part.

    uv run python -m bench.placement [--json]

Bar: at most 20 ms for all 20 choices. Exit code 1 above it.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from typing import get_args

from f.flexcore.lib.kubernetes import placement

BAR_MS = 20.0
CLUSTERS, SHAPES, KINDS_OF_NODES, REPEATS = 50, 20, 20, 50


def make_clusters(chance: random.Random) -> list[placement.Cluster]:
    return [
        placement.Cluster(
            name=f"f/clusters/c{number:02}",
            cloud=chance.choice(("aws", "gcp", "azure")),
            region=f"region-{number % 7}",
            cpu_hour_usd=chance.uniform(0.02, 0.06),
            memory_gib_hour_usd=chance.uniform(0.002, 0.008),
            gpu_hour_usd=chance.uniform(0.8, 4),
            egress_gib_usd=chance.uniform(0.01, 0.12),
            capabilities=frozenset(chance.sample(("spot", "eu-only", "arm64", "kueue"), 2)),
            data_location=f"region-{number % 7}",
            latency=chance.choice(placement.LATENCIES),
            nodes=tuple(make_node(chance) for _ in range(KINDS_OF_NODES)),
            quota={"requests.cpu": (200.0, 150.0), "requests.memory": (2.0**40, 2.0**39)},
        )
        for number in range(CLUSTERS)
    ]


def make_node(chance: random.Random) -> placement.Node:
    cpu, memory, gpus = chance.choice((4.0, 16.0, 64.0)), chance.choice((16.0, 64.0, 256.0)), chance.choice((0, 0, 8))
    free = chance.random()
    gib = placement.GIB
    return placement.Node(chance.randint(1, 20), cpu, memory * gib, gpus, cpu * free, memory * gib * free, gpus * free)


def make_shapes(chance: random.Random) -> list[placement.Shape]:
    return [
        placement.Shape(
            cpu=chance.choice((0.5, 2.0, 8.0)),
            memory_bytes=chance.choice((1, 8, 32)) * placement.GIB,
            gpus=chance.choice((0, 0, 1)),
            copies=chance.choice((1, 3, 40)),
            hours=chance.uniform(0.1, 20),
            data_location="region-1",
            data_gib=chance.uniform(0, 500),
            output_gib=chance.uniform(0, 5),
            prefer=chance.choice(get_args(placement.Prefer)),
        )
        for _ in range(SHAPES)
    ]


def measure() -> dict[str, float]:
    chance = random.Random(16)
    clusters, shapes = make_clusters(chance), make_shapes(chance)
    times, chosen = [], 0
    for _ in range(REPEATS):
        begin = time.perf_counter()
        prices = placement.read_egress_prices(clusters, {})
        choices = [placement.choose(shape, clusters, prices, "failover", 2) for shape in shapes]
        times.append((time.perf_counter() - begin) * 1000)
        chosen = sum(len(item.clusters) for item in choices)
    return {"median_ms": statistics.median(times), "p90_ms": sorted(times)[int(REPEATS * 0.9)], "chosen": chosen}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    measured = measure()
    if parser.parse_args().json:
        print(json.dumps({**measured, "bar_ms": BAR_MS}))
    else:
        print(f"{CLUSTERS} clusters x {SHAPES} shapes: {measured['median_ms']:.1f} ms (p90 {measured['p90_ms']:.1f})")
    return int(measured["median_ms"] > BAR_MS)


if __name__ == "__main__":
    sys.exit(main())
