"""A serverless run on nodes in plain Python, slow and obvious: what the compiled loop is held to.

Policies and scores are asked through their interfaces; pods, nodes, lines and accounts are kept anew here.
"""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np
from naive_replay import Brain, Windows

from scheduler.core.policies import get_policy
from scheduler.core.serverless.policy import COLD_US

NEVER_US = 1 << 60
# What happens at one instant, in this order.
END, READY, OVER, LOAD, CALL, NOT_KEPT, GIVE_UP = range(7)


class Pod:
    def __init__(self, s: int, number: int, node: int) -> None:
        self.s, self.number, self.node = s, number, node
        self.calls, self.last_us, self.ready_us, self.idle_us, self.until_us = 0, 0, 0, 0, NEVER_US
        self.is_ahead = False


def plan_of(windows: Windows, lead_us: int) -> tuple[int, list[tuple[int, int, int]]]:
    """(how long the last pod stays, pods to load: begin, ready, end): windows joined where no time is between them."""
    blocks = [[0, 0, 0]]
    for first, last in windows:
        begin = max(first - lead_us, 0)
        if begin <= blocks[-1][2]:
            blocks[-1][2] = max(blocks[-1][2], last)
        else:
            blocks.append([begin, first, last])
    return blocks[0][2], [(begin, ready, end) for begin, ready, end in blocks[1:]]


class NaiveLinks:
    """Who follows whom, from all calls so far, as long as no subject has more leaders than are kept."""

    def __init__(self, lag_us: int, share: float) -> None:
        self.lag_us, self.share = lag_us, share
        self.calls: list[tuple[int, int]] = []
        self.followed: dict[tuple[int, int], list[int]] = {}  # (leader, follower) -> positions of calls that were
        self.first: dict[tuple[int, int], int] = {}

    def see(self, b: int, now: int) -> None:
        counted = set()
        for n, (at, a) in enumerate(self.calls):
            if a != b and at >= now - self.lag_us and a not in counted:
                mine = self.followed.setdefault((a, b), [])
                if not mine or n > mine[-1]:
                    mine.append(n)
                    counted.add(a)
        self.calls.append((now, b))

    def holds(self, a: int, b: int) -> bool:
        mine = self.followed.get((a, b))
        if not mine:
            return False
        since = sum(other == a for _, other in self.calls[mine[0] :])
        return since >= 3 and len(mine) / since >= self.share


