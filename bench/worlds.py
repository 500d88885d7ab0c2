"""Simulated worlds for bench/selection.py: what each runtime really takes and costs, and what history shows of it.

A world is a set of runtimes with a law each. Data sizes are lognormal around 20 GB (median), most between 1 and 400.
Truth is an expectation: the mean cost of a success, failed runs included, for one workload now.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from f.flexcore.lib.core.workloads import Run, Workload

GB = 10**9
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
RUNTIMES = ["meltano", "ray", "kubernetes"]
TYPES = ("sync", "train", "report")


@dataclass(frozen=True, slots=True)
class Law:
    """seconds = startup + rate · GB^power; dollars = seconds · price. noise: deviation of the log, of size GB.
    tail: degrees of freedom of Student's t, 0 for normal. fails: probability at GB. moves: factor at time 0..1.
    types: factor for each type of workflow."""

    startup: float
    rate: float
    power: float
    price: float
    noise: Callable[[float], float] = lambda gb: 0.25
    tail: int = 0
    fails: Callable[[float], float] = lambda gb: 0.02
    moves: Callable[[float], float] = lambda when: 1.0
    types: tuple[float, ...] = (1.0, 1.0, 1.0)

    def median(self, gb: float, kind: str, when: float) -> float:
        return float(self.startup + self.rate * gb**self.power) * self.types[TYPES.index(kind)] * self.moves(when)

    def seconds(self, gb: float, kind: str, when: float, chance: random.Random) -> float:
        z = chance.gauss(0, 1)
        if self.tail:
            z /= math.sqrt(chance.gammavariate(self.tail / 2, 2) / self.tail)
        return self.median(gb, kind, when) * math.exp(self.noise(gb) * max(min(z, 8), -8))

    def expected(self, gb: float, kind: str, when: float, factor: float = 1) -> float:
        """Dollars for one success. A heavy tail has no mean; its 98 % middle is close to that of 1.4 deviations."""
        sigma = self.noise(gb) * (1.4 if self.tail else 1)
        p = 1 - self.fails(gb)
        return self.median(gb, kind, when) * math.exp(sigma**2 / 2) * self.price * (1 + factor * (1 - p) / max(p, 1e-9))


@dataclass(frozen=True, slots=True)
class World:
    """late: runtimes that appear only in the last tenth of the time, with their number of runs. blind: share of sizes
    that are missing; free: share of costs that are missing; wild: share of rows that are wrong by up to 10^6."""

    name: str
    laws: dict[str, Law]
    types: int = 1
    late: dict[str, int] | None = None
    blind: float = 0
    free: float = 0
    wild: float = 0

    def history(self, each: int, seed: int) -> list[Run]:
        chance = random.Random(f"{self.name} {seed}")
        runs = []
        for name in self.laws:
            count = min((self.late or {}).get(name, each), each)
            for _ in range(count):
                when = chance.uniform(0.9 if self.late and name in self.late else 0, 1)
                runs.append(self.run(name, size(chance), TYPES[chance.randrange(self.types)], when, chance))
        return sorted(runs, key=lambda run: run.started_at or EPOCH)

    def run(self, name: str, gb: float, kind: str, when: float, chance: random.Random) -> Run:
        law = self.laws[name]
        failed = chance.random() < law.fails(gb)
        seconds = law.seconds(gb, kind, when, chance) * (chance.random() if failed else 1)
        cost = seconds * law.price
        if chance.random() < self.wild:
            seconds *= 10 ** chance.uniform(-6, 6)
        if chance.random() < self.wild:
            gb *= 10 ** chance.uniform(-6, 6)
        hidden = chance.random() < self.blind
        return Run(
            workflow_type=kind,
            runtime=name,
            data_size_bytes=None if hidden else round(gb * GB),
            rows=None if hidden and chance.random() < 0.5 else max(round(gb * 1e7 * math.exp(chance.gauss(0, 0.1))), 1),
            complexity="simple",
            started_at=EPOCH + timedelta(days=60 * when),
            duration_s=max(seconds, 1e-6),
            cost_usd=None if chance.random() < self.free else cost,
            success=not failed,
        )

    def workload(self, chance: random.Random) -> tuple[Workload, float, str]:
        gb, kind = size(chance), TYPES[chance.randrange(self.types)]
        hidden = chance.random() < self.blind
        described = Workload(
            workflow_type=kind,
            data_size=None if hidden else round(gb * GB),
            rows=max(round(gb * 1e7), 1) if hidden else None,
            complexity="simple",
            runtimes=[*self.laws],
            objective="cost",
        )
        return described, gb, kind

    def truth(self, gb: float, kind: str) -> dict[str, float]:
        return {name: law.expected(gb, kind, 1.0) for name, law in self.laws.items()}


def size(chance: random.Random) -> float:
    return 20 * math.exp(chance.gauss(0, 1.5))


MELTANO = Law(startup=20, rate=30, power=1.0, price=0.1 / 3600)
RAY = Law(startup=120, rate=4, power=0.9, price=0.5 / 3600)
KUBERNETES = Law(startup=45, rate=12, power=0.95, price=0.25 / 3600)
# Small work is cheap on Meltano, large work on Ray, and Kubernetes lies between.
CROSSING = {"meltano": MELTANO, "ray": RAY, "kubernetes": KUBERNETES}


def each(laws: dict[str, Law], **changed: object) -> dict[str, Law]:
    return {name: replace(law, **changed) for name, law in laws.items()}  # type: ignore[arg-type]


def step(at: float, factor: float) -> Callable[[float], float]:
    return lambda when: factor if when >= at else 1.0


WORLDS = [
    World("crossing curves", CROSSING),
    World("large noise", each(CROSSING, noise=lambda gb: 0.6)),
    World("heavy tails", each(CROSSING, tail=3)),
    World("noise grows with size", each(CROSSING, noise=lambda gb: 0.08 + 0.1 * math.log1p(gb))),
    World(
        "failures with size",
        {
            "meltano": replace(MELTANO, rate=8, fails=lambda gb: 0.02 if gb < 40 else 0.7),
            "ray": replace(RAY, fails=lambda gb: 0.05),
            "kubernetes": replace(KUBERNETES, fails=lambda gb: min(0.9, gb / 400)),
        },
    ),
    World(
        "level shift",
        {
            "meltano": replace(MELTANO, moves=step(0.7, 3)),
            "ray": replace(RAY, moves=step(0.5, 0.4)),
            "kubernetes": KUBERNETES,
        },
    ),
    World(
        "slow drift",
        {
            "meltano": replace(MELTANO, moves=lambda when: math.exp(1.2 * when)),
            "ray": replace(RAY, moves=lambda when: math.exp(-0.8 * when)),
            "kubernetes": KUBERNETES,
        },
    ),
    World(
        "late and cheap",
        {**CROSSING, "kubernetes": replace(KUBERNETES, rate=4, price=0.1 / 3600)},
        late={"kubernetes": 8},
    ),
    World("late and dear", {**CROSSING, "kubernetes": replace(KUBERNETES, rate=40)}, late={"kubernetes": 8}),
    World(
        "three types",
        {
            "meltano": replace(MELTANO, types=(1, 6, 0.7)),
            "ray": replace(RAY, types=(1, 0.6, 2)),
            "kubernetes": replace(KUBERNETES, types=(1, 2, 0.5)),
        },
        types=3,
    ),
    World("missing sizes and costs", CROSSING, blind=0.3, free=0.4),
    World("wrong rows", CROSSING, wild=0.05),
    World(
        "steep powers",
        {
            "meltano": Law(startup=5, rate=3, power=1.4, price=0.1 / 3600),
            "ray": Law(startup=300, rate=10, power=0.7, price=0.4 / 3600),
            "kubernetes": Law(startup=60, rate=20, power=1.0, price=0.15 / 3600),
        },
    ),
]
