"""What `stowage balance` does: reads an instance, runs one method or all, checks the answer, reports."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from analytics.balance.cluster_file import DomainLabels, read_cluster
from analytics.balance.instance_file import KIND, read_instance
from analytics.balance.trace_cut import Cut, TraceInstant
from analytics.errors import InputError
from analytics.options import parse_duration_us, parse_overcommit
from analytics.report import number, print_table
from scheduler.core.balance.bounds import find_floor
from scheduler.core.balance.move_price import UsualMove
from scheduler.core.balance.problem import WAITING, Budget, Instance, Objective, Result
from scheduler.core.balance.solve import METHODS, balance
from scheduler.core.balance.validator import broken_rules
from traces.schema import open_trace

MOST_SHOWN = 20


@dataclass(frozen=True, slots=True)
class BalanceOptions:
    """The command's options.

    budget_s: units of counted work, and with `by_clock` seconds of wall clock too. move: None unless stated.
    """

    source: Path
    method: str
    budget_s: float
    by_clock: bool
    seed: int
    at: str | None
    nodes: int
    load: str
    overcommit: Mapping[str, float]
    labels: DomainLabels
    move: UsualMove | None


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """An instance with what one method made of it."""

    instance: Instance
    result: Result
    cpu_s: float
    notes: list[str]


def read_source(options: BalanceOptions) -> tuple[Instance, list[str]]:
    """The instance, known by its contents. Raises InputError."""
    path = options.source
    if not path.exists():
        raise InputError(f"{path} is not there")
    if (path / "meta.json").exists():
        at_us = parse_duration_us(options.at or "0h")
        cut = Cut(at_us, options.nodes, options.seed, options.load, options.overcommit, options.move or UsualMove())
        return TraceInstant(open_trace(path), at_us).cut(cut)
    if path.is_dir():
        raise InputError(f"{path} is no imported trace (it has no meta.json)")
    if options.at is not None:
        raise InputError(f"--at {options.at}: {path} is no imported trace")
    data = path.read_bytes()
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON: {error}") from error
    if isinstance(content, dict) and content.get("kind") == KIND:
        if options.move is not None:
            raise InputError(f"{path} says what each move costs: --bandwidth-mbit-s and --dirty-mib-s are for others")
        return read_instance(path, content), []
    return read_cluster(path, data, options.move, options.labels)


def run_methods(options: BalanceOptions, *, compare: bool) -> list[Answer]:
    """The answers of the method asked for, or of all; every one passes the validator."""
    instance, notes = read_source(options)
    floor = find_floor(instance, options.seed)
    answers = []
    for method in METHODS if compare else (options.method,):
        clock = (options.budget_s, time.monotonic) if options.by_clock else (None, None)
        began = time.process_time()
        result = balance(instance, method, Budget(options.budget_s, *clock), options.seed, floor)
        spent = time.process_time() - began
        broken = broken_rules(instance, result.at)
        if broken:
            raise RuntimeError(f"{method} broke a rule: {broken[0]}")
        answers.append(Answer(instance, result, spent, notes))
    return answers


def moves_of(answer: Answer) -> list[dict[str, Any]]:
    """Every move: task, from (nothing for one that waited), to, cost, and why."""
    instance, result = answer.instance, answer.result
    load = np.zeros_like(instance.capacity)
    runs = instance.home != WAITING
    np.add.at(load, instance.home[runs], instance.use[runs])
    over = load - instance.capacity
    found = []
    for t in np.flatnonzero(result.at != instance.home).tolist():
        n = int(instance.home[t])
        lacking = [name for r, name in enumerate(instance.resources) if n != WAITING and over[n, r] > 0]
        why = "it waited" if n == WAITING else "makes room for others"
        if lacking:
            why = ", ".join(f"{instance.nodes[n]} lacks {over[n, instance.resources.index(k)]} {k}" for k in lacking)
        found.append(
            {
                "task": str(instance.tasks[t]),
                "from": None if n == WAITING else str(instance.nodes[n]),
                "to": str(instance.nodes[result.at[t]]),
                "cost": int(instance.cost[t]),
                "why": why,
            }
        )
    return found


def to_report(answer: Answer) -> dict[str, Any]:
    """The JSON object of the command, but for the comparison."""
    result = answer.result
    return {
        "method": result.method,
        "verdict": result.verdict,
        "before": _parts(result.before),
        "after": _parts(result.objective),
        "bound": {
            "overload": result.bound.overload / 1e12,
            "unplaced": result.bound.unplaced,
            "cost": result.bound.cost,
        },
        "gap": result.gap,
        "gap_of": result.gap_of or None,
        "moves": moves_of(answer),
        "work": result.work,
        "steps": result.steps,
        "cpu_s": answer.cpu_s,
        "nodes": len(answer.instance.nodes),
        "tasks": len(answer.instance.tasks),
        "reasons": list(result.reasons),
        "notes": answer.notes,
    }


def _parts(objective: Objective) -> dict[str, Any]:
    return {
        "overload": objective.overload_nodes,
        "unplaced": objective.unplaced,
        "cost": objective.cost,
        "stranded": objective.stranded / 1e6,
    }


def print_answer(answer: Answer) -> None:
    """The answer for people."""
    result, moves = answer.result, moves_of(answer)
    rows = [
        [name, number(_parts(result.before)[name]), number(_parts(result.objective)[name])]
        for name in _parts(result.before)
    ]
    print_table(f"{result.method}: {result.verdict}", ["", "before", "after"], rows)
    open_part = f"{100 * result.gap:.2f} % of {result.gap_of} is not proven" if result.gap_of else "nothing is better"
    print(f"least cost by the bound: {result.bound.cost:,}; {open_part}; {answer.cpu_s:.2f} CPU s")
    for line in (*result.reasons, *answer.notes):
        print(f"- {line}")
    if moves:
        shown = [[m["task"], m["from"] or "-", m["to"], f"{m['cost']:,}", m["why"]] for m in moves[:MOST_SHOWN]]
        print_table(f"{len(moves)} moves", ["task", "from", "to", "cost", "why"], shown)
    if len(moves) > MOST_SHOWN:
        print(f"and {len(moves) - MOST_SHOWN} more (--json has all)")


def print_comparison(answers: list[Answer]) -> None:
    """All methods on one instance."""
    rows = []
    for one in answers:
        result = one.result
        rows.append(
            [
                result.method, result.verdict, number(result.objective.overload_nodes),
                f"{result.objective.unplaced:,}", f"{result.objective.cost:,}", f"{100 * result.gap:.2f}",
                result.gap_of or "-", f"{one.cpu_s:.2f}",
            ]
        )  # fmt: skip
    columns = ["method", "verdict", "overload", "unplaced", "cost", "gap %", "of", "CPU s"]
    print_table("the same instance and budget", columns, rows)
    for line in answers[0].notes:
        print(f"- {line}")


def options_of(
    source: Path, method: str, budget: str, by_clock: bool, seed: int, at: str | None, nodes: int, load: str,
    overcommit: list[str], labels: DomainLabels, bandwidth_mbit_s: float | None, dirty_mib_s: float | None,
) -> BalanceOptions:  # fmt: skip
    """The options as the command was given them. Raises InputError."""
    if method not in METHODS:
        raise InputError(f"--method {method}: choose {', '.join(METHODS)}")
    seconds = parse_duration_us(budget) / 1e6
    if seconds <= 0:
        raise InputError(f"--budget {budget}: it is longer than nothing")
    factors = {**Cut(0).overcommit, **dict(parse_overcommit(overcommit))}
    is_stated = bandwidth_mbit_s is not None or dirty_mib_s is not None
    move = UsualMove.over(bandwidth_mbit_s, dirty_mib_s) if is_stated else None
    return BalanceOptions(source, method, seconds, by_clock, seed, at, nodes, load, factors, labels, move)