class Naive:
    """Give it a fleet, then `run` calls. account: (S, 5) cold starts, idle us, loads, unloaded early, refused."""

    def __init__(
        self, brain: Brain, requests: Any, allocatable: Any, placement: str, concurrency: int, patience_us: int
    ) -> None:
        subjects = len(requests)
        self.brain, self.requests, self.size = brain, requests, allocatable
        self.score = get_policy(placement).score
        self.places, self.patience_us = concurrency, patience_us
        self.account = np.zeros((subjects, 5), np.int64)
        self.pods: list[Pod] = []
        self.idle: list[Pod] = []  # longest idle first
        self.line: list[tuple[int, int, int, int]] = []  # (number, subject, since, duration)
        self.busy = [0] * subjects
        self.since: list[int | None] = [None] * subjects
        self.plan: list[list[tuple[int, int, int]]] = [[] for _ in range(subjects)]
        self.events: list[tuple[int, int, int]] = []
        self.links: NaiveLinks | None = None
        self.slots: list[list[int | None]] = [[None] * 8 for _ in range(subjects)]  # followers, in order of discovery
        self.shortened = self.saved_us = 0
        self.made = self.queued = self.waited = self.waited_us = self.dropped = self.now = 0
        self.node_us = self.cpu_us = self.most_nodes = 0

    def run(self, calls: list[tuple[int, int, int]], end_us: int) -> None:
        for now, s, duration in calls:
            self._until(now, CALL)
            self._advance(now)
            self._arrive(now, s, duration)
            if self.links is not None:
                self._load_followers(self.links, s, now)
                self._learn_links(self.links, s, now)
            self._serve_line(now)
        self._until(end_us, CALL)
        self._advance(end_us)
        for pod in self.idle:
            self.account[pod.s, 1] += end_us - pod.idle_us
        for _, s, _, _ in self.line:
            self.account[s, 4] += 1

    def _until(self, limit: int, kind: int) -> None:
        while self.events and self.events[0][:2] < (limit, kind):
            now, what, number = heapq.heappop(self.events)
            self._advance(now)
            if what == END:
                self._end_call(self.pods[number], now)
            elif what == READY:
                self._take_waiting(self.pods[number], now)
            elif what in (OVER, NOT_KEPT):
                pod = self.pods[number]
                if pod in self.idle and pod.until_us == now:
                    self._unload(pod, now)
            elif what == LOAD:
                self._load_planned(number, now)
            elif any(waiting[0] == number for waiting in self.line):
                s = next(waiting[1] for waiting in self.line if waiting[0] == number)
                self.line = [waiting for waiting in self.line if waiting[0] != number]
                self._refuse(s, now)
            self._serve_line(now)

    def _advance(self, now: int) -> None:
        alive = [pod for pod in self.pods if pod.node >= 0]
        used = len({pod.node for pod in alive})
        self.node_us += used * (now - self.now)
        self.cpu_us += sum(int(self.requests[pod.s][0]) for pod in alive) * (now - self.now)
        self.now = now

    def _arrive(self, now: int, s: int, duration: int) -> None:
        idle = 0
        if self.busy[s] == 0:
            since = self.since[s]
            idle = -1 if since is None else now - since
            self.plan[s] = []
            for pod in [pod for pod in self.idle if pod.s == s and pod.is_ahead and pod.ready_us > now]:
                self._unload(pod, now)
        self.brain.learn(s, now, idle)
        self.busy[s] += 1
        free = [
            pod for pod in self.pods
            if pod.s == s and pod.node >= 0 and pod.calls < self.places and pod.ready_us <= now
        ]  # fmt: skip
        if free:
            self._serve(max(free, key=lambda pod: (pod.last_us, pod.number)), now, duration)
        elif any(pod.s == s for pod in self.idle):
            loading = [pod for pod in self.idle if pod.s == s]
            self._take_loading(min(loading, key=lambda pod: (pod.ready_us, -pod.number)), now, duration)
        elif not any((self.requests[s] <= room).all() for room in self.size):
            self._refuse(s, now)
        elif self.line:
            self._wait_or_refuse(s, now, duration)
        else:
            node = self._node_for(s, now)
            if node is None:
                self._wait_or_refuse(s, now, duration)
            else:
                self._load(s, node, now, duration)

    def _take_loading(self, pod: Pod, now: int, duration: int) -> None:
        self._pay(pod, now)
        self.account[pod.s, 0] += 1
        self.shortened += 1
        self.saved_us += int(self.brain.facts[pod.s, COLD_US]) - (pod.ready_us - now)
        pod.calls, pod.last_us = 1, pod.ready_us + duration
        heapq.heappush(self.events, (pod.last_us, END, pod.number))
        heapq.heappush(self.events, (pod.ready_us, READY, pod.number))

    def _load_followers(self, links: NaiveLinks, s: int, now: int) -> None:
        for other in self.slots[s]:
            if other is None or not links.holds(s, other):
                continue
            if not any((self.requests[other] <= room).all() for room in self.size):
                continue
            cold_us = int(self.brain.facts[other, COLD_US])
            until = now + max(links.lag_us, cold_us) + 1
            spare = [pod for pod in self.idle if pod.s == other]
            if spare:
                pod = max(spare, key=lambda pod: pod.number)
                pod.until_us = max(pod.until_us, until)
                heapq.heappush(self.events, (pod.until_us, OVER, pod.number))
            elif not self.line:
                node = self._best(other)
                if node is None:
                    self.dropped += 1
                    continue
                pod = self._new(other, node)
                self.account[other, 2] += 1
                pod.ready_us, pod.last_us = now + cold_us, now
                self._stand_idle(pod, now, until, OVER)

    def _learn_links(self, links: NaiveLinks, s: int, now: int) -> None:
        """See the call; followers stand in eight slots, and a lapsed one gives up its own to the next that holds."""
        before = {pair: list(mine) for pair, mine in links.followed.items()}
        links.see(s, now)
        fresh = [
            (mine[-1], a) for (a, b), mine in links.followed.items() if b == s and before.get((a, b), [None]) != mine
        ]
        for _, a in sorted(fresh):
            if len(links.followed[a, s]) < 2 or s in self.slots[a]:
                continue
            lapsed = [n for n, other in enumerate(self.slots[a]) if other is None or not links.holds(a, other)]
            if lapsed and links.holds(a, s):
                self.slots[a][lapsed[0]] = s

    def _wait_or_refuse(self, s: int, now: int, duration: int) -> None:
        if self.patience_us == 0:
            self._refuse(s, now)
            return
        self.line.append((self.queued, s, now, duration))
        heapq.heappush(self.events, (now + self.patience_us, GIVE_UP, self.queued))
        self.queued += 1

    def _requested(self, node: int, pods: list[Pod]) -> Any:
        mine = [self.requests[pod.s] for pod in pods if pod.node == node]
        return np.sum(mine, axis=0, dtype=np.int64) if mine else np.zeros(2, np.int64)

    def _best(self, s: int) -> int | None:
        best, found = -np.inf, None
        demand = np.array([*self.requests[s], 0, 0], np.int64)
        size = np.array([[*room, 0, 0] for room in self.size], np.int64)
        requested = np.array([[*self._requested(n, self.pods), 0, 0] for n in range(len(size))], np.int64)
        for n in range(len(size)):
            if ((requested[n] + demand > size[n]) & (demand > 0)).any():
                continue
            score = self.score(demand, demand[:2].copy(), size, requested, requested[:, :2].copy(), n, 0)
            if score > best:
                best, found = score, n
        return found

    def _node_for(self, s: int, now: int) -> int | None:
        node = self._best(s)
        if node is not None:
            return node
        gone: list[Pod] = []
        for pod in self.idle:
            gone.append(pod)
            stay = [other for other in self.pods if other not in gone]
            if (self._requested(pod.node, stay) + self.requests[s] <= self.size[pod.node]).all():
                node = pod.node
                for other in [other for other in gone if other.node == node]:
                    self.account[other.s, 3] += 1
                    self._unload(other, now)
                return node
        return None

    def _new(self, s: int, node: int) -> Pod:
        pod = Pod(s, self.made, node)
        self.made += 1
        self.pods.append(pod)
        self.most_nodes = max(self.most_nodes, len({pod.node for pod in self.pods if pod.node >= 0}))
        return pod

    def _load(self, s: int, node: int, now: int, duration: int) -> None:
        pod = self._new(s, node)
        self.account[s, 0] += 1
        pod.calls, pod.ready_us = 1, now + int(self.brain.facts[s, COLD_US])
        pod.last_us = pod.ready_us + duration
        heapq.heappush(self.events, (pod.last_us, END, pod.number))
        heapq.heappush(self.events, (pod.ready_us, READY, pod.number))

    def _serve(self, pod: Pod, now: int, duration: int) -> None:
        if pod in self.idle:
            self._pay(pod, now)
        pod.calls += 1
        pod.last_us = max(pod.last_us, now + duration)
        heapq.heappush(self.events, (now + duration, END, pod.number))

    def _pay(self, pod: Pod, now: int) -> None:
        self.idle.remove(pod)
        self.account[pod.s, 1] += now - pod.idle_us
        pod.is_ahead = False

    def _unload(self, pod: Pod, now: int) -> None:
        self._pay(pod, now)
        pod.node = -1

    def _take_waiting(self, pod: Pod, now: int) -> None:
        for waiting in [waiting for waiting in self.line if waiting[1] == pod.s]:
            if pod.node >= 0 and pod.ready_us <= now and pod.calls < self.places:
                self._leave(waiting, now)
                self._serve(pod, now, waiting[3])

    def _leave(self, waiting: tuple[int, int, int, int], now: int) -> None:
        self.line.remove(waiting)
        self.waited += 1
        self.waited_us += now - waiting[2]

    def _serve_line(self, now: int) -> None:
        while self.line:
            node = self._node_for(self.line[0][1], now)
            if node is None:
                return
            waiting = self.line[0]
            self._leave(waiting, now)
            self._load(waiting[1], node, now, waiting[3])

    def _end_call(self, pod: Pod, now: int) -> None:
        s = pod.s
        pod.calls -= 1
        self.busy[s] -= 1
        self._take_waiting(pod, now)
        if pod.calls:
            return
        if self.busy[s]:
            windows = self.brain.windows(s, now, NEVER_US)
            stay = windows[0][1] if windows and windows[0][0] <= self.brain.facts[s, COLD_US] else 0
        else:
            stay = self._fall_idle(s, now)
        self._stand_idle(pod, now, now + stay, NOT_KEPT if stay == 0 else OVER)

    def _stand_idle(self, pod: Pod, now: int, until: int, kind: int) -> None:
        pod.idle_us, pod.until_us = now, until
        self.idle.append(pod)
        heapq.heappush(self.events, (until, kind, pod.number))

    def _fall_idle(self, s: int, now: int) -> int:
        self.since[s] = now
        stay, loads = plan_of(self.brain.windows(s, now, NEVER_US), int(self.brain.facts[s, COLD_US]))
        self.plan[s] = [(now + begin, now + ready, now + end) for begin, ready, end in loads]
        if self.plan[s]:
            heapq.heappush(self.events, (self.plan[s][0][0], LOAD, s))
        return stay

    def _load_planned(self, s: int, now: int) -> None:
        if not self.plan[s] or self.plan[s][0][0] != now:
            return
        _, ready, end = self.plan[s].pop(0)
        if self.plan[s]:
            heapq.heappush(self.events, (self.plan[s][0][0], LOAD, s))
        node = None if self.line else self._best(s)
        if node is None:
            self.dropped += 1
            return
        pod = self._new(s, node)
        self.account[s, 2] += 1
        pod.ready_us, pod.last_us, pod.is_ahead = ready, self.since[s] or 0, True
        self._stand_idle(pod, now, end, OVER)

    def _refuse(self, s: int, now: int) -> None:
        self.account[s, 4] += 1
        self.busy[s] -= 1
        if self.busy[s] == 0:
            self._fall_idle(s, now)
