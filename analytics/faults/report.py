"""`stowage replay --faults FAULTS --gang-nodes N`: what is asked, the answer, and how it is printed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from analytics.errors import InputError
from analytics.faults.history import History
from analytics.faults.recovery import PARTS, PRESETS, Recovery
from analytics.faults.simulate import Outcome, Placement, simulate
from analytics.options import parse_duration_us
from analytics.report import number, print_table
from scheduler.core.gpu.hazard import MEASURED, Hazard
from scheduler.core.gpu.spares import cover_of_history

PlacementName = Literal["aware", "quarantine", "blind"]
QUARANTINE_H = 24.0
COVER_ENOUGH = 0.999  # where the spares curve may end


def make_placement(name: str, seed: int, known: Hazard = MEASURED) -> Placement:
    """aware: by the known rate of faults since repair; quarantine: none repaired within a day; blind: any node."""
    if name not in get_args(PlacementName):
        raise InputError(f"a placement is one of {', '.join(get_args(PlacementName))}, not {name!r}")
    return Placement(known if name == "aware" else None, seed, QUARANTINE_H if name == "quarantine" else 0.0)


def parse_recoveries(presets: Sequence[str], phases: Mapping[str, str | None]) -> dict[str, Recovery]:
    """The recoveries to replay, by name: the presets, or one of them with phases of one's own ("custom")."""
    unknown = [name for name in presets if name not in PRESETS]
    if unknown:
        raise InputError(f"recovery is one of {', '.join(PRESETS)}, not {unknown[0]!r}")
    given = {name: _hours(text) for name, text in phases.items() if text is not None}
    if not given:
        return {name: PRESETS[name] for name in presets or PRESETS}
    if len(presets) > 1:
        raise InputError("phases of one's own change one recovery: give --recovery once")
    fields = {"checkpoint_cost": "save_h"}
    base = PRESETS[presets[0] if presets else "automated"]
    return {"custom": replace(base, **{fields.get(name, f"{name}_h"): hours for name, hours in given.items()})}


def _hours(text: str) -> float:
    return math.inf if text == "never" else parse_duration_us(text) / 3.6e9


@dataclass(frozen=True, slots=True)
class GangReplay:
    """One question: which gangs, on how many nodes, how placed and recovered. spares: None is the rest of the fleet."""

    sizes: tuple[int, ...]
    recoveries: Mapping[str, Recovery]
    placement: str = "aware"
    spares: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.sizes or min(self.sizes) < 1:
            raise InputError("--gang-nodes names at least one gang of at least one node")
        if self.spares is not None and self.spares < 0:
            raise InputError(f"spares are 0 or more, not {self.spares}")
        if self.seed < 0:
            raise InputError(f"a seed is a whole number from 0, not {self.seed}")


def replay_gangs(history: History, asked: GangReplay) -> dict[str, Any]:
    """The answer as JSON values; see `print_gangs` for what they mean. Raises InputError for too small a fleet."""
    nodes = sum(asked.sizes)
    spares = history.fleet - nodes if asked.spares is None else asked.spares
    if not 0 <= spares <= history.fleet - nodes:
        raise InputError(
            f"gangs of {nodes} nodes and {asked.spares or 0} spares need {nodes + (asked.spares or 0)} nodes, "
            f"the fleet has {history.fleet}"
        )
    pool = history.draw(np.random.default_rng([asked.seed, 4]).permutation(history.fleet)[: nodes + spares])
    mtbf_h = history.fleet * history.length_h / max(history.node.size, 1) / nodes
    down, hours = history.down()
    curve = spares_curve(history, nodes)
    return {
        "fleet": history.fleet,
        "outages": int(history.node.size),
        "days": history.length_h / 24,
        "down_share": float(down @ hours) / history.fleet / history.length_h,
        "gang_nodes": list(asked.sizes),
        "spares": spares,
        "placement": asked.placement,
        "seed": asked.seed,
        "mtbf_h": mtbf_h,
        "recoveries": {
            name: _answer(simulate(pool, recovery, make_placement(asked.placement, asked.seed), asked.sizes), recovery)
            | {"formula_ettr": recovery.expected_ettr(mtbf_h)}
            for name, recovery in asked.recoveries.items()
        },
        "spares_curve": curve,
        "spares_for_99": next((int(count) for count, share in curve.items() if share >= 0.99), None),
    }


def _answer(outcome: Outcome, recovery: Recovery) -> dict[str, Any]:
    hours = {"detect_h": recovery.detect_h, "diagnose_h": recovery.diagnose_h, "restart_h": recovery.restart_h}
    checkpoint_h = None if math.isinf(recovery.checkpoint_h) else recovery.checkpoint_h
    return {
        "ettr": outcome.ettr,
        "lost": outcome.parts,
        "hits": outcome.hits,
        "stops": outcome.stops,
        "late_starts": outcome.started_late,
        "phases": {**hours, "checkpoint_h": checkpoint_h, "save_h": recovery.save_h},
        "loss_per_fault_h": recovery.loss_per_fault_h(),
    }


def spares_curve(history: History, nodes: int) -> dict[str, float]:
    """Spares -> share of the time in which so many nodes of a random pool work; as far as the fleet goes, or 99.9 %."""
    down, hours = history.down()
    curve = {}
    for spares in range(history.fleet - nodes + 1):
        curve[str(spares)] = cover_of_history(down, hours, history.fleet, nodes, spares)
        if curve[str(spares)] >= COVER_ENOUGH:
            break
    return curve


def print_gangs(answer: Mapping[str, Any]) -> None:
    """Tables: where the hours of each recovery go, and how many spares are enough."""
    found = answer["recoveries"]
    gangs = " + ".join(map(str, answer["gang_nodes"]))
    print(
        f"{answer['fleet']} nodes, {answer['outages']:,} outages in {answer['days']:.0f} days, "
        f"{answer['down_share']:.2%} of node time down; gangs on {gangs} nodes and {answer['spares']} spares, "
        f"placement {answer['placement']}"
    )
    rows = [["productive (ETTR)", *(_percent(one["ettr"]) for one in found.values())]]
    rows += [[part.replace("_", " "), *(_percent(one["lost"][part]) for one in found.values())] for part in PARTS]
    rows += [
        ["faults of its nodes", *(number(one["hits"]) for one in found.values())],
        ["times it stood", *(number(one["stops"]) for one in found.values())],
        ["lost per fault, h", *(number(one["loss_per_fault_h"]) for one in found.values())],
        [f"formula, MTBF {answer['mtbf_h']:.1f} h", *(_percent(one["formula_ettr"]) for one in found.values())],
    ]
    print_table("", ["share of the gang's time", *found], rows)
    curve = list(answer["spares_curve"].items())
    shown = dict(curve if len(curve) <= 16 else [*curve[:: -(-len(curve) // 15)], curve[-1]])
    print_table("", ["spares of a random pool", "enough, of the time"], [[k, _percent(v)] for k, v in shown.items()])
    enough = answer["spares_for_99"]
    if enough is not None:
        print(f"{enough} spares ({enough / sum(answer['gang_nodes']):.1%}) are enough for 99 % of the time")


def _percent(share: float) -> str:
    return f"{share:.2%}"
