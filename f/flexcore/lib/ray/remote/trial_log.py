# requirements: flexcore_base
"""What the trials of a search have found, and what it may still take. Shipped as source."""

from __future__ import annotations

import math
import time
from typing import Any

from f.flexcore.lib.ray.remote import checkpoints

Json = dict[str, Any]


class TrialLog:
    """What trials have found, in memory and in the store; that of earlier generations of the same search with it."""

    def __init__(self, generation: checkpoints.Generation, fingerprint: Json) -> None:
        self.generation, self.began = generation, time.monotonic()
        self.fingerprint = checkpoints.digest(fingerprint)
        known = generation.read_all("trials")
        self.ended = {int(item["trial"]): item for item in known if item["fingerprint"] == self.fingerprint}
        self.resumed = len(self.ended)
        self.earlier_s = max((float(item["elapsed_s"]) for item in self.ended.values()), default=0.0)

    def describe(self) -> str:
        return f"; {self.resumed} of them were tried before the head failed" if self.resumed else ""

    def add(self, told: Json) -> Json:
        """What is kept of a trial's last report."""
        item: Json = {name: told.get(name) for name in ("trial", "effort", "seconds", "curve", "error")}
        score = told["score"] if math.isfinite(told["score"]) else None
        item |= {"score": score, "elapsed_s": round(self.elapsed_s(), 3), "fingerprint": self.fingerprint}
        self.ended[int(told["trial"])] = item
        self.generation.write("trials", f"{int(told['trial']):04d}.json", item)
        return item

    def elapsed_s(self) -> float:
        """Of the search, that of earlier generations with it."""
        return self.earlier_s + time.monotonic() - self.began

    def compute_s(self) -> float:
        """What all trials together have taken."""
        return sum(float(item["seconds"] or 0) for item in self.ended.values())


class Budget:
    """What the search may take: seconds, and the cost of what trials compute, their CPUs by the price of an hour."""

    def __init__(self, parameters: Json, log: TrialLog) -> None:
        self.seconds, self.usd, self.log = float(parameters["search_s"]), parameters["search_usd"], log
        price = parameters["cpu_hour_usd"]
        self.usd_per_s = None if price is None else price * float(parameters["cpus_per_worker"]) / 3600
        self.running: dict[int, float] = {}

    def seconds_left(self) -> float:
        return self.seconds - self.log.elapsed_s()

    def cost(self) -> float | None:
        """In US dollars, of the trials that have ended and those that run; None where no price is known."""
        running = sum(value for trial, value in self.running.items() if trial not in self.log.ended)
        return None if self.usd_per_s is None else (self.log.compute_s() + running) * self.usd_per_s

    def over(self) -> str:
        """time or cost, whichever is spent; "" while neither is."""
        cost = self.cost()
        if self.usd is not None and cost is not None and cost >= self.usd:
            return "cost"
        return "time" if self.seconds_left() <= 0 else ""
