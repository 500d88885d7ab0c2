"""Small tables with a known answer."""

from __future__ import annotations

import random
from typing import Any

Rows = list[dict[str, Any]]


def houses(count: int = 400) -> Rows:
    """price = 3 · rooms + 10 · (city is Rome) + noise; some rooms and prices are missing, every remark is."""
    chance = random.Random(7)
    rows: Rows = []
    for number in range(count):
        rooms, city = chance.randint(1, 9), chance.choice(["Rome", "Oslo", "Lima"])
        rows.append(
            {
                "id": f"house-{number}",
                "rooms": None if number % 37 == 0 else rooms,
                "city": city,
                "garden": chance.random() < 0.5,
                "area": str(rooms * 20 + chance.randint(0, 5)),
                "country": "X",
                "remark": None,
                "sold_at": f"2024-01-{number % 28 + 1:02d}T00:00:00Z",
                "price": None if number % 53 == 0 else 3.0 * rooms + 10.0 * (city == "Rome") + chance.random(),
                "_sdc_batched_at": "2024-01-01T00:00:00Z",
            }
        )
    return rows


COLUMNS = {
    "id": "string",
    "rooms": "integer",
    "city": "string",
    "garden": "boolean",
    "area": "string",
    "country": "string",
    "remark": "string",
    "sold_at": "string",
    "price": "number",
    "_sdc_batched_at": "string",
}


def flowers(count: int = 300) -> Rows:
    """Three kinds, told apart by size; `tall` is a yes/no of the same."""
    chance = random.Random(11)
    kinds = {"daisy": 1.0, "tulip": 4.0, "lily": 8.0}
    rows: Rows = []
    for _ in range(count):
        kind = chance.choice(list(kinds))
        size = kinds[kind] + chance.random()
        rows.append({"size": size, "petals": chance.randint(3, 9), "kind": kind, "tall": size > 3.0})
    return rows
