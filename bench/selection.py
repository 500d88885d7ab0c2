"""The choice of a runtime on simulated worlds (bench/worlds.py): regret, coverage, few runs, online, and speed.

    uv run python -m bench.selection [--seeds 20] [--workloads 30] [--json]

Regret: mean of (true cost of the pick / true cost of the best) - 1, in expectation, failures counted; the rules' own
beside it. Bars: regret at most 5 % after 50 runs for each runtime; p10-p90 covers 75 to 85 % of the next runs; with
fewer than 5 runs never worse than the rules; a choice among 3 runtimes over 10,000 rows in at most 5 ms with the model
loaded, 300 ms with fitting.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from dataclasses import dataclass, field

from bench.worlds import CROSSING, EPOCH, WORLDS, World
from f.flexcore.lib.core.workloads import Market, Run
from f.flexcore.lib.selection.forecast import Forecasts
from f.flexcore.lib.selection.forecast_fit import fit_forecasts
from f.flexcore.lib.selection.selector import select

MARKET = Market()
NOW = EPOCH.replace(year=2027)


@dataclass
class Tally:
    """Ratios of the pick's true cost to the best, the rules' likewise, and hits of the intervals."""

    ours: list[float] = field(default_factory=list)
    rules: list[float] = field(default_factory=list)
    duration_hits: list[bool] = field(default_factory=list)
    cost_hits: list[bool] = field(default_factory=list)

    def regret(self) -> float:
        return statistics.mean(self.ours) - 1

    def rules_regret(self) -> float:
        return statistics.mean(self.rules) - 1


def measure_regret(world: World, each: int, seeds: range, workloads: int) -> Tally:
    tally = Tally()
    for seed in seeds:
        history = world.history(each, seed)
        model = fit_forecasts(history, NOW)
        judge_picks(world, model, random.Random(f"{world.name} {seed} next"), workloads, tally)
    return tally


def judge_picks(world: World, model: Forecasts | None, chance: random.Random, workloads: int, tally: Tally) -> None:
    for _ in range(workloads):
        workload, gb, kind = world.workload(chance)
        truth = world.truth(gb, kind)
        answer = select(workload, model, MARKET)
        ruled = select(workload, None, MARKET)
        best = min(truth.values())
        tally.ours.append(truth[answer.runtime or ""] / best)
        tally.rules.append(truth[ruled.runtime or ""] / best)
        for candidate in answer.candidates:
            if candidate.duration_s is None or candidate.cost_usd is None:
                continue
            law = world.laws[candidate.runtime]
            seconds = law.seconds(gb, kind, 1.0, chance)
            tally.duration_hits.append(candidate.duration_s.p10 <= seconds <= candidate.duration_s.p90)
            tally.cost_hits.append(candidate.cost_usd.p10 <= seconds * law.price <= candidate.cost_usd.p90)


def simulate_online(world: World, begin: int, steps: int, seeds: range) -> Tally:
    """History grows only by the runtime that was chosen; the model is fitted anew every fifth run."""
    tally = Tally()
    for seed in seeds:
        chance = random.Random(f"{world.name} {seed} online")
        history = world.history(begin, seed)
        model = fit_forecasts(history, NOW)
        for number in range(steps):
            workload, gb, kind = world.workload(chance)
            truth = world.truth(gb, kind)
            pick = select(workload, model, MARKET).runtime or ""
            ruled = select(workload, None, MARKET).runtime or ""
            tally.ours.append(truth[pick] / min(truth.values()))
            tally.rules.append(truth[ruled] / min(truth.values()))
            history.append(world.run(pick, gb, kind, 1.0 + number / 1000, chance))
            if number % 5 == 4:
                model = fit_forecasts(history, NOW)
    return tally


def measure_speed(rows: int = 10_000, rounds: int = 5) -> dict[str, float]:
    """Medians in milliseconds: a choice with the model loaded, and one that fits the history first; of the latter also
    the processor's time, which other work on the machine does not lengthen."""
    world = World("speed", CROSSING, types=3)
    history: list[Run] = world.history(rows // 3 + 1, 0)[:rows]
    workload, _, _ = world.workload(random.Random(0))
    fitting, busy, choosing = [], [], []
    for _ in range(rounds):
        started, used = time.perf_counter(), time.process_time()
        model = fit_forecasts(history, NOW)
        select(workload, model, MARKET)
        fitting.append(time.perf_counter() - started)
        busy.append(time.process_time() - used)
        for _ in range(20):
            started = time.perf_counter()
            select(workload, model, MARKET)
            choosing.append(time.perf_counter() - started)
    measures = {"choose_ms": choosing, "fit_and_choose_ms": fitting, "fit_and_choose_cpu_ms": busy}
    return {"rows": rows, **{name: round(1000 * statistics.median(times), 2) for name, times in measures.items()}}


RUNS = (5, 10, 20, 50)
HEAD = ["world", "rules", *(f"n={runs}" for runs in RUNS), *(f"covers {runs}" for runs in RUNS[1:]), "few", "online"]


def report_world(world: World, seeds: int, workloads: int) -> dict[str, object]:
    """Percent: the rules' regret, ours after so many runs of each runtime, how often p10-p90 of the duration covers the
    next run, by how much the pick is worse than the rules' at 0 to 4 runs at most, and the online regret."""
    found = {runs: measure_regret(world, runs, range(seeds), workloads) for runs in RUNS}
    few = [measure_regret(world, runs, range(seeds), workloads) for runs in range(5)]
    covers = {runs: 100 * statistics.mean(tally.duration_hits) for runs, tally in found.items()}
    return {
        "world": world.name,
        "rules": round(100 * found[RUNS[-1]].rules_regret(), 1),
        **{f"n={runs}": round(100 * tally.regret(), 1) for runs, tally in found.items()},
        **{f"covers {runs}": round(covers[runs]) for runs in RUNS[1:]},
        "few": round(100 * max(tally.regret() - tally.rules_regret() for tally in few), 1),
        "online": round(100 * simulate_online(world, 6, 60, range(max(seeds // 4, 1))).regret(), 1),
    }


def main(seeds: int, workloads: int, as_json: bool) -> None:
    lines = []
    if not as_json:
        print(f"{HEAD[0]:26}" + "".join(f"{name:>10}" for name in HEAD[1:]))
    for world in WORLDS:
        lines.append(report_world(world, seeds, workloads))
        if not as_json:
            print(f"{world.name:26}" + "".join(f"{lines[-1][name]!s:>10}" for name in HEAD[1:]), flush=True)
    quick = measure_speed()
    print(json.dumps({"worlds": lines, "speed": quick}) if as_json else json.dumps(quick))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--workloads", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    main(arguments.seeds, arguments.workloads, arguments.json)
