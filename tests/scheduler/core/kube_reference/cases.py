"""Cases that both kube-scheduler's own plugins and our policies can score; see main.go for the other side."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

MIB = 2**20
HERE = Path(__file__).parent
RECORDED = HERE / "recorded.csv"

Case = dict[str, Any]


class Row(NamedTuple):
    """One case as the scheduler sums it up, and its plugins' scores; memory in bytes, -1 where a plugin skipped."""

    cpu_size: int
    memory_size: int
    cpu_requested: int
    memory_requested: int
    cpu_requested_nonzero: int
    memory_requested_nonzero: int
    cpu_demand: int
    memory_demand: int
    cpu_demand_nonzero: int
    memory_demand_nonzero: int
    least: int
    balanced: int
    most: int
    default: int


def random_cases(count: int, seed: int) -> list[Case]:
    """Nodes of all sizes, half of them in whole MiB; pods that ask for much, little, nothing, zero, or only GPUs."""
    chance = random.Random(seed)
    return [_random_case(chance) for _ in range(count)]


def ask_kubernetes(binary: Path, cases: Iterable[Case]) -> list[Row]:
    """Each case with the scores that the real plugins give it."""
    listed = list(cases)
    lines = "".join(json.dumps(case) + "\n" for case in listed)
    done = subprocess.run([str(binary)], input=lines, capture_output=True, text=True, check=True)
    return [_row(case, json.loads(line)) for case, line in zip(listed, done.stdout.splitlines(), strict=True)]


def _random_case(chance: random.Random) -> Case:
    unit = chance.choice((1, MIB))
    memory_size = _size(chance, 2**40) // unit * unit
    cpu_size = _size(chance, 256_000)
    spread = chance.choice((2, 5, 20))

    def containers() -> list[dict[str, int]]:
        number = chance.choice((1, 1, 2))
        return [_container(chance, cpu_size // spread, memory_size // spread, unit) for _ in range(number)]

    return {
        "cpu_milli": cpu_size,
        "memory_bytes": memory_size,
        "gpus": chance.choice((0, 8)),
        "pods": [containers() for _ in range(chance.randrange(6))],
        "pod": containers(),
    }


def _size(chance: random.Random, largest: int) -> int:
    if chance.random() < 0.04:
        return 0
    if chance.random() < 0.3:  # round sizes put scores on the edge between two integers
        return max(1, largest // chance.choice((1, 2, 4, 8, 10, 100, 1000)))
    return int(largest ** chance.uniform(0.3, 1.0))


def _container(chance: random.Random, cpu: int, memory: int, unit: int) -> dict[str, int]:
    asked: dict[str, int] = {}
    for key, most, step in (("cpu_milli", cpu, 1), ("memory_bytes", memory, unit)):
        kind = chance.random()
        if kind < 0.1:
            asked[key] = 0
        elif kind < 0.35:
            asked[key] = most // chance.choice((1, 2, 4, 10)) // step * step
        elif kind < 0.85:
            asked[key] = chance.randint(0, most) // step * step
    if chance.random() < 0.15:
        asked["gpus"] = 1
    return asked


def _row(case: Case, answer: dict[str, Any]) -> Row:
    pod = case["pod"]
    balanced = answer["balanced"]
    return Row(
        case["cpu_milli"],
        case["memory_bytes"],
        *answer["requested"],
        *answer["requested_nonzero"],
        sum(c.get("cpu_milli", 0) for c in pod),
        sum(c.get("memory_bytes", 0) for c in pod),
        sum(c.get("cpu_milli", 100) for c in pod),
        sum(c.get("memory_bytes", 200 * MIB) for c in pod),
        answer["least"],
        -1 if balanced is None else balanced,
        answer["most"],
        answer["default"],
    )


def main() -> None:
    """Record a table anew: build main.go here with `go build -o BINARY .`, then run this file with BINARY."""
    import sys

    rows = ask_kubernetes(Path(sys.argv[1]), random_cases(400, seed=1362))
    header = ",".join(Row._fields)
    RECORDED.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")


if __name__ == "__main__":
    main()
