"""Small random traces full of coincidences: whole seconds, few shapes, machines that come and go."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from small_traces import Attempt, S, SmallTrace, ran

LAST_S = 60
MODELS = (None, "A", "B")


@dataclass(frozen=True, slots=True)
class Case:
    """A trace, and how to replay it."""

    trace: SmallTrace
    window_us: tuple[int, int]
    options: dict[str, Any]


def random_case(seed: int) -> Case:
    """At most 8 machines and 60 tasks. Half of the cases have GPUs, a third open in the middle."""
    dice = random.Random(seed)
    trace = SmallTrace()
    has_gpus = dice.random() < 0.5
    machines = dice.sample(range(1, 30), dice.randint(1, 8))
    for machine in machines:
        _add_machine(dice, trace, machine, has_gpus)
    if not any(row["gpus"] for row in trace.machines):
        has_gpus = False
    shapes = [_shape(dice, has_gpus) for _ in range(dice.randint(1, 5))]
    priorities = dice.sample(range(12), dice.randint(1, 4))
    wanted = dice.randint(1, 60)
    while len(trace.tasks) < wanted:
        _add_job(dice, trace, machines, shapes, priorities)
    opens = dice.randint(1, LAST_S // 2) if dice.random() < 0.35 else 0
    options: dict[str, Any] = {"initial": dice.choice(["recorded", "recorded", "empty"])}
    if dice.random() < 0.25:
        options["overcommit"] = (("cpu_milli", dice.choice([0.75, 1.25, 1.5])),)
    closes = 2 * LAST_S if dice.random() < 0.7 else opens + dice.randint(5, LAST_S)
    return Case(trace, (opens * S, closes * S), options)


def _add_machine(dice: random.Random, trace: SmallTrace, machine: int, has_gpus: bool) -> None:
    shape: dict[str, Any] = {"cpu": dice.choice([2000, 4000, 8000]), "memory": dice.choice([2048, 4096, None])}
    if has_gpus and dice.random() < 0.7:
        shape |= {"gpus": dice.choice([1, 2, 4]), "model": dice.choice(MODELS)}
    at = 0 if dice.random() < 0.8 else dice.randint(1, 20)
    trace.machine(machine, at, "ADD", **shape)
    is_up = True
    for _ in range(dice.choice([0, 0, 0, 1, 2, 4])):
        at += dice.randint(0, 15)
        event = dice.choice(["REMOVE", "REMOVE", "UPDATE"]) if is_up else dice.choice(["ADD", "ADD", "UPDATE"])
        if event == "UPDATE":
            shape["cpu"] = dice.choice([2000, 4000, 8000])
        trace.machine(machine, at, event, **shape)
        is_up = event == "ADD" or (is_up and event == "UPDATE")


def _shape(dice: random.Random, has_gpus: bool) -> dict[str, Any]:
    shape: dict[str, Any] = {
        "cpu": dice.choice([None, 0, 500, 1000, 1500, 2000, 4000]),
        "memory": dice.choice([None, 0, 512, 1024, 2048]),
    }
    if has_gpus and dice.random() < 0.6:
        gpus = dice.choice([1, 1, 2])
        shape |= {"gpus": gpus, "gpu_milli": dice.choice([300, 500, 1000]) if gpus == 1 else 1000}
        shape |= {"models": dice.choice([None, None, "A", "A|B"])}
    return shape


def _add_job(
    dice: random.Random,
    trace: SmallTrace,
    machines: list[int],
    shapes: list[dict[str, Any]],
    priorities: list[int],
) -> None:
    job = 1 + max((task.job for task in trace.tasks), default=0)
    priority, shape, spread = dice.choice(priorities), dice.choice(shapes), dice.random() < 0.25
    submit = 0 if dice.random() < 0.3 else dice.randint(0, 40)
    for index in range(min(dice.choice([1, 1, 2, 3, 8]), 60 - len(trace.tasks))):
        attempts = _attempts(dice, submit if dice.random() < 0.7 else submit + dice.randint(0, 5), machines)
        own = shape if dice.random() < 0.9 else dice.choice(shapes)
        flag = spread and dice.random() < 0.95
        tenant = "abc"[job % 3]
        trace.task(
            *attempts, job=job, index=index, priority=priority, different_machines=flag, tenant=tenant, **own
        )  # fmt: skip


def _attempts(dice: random.Random, submit: int, machines: list[int]) -> list[Attempt]:
    attempts = []
    for _ in range(dice.choice([1, 1, 1, 2, 3, 5])):
        wait = 0 if submit == 0 and dice.random() < 0.8 else dice.randint(0, 4)
        on = dice.choice(machines)
        if dice.random() < 0.1:
            attempts.append(ran(submit, None, submit + dice.randint(0, 20), dice.choice(["KILL", "FAIL"])))
        elif dice.random() < 0.1:
            attempts.append(ran(submit, submit + wait if dice.random() < 0.8 else None, None, on=on))
            return attempts
        else:
            how = dice.choice(["FINISH", "FINISH", "FAIL", "KILL", "LOST", "EVICT", "EVICT"])
            attempts.append(ran(submit, submit + wait, submit + wait + dice.choice([0, 1, 3, 8, 20]), how, on))
        end_us = attempts[-1].end_us
        assert end_us is not None
        submit = end_us // S + dice.choice([0, 0, 1, 5])
    return attempts
