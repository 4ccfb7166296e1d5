"""Serverless replays in plain Python, slow and obvious: what the compiled loops are held to.

Policies are asked for their windows through the same interface; everything else is counted anew here.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from scheduler.core.serverless.policy import COLD_US, MAX_WINDOWS, MEMORY_GIB, ServerlessPolicy

MINUTE_US = 60_000_000
Windows = list[tuple[int, int]]


class Brain:
    """A policy with its state; what it says of an idle time, as a list."""

    def __init__(self, policy: ServerlessPolicy, settings: dict[str, float], facts: Any) -> None:
        self.policy, self.facts = policy, facts
        self.settings = np.array(policy.settings(settings))
        self.state = np.zeros((len(facts), policy.state_width), np.int64)

    def windows(self, s: int, since_us: int, horizon_us: int) -> Windows:
        out = np.zeros((MAX_WINDOWS, 2), np.int64)
        assert self.policy.decide is not None
        count = self.policy.decide(self.settings, self.facts, self.state, s, since_us, horizon_us, out)
        return [(int(first), int(last)) for first, last in out[:count]]

    def learn(self, s: int, now_us: int, idle_us: int) -> None:
        if self.policy.learn is not None:
            self.policy.learn(self.settings, self.facts, self.state, s, now_us, idle_us)


def follow(windows: Windows, idle_us: int, lead_us: int) -> tuple[int, bool, int]:
    """(time loaded, ready at the end, loads) by merging windows, their leads included, into blocks."""
    blocks: list[list[int]] = [[0, 0, 0]]  # begin, ready, end; the first is the pod that was there
    for first, last in windows:
        begin = max(first - lead_us, 0)
        if begin <= blocks[-1][2]:
            blocks[-1][2] = max(blocks[-1][2], last)
        else:
            blocks.append([begin, first, last])
    loaded = sum(max(0, min(idle_us, max(ready, end)) - begin) for begin, ready, end in blocks)
    ready = any(ready <= idle_us < end for _, ready, end in blocks)
    return loaded, ready, sum(0 < begin <= idle_us for begin, _, _ in blocks)


def naive_minutes(brain: Brain, calls: list[tuple[int, int]], end_minute: int) -> Any:
    """calls: (minute, subject), any order. Returns (S, 3) cold starts, idle us, loads."""
    account = np.zeros((len(brain.facts), 3), np.int64)
    busy: dict[int, set[int]] = defaultdict(set)
    for minute, s in calls:
        busy[s].add(minute)
    for s, minutes in busy.items():
        last = None
        for minute in sorted(minutes):
            idle_us = -1 if last is None else (minute - last - 1) * MINUTE_US
            if idle_us < 0:
                account[s, 0] += 1
            elif idle_us > 0:
                windows = brain.windows(s, (minute * MINUTE_US) - idle_us, idle_us)
                loaded, ready, loads = follow(windows, idle_us, MINUTE_US)
                account[s] += (not ready, loaded, loads)
            brain.learn(s, minute * MINUTE_US, idle_us)
            last = minute
        idle_us = (end_minute - last - 1) * MINUTE_US
        if idle_us > 0 and not brain.policy.clairvoyant:
            loaded, _, loads = follow(brain.windows(s, (last + 1) * MINUTE_US, idle_us), idle_us, MINUTE_US)
            account[s] += (0, loaded, loads)
    return account


def naive_cache(
    policy: ServerlessPolicy, memory_mib: float, facts: Any, calls: list[tuple[int, int, int]], end_minute: int
) -> Any:
    """calls: (minute, subject, count) in order. Returns as naive_minutes does."""
    settings = np.array([memory_mib])
    account = np.zeros((len(facts), 3), np.int64)
    pods: dict[int, dict[str, Any]] = {}
    clock = 0.0
    assert policy.priority is not None
    for minute, s, count in calls:
        if s in pods:
            account[s, 1] += max(minute - pods[s]["last"] - 1, 0) * MINUTE_US
        else:
            account[s, 0] += 1
            while sum(facts[p, MEMORY_GIB] for p in pods) + facts[s, MEMORY_GIB] > memory_mib / 1024 + 1e-12:
                idle = [(pod["priority"], p) for p, pod in pods.items() if pod["last"] < minute]
                if not idle:
                    break
                priority, victim = min(idle)
                clock = max(clock, priority)
                account[victim, 1] += (minute - pods.pop(victim)["last"] - 1) * MINUTE_US
            pods[s] = {"calls": 0}
        pods[s]["calls"] += count
        pods[s]["last"] = minute
        pods[s]["priority"] = policy.priority(settings, facts, s, clock, pods[s]["calls"])
    for s, pod in pods.items():
        account[s, 1] += max(end_minute - pod["last"] - 1, 0) * MINUTE_US
    return account


def naive_events(brain: Brain, calls: list[tuple[int, int, int]], concurrency: list[int], end_us: int) -> Any:
    """calls: (time, subject, duration) in order of time. Returns as naive_minutes does."""
    account = np.zeros((len(brain.facts), 3), np.int64)
    pods: dict[int, list[dict[str, Any]]] = defaultdict(list)
    stopped: dict[int, int] = {}  # when the last call of each subject ends
    for now, s, duration in calls:
        cold = int(brain.facts[s, COLD_US])
        since = stopped.get(s)
        idle = -1 if since is None else max(now - since, 0)
        chosen = _settle(brain, account, pods[s], s, now, since, idle, cold, concurrency[s])
        begin = now
        if chosen is None:
            account[s, 0] += 1
            begin = now + cold
            chosen = {"ready": begin, "ends": []}
            pods[s].insert(0, chosen)
        chosen["ends"] = [end for end in chosen["ends"] if end > now] + [begin + duration]
        chosen["last"] = max(chosen.get("last", 0), begin + duration)
        chosen["until"] = None
        stopped[s] = max(since or 0, begin + duration)
        brain.learn(s, now, idle)
    for s, alive in pods.items():
        since, is_first = stopped[s], True
        for pod in alive:
            if pod["last"] >= end_us:
                continue
            if is_first and pod["last"] == since:
                is_first = False
                windows = brain.windows(s, since, end_us - since)
                loaded, _, loads = follow(windows, end_us - since, int(brain.facts[s, COLD_US]))
                account[s] += (0, loaded, loads)
            else:
                account[s, 1] += min(_until(brain, pod, s), end_us) - pod["last"]
    return account


def _settle(
    brain: Brain, account: Any, alive: list[dict[str, Any]], s: int, now: int, since: int | None, idle: int, cold: int,
    places: int,
) -> dict[str, Any] | None:  # fmt: skip
    """The pod for a call, after those whose time is over were paid and removed."""
    stays = None
    if idle > 0:
        loaded, ready, loads = follow(brain.windows(s, since or 0, idle), idle, cold)
        account[s] += (0, loaded, loads)
        latest = next((pod for pod in alive if pod["last"] == since), None)
        if latest is not None and ready:
            stays = latest
        if latest is not None and not ready:
            alive.remove(latest)
    candidates = []
    for pod in list(alive):
        if pod is stays:
            continue
        if pod["last"] <= now:
            until = _until(brain, pod, s)
            if until <= now and pod["last"] < now:
                account[s, 1] += until - pod["last"]
                alive.remove(pod)
                continue
            candidates.append(pod)
        elif pod["ready"] <= now and sum(end > now for end in pod["ends"]) < places:
            candidates.append(pod)
    if stays is not None:
        return stays
    if not candidates:
        return None
    chosen = max(candidates, key=lambda pod: pod["last"])
    account[s, 1] += max(now - chosen["last"], 0)
    return chosen


def _until(brain: Brain, pod: dict[str, Any], s: int) -> int:
    if pod["until"] is None:
        windows = brain.windows(s, pod["last"], 1 << 60)
        keeps = bool(windows) and windows[0][0] <= brain.facts[s, COLD_US]
        pod["until"] = pod["last"] + (windows[0][1] if keeps else 0)
    return int(pod["until"])
