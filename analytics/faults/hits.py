"""How many faults hit running gangs when placement knows of repairs, against placement that does not.

The same gangs, the same nodes held, the same outages; only where gangs go differs. What a seed decides: which node of
the fleet is which, sizes and lengths of the gangs, and the choices of blind placement. The rate of faults since repair
is learnt from one half of the history and tested on the other (later half of the time, or other half of the nodes), so
that placement knows nothing of the faults it is tested on. Learnt and tested on the same (`in-sample`) stands beside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from analytics.bootstrap import seed_interval
from analytics.errors import InputError
from analytics.faults.history import History
from analytics.faults.recovery import PRESETS
from analytics.faults.report import PlacementName, make_placement
from analytics.faults.simulate import Outcome, Placement, simulate
from analytics.report import number, print_table
from scheduler.core.gpu.hazard import Hazard

Split = Literal["time", "nodes", "in-sample"]
REPLICATES = 2000
MEDIAN_WORK_H, SPREAD_OF_WORK = 24.0, 1.2  # log-normal: nine in ten gangs work between 3 h and 7 days
LARGEST_GANG_LOG2 = 6


@dataclass(frozen=True, slots=True)
class HitsStudy:
    """What to compare on. share: of the fleet's nodes that gangs hold all the time.

    is_resampled: each seed draws its fleet with replacement from the nodes of the history. The spread of single seeds
    is then a bootstrap over which nodes happened to be watched; the interval is of the mean over seeds as ever.
    """

    share: float = 0.75
    seeds: int = 20
    split: Split = "time"
    is_resampled: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.share < 1 or self.seeds < 2 or self.split not in get_args(Split):
            raise InputError(
                f"a study holds a share between 0 and 1 of the nodes, over 2 seeds or more, split by one of "
                f"{', '.join(get_args(Split))}: {self}"
            )


def compare_hits(
    history: History, study: HitsStudy, tick: Callable[[str], None] = lambda words: None
) -> dict[str, Any]:
    """Hits by placement and seed, and how many fewer than blind placement has, with 95 % intervals over seeds.

    cut: 1 less the hits over those of blind, mean over seeds. cut_of_one_seed: between these lie 95 % of single seeds.
    allocation: share of the fleet's time that gangs held.
    """
    outcomes: dict[str, list[Outcome]] = {name: [] for name in get_args(PlacementName)}
    for seed in range(study.seeds):
        known, tested = _halves(history, study.split, seed)
        rng = np.random.default_rng([seed, 5])
        rows = rng.integers(0, tested.fleet, tested.fleet) if study.is_resampled else rng.permutation(tested.fleet)
        for name, found in outcomes.items():
            found.append(_one(tested.draw(rows), make_placement(name, seed, known), study.share, seed))
        tick(f"seed {seed}")
    hits = {name: np.array([one.hits for one in found], float) for name, found in outcomes.items()}
    return {
        "split": study.split, "share": study.share, "seeds": study.seeds, "resampled": study.is_resampled,
        "placements": {
            name: {
                "hits": float(hits[name].mean()),
                "hits_per_node_year": float(np.mean([one.hits_per_node_year for one in found])),
                "stops": float(np.mean([one.stops for one in found])),
                "ettr": float(np.mean([one.ettr for one in found])),
                "allocation": float(np.mean([one.allocation for one in found])),
                **_cut(1 - hits[name] / hits["blind"]),
            }
            for name, found in outcomes.items()
        },
    }  # fmt: skip


def _cut(cuts: Any) -> dict[str, Any]:
    low, high = seed_interval(cuts, np.random.default_rng(0), REPLICATES)
    spread = [float(value) for value in np.quantile(cuts, [0.025, 0.975])]
    return {"cut": float(cuts.mean()), "cut_low": low, "cut_high": high, "cut_of_one_seed": spread}


def _halves(history: History, split: Split, seed: int) -> tuple[Hazard, History]:
    """What placement may learn from, and what it is tested on."""
    if split == "in-sample":
        return history.hazard(), history
    if split == "time":
        middle_h = history.length_h / 2
        return history.between(0.0, middle_h).hazard(), history.between(middle_h, history.length_h)
    rows = np.random.default_rng([seed, 6]).permutation(history.fleet)
    half = history.fleet // 2
    return history.draw(rows[:half]).hazard(), history.draw(rows[half:])


def _one(history: History, placement: Placement, share: float, seed: int) -> Outcome:
    sizes = draw_sizes(round(share * history.fleet), seed)
    return simulate(history, PRESETS["automated"], placement, sizes, lambda slot: draw_work(seed, slot))


def draw_sizes(nodes: int, seed: int) -> list[int]:
    """Gangs of 1, 2, 4, ... 64 nodes, each as likely, until `nodes` are held; the last takes what is left."""
    rng = np.random.default_rng([seed, 3])
    sizes: list[int] = []
    while (room := nodes - sum(sizes)) > 0:
        sizes.append(min(room, 2 ** int(rng.integers(0, LARGEST_GANG_LOG2 + 1))))
    return sizes


def draw_work(seed: int, slot: int) -> Iterator[float]:
    """Hours of work of the gangs of a slot, one after another; the same whatever becomes of them."""
    rng = np.random.default_rng([seed, 2, slot])
    while True:
        yield float(rng.lognormal(math.log(MEDIAN_WORK_H), SPREAD_OF_WORK))


def print_hits(found: Mapping[str, Any]) -> None:
    """A row per placement."""
    learnt = {
        "time": "learnt from the first half of the time, tested on the second",
        "nodes": "learnt from half of the nodes, tested on the others",
        "in-sample": "learnt and tested on the same faults",
    }
    drawn = ", nodes drawn with replacement" if found["resampled"] else ""
    print(f"{found['seeds']} seeds{drawn}; rate of faults since repair {learnt[found['split']]}")
    rows = [
        [
            name, f"{one['allocation']:.2%}", number(one["hits"]), number(one["hits_per_node_year"]),
            "" if name == "blind" else f"{one['cut']:.1%} [{one['cut_low']:.1%}, {one['cut_high']:.1%}]",
            "" if name == "blind" else "{:.1%} to {:.1%}".format(*one["cut_of_one_seed"]),
        ]
        for name, one in found["placements"].items()
    ]  # fmt: skip
    columns = ["placement", "allocation", "faults that hit", "per node and year", "fewer than blind", "single seeds"]
    print_table("", columns, rows)
