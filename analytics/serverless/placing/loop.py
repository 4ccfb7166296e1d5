"""The event-level replay on nodes: what happens, in order of time, and what the fleet's room makes of it. Compiled.

Calls and pods are those of `analytics.serverless.events`, and where no node is ever full the two count the same. There,
a pod's time is settled when its subject is next called; here pods hold room on nodes, so every end is an event.

A cold start's pod goes to the node with room that the placement policy scores highest, and stays there. Where no node
has room, idle pods are unloaded early (`ground.make_room`); where all pods are busy, the call waits its turn. Calls
wait in one line; each is served when a pod of its own subject is free, or when it is first and there is room, and gives
up in the end. Pods are loaded ahead of calls only where there is room and nobody waits.

With chains, a call also loads pods of the functions that are known to follow its own, where none is idle or loading. A
call that comes before such a pod is ready waits for the rest: a cold start, but a shorter one.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from analytics.serverless.minute import FIRST
from analytics.serverless.placing.ground import (
    load_ahead,
    load_for_call,
    make_room,
    pick_node,
    push,
    settle,
    stand_idle,
    stop_idling,
    unload,
)
from analytics.serverless.placing.world import (
    AFTER,
    ALARM_US,
    BEFORE,
    BUSY,
    CALL,
    CALLS,
    CLASS,
    COLD,
    CONCURRENCY,
    DROPPED,
    DURATION_US,
    END,
    EVENTS,
    FITS,
    GIVE_UP,
    HAS_ROOM,
    HEAD,
    IDLE_FROM_US,
    IDLE_HEAD,
    IS_SHORT,
    KINDS,
    LAST_US,
    LOAD,
    LOADS,
    LONGEST_US,
    NEVER_US,
    NEXT,
    NODE,
    NONE,
    PATIENCE_US,
    PLAN_AT,
    PLAN_SIZE,
    PODS,
    QUEUED,
    READY,
    READY_US,
    REFUSED,
    SAVED_US,
    SHORTENED,
    SINCE_US,
    SUBJECT,
    UNLOAD,
    UNLOAD_NOW,
    UNTIL_US,
    WAIT_FIRST,
    WAIT_HEAD,
    WAIT_LAST,
    WAIT_TAIL,
    WAITED,
    WAITED_US,
    WAITING,
    WARMED,
    World,
    most_rows,
)
from scheduler.core import heap
from scheduler.core.serverless.chains import holds, see_call
from scheduler.core.serverless.policy import COLD_US


@njit(cache=True)
def advance(
    decide: Any, learn: Any, learns: bool, settings: Any, facts: Any, state: Any, windows: Any, score_batch: Any,
    chains: bool, world: World, calls: Any, k: int, n: int, until_us: int,
) -> int:  # fmt: skip
    """Replay calls [k, n) and all that happens before them; gives the call to go on with.

    After the last call, what happens until `until_us` follows, its instant included. Stops early, with IS_SHORT set,
    when a column must grow. calls: (time, subject, duration) in order of time.
    """
    at = world.at
    while True:
        most = most_rows(at[WAITING])
        if (
            at[EVENTS] + most > world.key.shape[0]
            or at[PODS] + most > world.pods.shape[0]
            or at[QUEUED] + most > world.queue.shape[0]
        ):
            at[IS_SHORT] = 1
            return k
        limit_us = calls[k, 0] if k < n else until_us
        if at[EVENTS] > 0 and world.key[0] < limit_us * KINDS + CALL:
            now_us, kind, value = world.key[0] // KINDS, world.key[0] % KINDS, world.value[0]
            at[EVENTS] = heap.pop(world.key, world.value, at[EVENTS])
            if kind == END:
                _end_call(decide, settings, facts, state, windows, world, value, now_us)
            elif kind == READY:
                _serve_with(world, value, now_us)
            elif kind == LOAD:
                _load_planned(world, score_batch, value, now_us)
            elif kind == GIVE_UP:
                _give_up(decide, settings, facts, state, windows, world, value, now_us)
            else:
                _look_at(world, value, now_us, kind == UNLOAD)
        elif k < n:
            now_us = calls[k, 0]
            _arrive(
                decide, learn, learns, settings, facts, state, windows, score_batch, world, calls[k, 1], now_us,
                calls[k, 2],
            )  # fmt: skip
            if chains:
                _load_followers(world, facts, score_batch, calls[k, 1], now_us)
                see_call(world.links, calls[k, 1], now_us)
            k += 1
        else:
            return k
        if at[HAS_ROOM]:
            at[HAS_ROOM] = 0
            _serve_line(world, facts, score_batch, now_us)


@njit(cache=True)
def _arrive(
    decide: Any, learn: Any, learns: bool, settings: Any, facts: Any, state: Any, windows: Any, score_batch: Any,
    world: World, s: int, now_us: int, duration_us: int,
) -> None:  # fmt: skip
    """A call: a pod of its subject takes it, or a new one is loaded, or it waits, or it is refused."""
    at, owners = world.at, world.owners
    idle_us = 0
    if owners[s, BUSY] == 0:
        idle_us = FIRST if owners[s, IDLE_FROM_US] < 0 else now_us - owners[s, IDLE_FROM_US]
        owners[s, PLAN_SIZE] = 0
        warmed = owners[s, WARMED]
        if warmed != NONE and world.pods[warmed, READY_US] > now_us:
            unload(world, warmed, now_us)  # as in `events`: a pod that is not ready in time was loaded for nothing
    if learns:
        learn(settings, facts, state, s, now_us, idle_us)
    owners[s, BUSY] += 1
    pod = _free_pod(world, s, now_us)
    if pod != NONE:
        _serve(world, pod, now_us, duration_us)
        return
    pod = _loading_pod(world, s)
    if pod != NONE:
        _take_loading(world, facts, pod, now_us, duration_us)
        return
    n = NONE
    if owners[s, FITS] and at[WAIT_HEAD] == NONE:
        n = _node_for(world, s, score_batch, now_us)
    if n != NONE:
        load_for_call(world, facts, s, n, now_us, duration_us)
    elif owners[s, FITS] and at[PATIENCE_US] > 0:
        _join_line(world, s, now_us, duration_us)
    else:
        _refuse(decide, settings, facts, state, windows, world, s, now_us)


@njit(cache=True)
def _node_for(world: World, s: int, score_batch: Any, now_us: int) -> int:
    """Where a call's pod goes, after idle pods made way if they had to; or NONE."""
    c = world.owners[s, CLASS]
    n = pick_node(world, c, score_batch)
    return n if n >= 0 else make_room(world, c, now_us)


@njit(cache=True)
def _free_pod(world: World, s: int, now_us: int) -> int:
    """The pod that was busy last among the subject's that are ready and have a place, the newest of equals; or NONE."""
    pods, places = world.pods, world.owners[s, CONCURRENCY]
    chosen, chosen_us, pod = NONE, NONE, world.owners[s, HEAD]
    while pod != NONE:
        if pods[pod, CALLS] < places and pods[pod, READY_US] <= now_us and pods[pod, LAST_US] > chosen_us:
            chosen, chosen_us = pod, pods[pod, LAST_US]
        pod = pods[pod, NEXT]
    return chosen


@njit(cache=True)
def _serve(world: World, pod: int, now_us: int, duration_us: int) -> None:
    """A ready pod takes one more call."""
    pods = world.pods
    if pods[pod, CALLS] == 0:
        stop_idling(world, pod, now_us)
    pods[pod, CALLS] += 1
    pods[pod, LAST_US] = max(pods[pod, LAST_US], now_us + duration_us)
    push(world, now_us + duration_us, END, pod)


@njit(cache=True)
def _loading_pod(world: World, s: int) -> int:
    """The subject's pod without calls that is ready first, the newest of equals; or NONE. None of them is ready yet."""
    pods, chosen, pod = world.pods, NONE, world.owners[s, HEAD]
    while pod != NONE:
        if pods[pod, CALLS] == 0 and (chosen == NONE or pods[pod, READY_US] < pods[chosen, READY_US]):
            chosen = pod
        pod = pods[pod, NEXT]
    return chosen


@njit(cache=True)
def _take_loading(world: World, facts: Any, pod: int, now_us: int, duration_us: int) -> None:
    """A call waits for a pod that is loading already."""
    at, pods, s = world.at, world.pods, world.pods[pod, SUBJECT]
    stop_idling(world, pod, now_us)
    world.account[s, COLD] += 1
    at[SHORTENED] += 1
    at[SAVED_US] += int(facts[s, COLD_US]) - (pods[pod, READY_US] - now_us)
    pods[pod, CALLS] = 1
    pods[pod, LAST_US] = pods[pod, READY_US] + duration_us
    push(world, pods[pod, LAST_US], END, pod)
    if world.owners[s, CONCURRENCY] > 1:
        push(world, pods[pod, READY_US], READY, pod)


@njit(cache=True)
def _load_followers(world: World, facts: Any, score_batch: Any, s: int, now_us: int) -> None:
    """A call of `s` came: have a pod ready for what follows, for as long as it may take to follow."""
    at, pods, owners, links = world.at, world.pods, world.owners, world.links
    for k in range(links.follower.shape[1]):
        other = links.follower[s, k]
        if other == NONE or not owners[other, FITS] or not holds(links, s, other):
            continue
        cold_us = int(facts[other, COLD_US])
        until_us = now_us + max(links.limits[0], cold_us) + 1
        pod = owners[other, HEAD]
        while pod != NONE and pods[pod, CALLS] > 0:
            pod = pods[pod, NEXT]
        if pod != NONE:
            pods[pod, UNTIL_US] = max(pods[pod, UNTIL_US], until_us)
        elif at[WAIT_HEAD] == NONE:
            n = pick_node(world, owners[other, CLASS], score_batch)
            if n == NONE:
                at[DROPPED] += 1
                continue
            pod = load_ahead(world, other, n, now_us, now_us + cold_us)
            pods[pod, LAST_US], pods[pod, UNTIL_US] = now_us, until_us
            world.account[other, LOADS] += 1
        if pod != NONE:
            _set_alarm(world, pod)


@njit(cache=True)
def _end_call(
    decide: Any, settings: Any, facts: Any, state: Any, windows: Any, world: World, pod: int, now_us: int
) -> None:
    """A call ends: the pod takes one that waits for its subject, or falls idle."""
    pods, owners, s = world.pods, world.owners, world.pods[pod, SUBJECT]
    pods[pod, CALLS] -= 1
    owners[s, BUSY] -= 1
    _serve_with(world, pod, now_us)
    if pods[pod, CALLS] > 0:
        return
    if owners[s, BUSY] > 0:
        count = decide(settings, facts, state, s, now_us, NEVER_US, windows)
        stay_us = windows[0, 1] if count > 0 and windows[0, 0] <= facts[s, COLD_US] else 0
    else:
        stay_us = _fall_idle(decide, settings, facts, state, windows, world, s, now_us)
    stand_idle(world, pod, now_us)
    pods[pod, UNTIL_US] = now_us + stay_us
    if stay_us == 0:
        push(world, now_us, UNLOAD_NOW, pod)
    else:
        _set_alarm(world, pod)


@njit(cache=True)
def _fall_idle(
    decide: Any, settings: Any, facts: Any, state: Any, windows: Any, world: World, s: int, now_us: int
) -> int:
    """No call of the subject is left: plan the pods to load ahead; gives how long the pod that stopped last stays.

    Windows that follow without a break, the time to load included, are one stay, as in `windows.settle_windows`.
    """
    owners, lead_us = world.owners, int(facts[s, COLD_US])
    owners[s, IDLE_FROM_US] = now_us
    count = decide(settings, facts, state, s, now_us, NEVER_US, windows)
    planned, stay_us, paid_to_us = 0, 0, 0
    for w in range(count):
        first_us, last_us = windows[w, 0], windows[w, 1]
        begin_us = max(first_us - lead_us, 0)
        if begin_us > paid_to_us:
            world.plan[s, planned, 0] = now_us + begin_us
            world.plan[s, planned, 1] = now_us + first_us
            world.plan[s, planned, 2] = now_us + last_us
            planned += 1
        elif planned > 0:
            world.plan[s, planned - 1, 2] = now_us + max(paid_to_us, last_us)
        else:
            stay_us = max(paid_to_us, last_us)
        paid_to_us = max(paid_to_us, last_us)
    owners[s, PLAN_AT], owners[s, PLAN_SIZE] = 0, planned
    if planned > 0:
        push(world, world.plan[s, 0, 0], LOAD, s)
    return stay_us


@njit(cache=True)
def _load_planned(world: World, score_batch: Any, s: int, now_us: int) -> None:
    """Load a pod ahead of the next call, if that is still the plan."""
    at, owners, w = world.at, world.owners, world.owners[s, PLAN_AT]
    if w >= owners[s, PLAN_SIZE] or world.plan[s, w, 0] != now_us:
        return
    owners[s, PLAN_AT] += 1
    if w + 1 < owners[s, PLAN_SIZE]:
        push(world, world.plan[s, w + 1, 0], LOAD, s)
    n = NONE
    if at[WAIT_HEAD] == NONE:
        n = pick_node(world, owners[s, CLASS], score_batch)
    if n < 0:
        at[DROPPED] += 1
        return
    pod = load_ahead(world, s, n, now_us, world.plan[s, w, 1])
    owners[s, WARMED] = pod
    world.account[s, LOADS] += 1
    world.pods[pod, UNTIL_US] = world.plan[s, w, 2]
    _set_alarm(world, pod)


@njit(cache=True)
def _set_alarm(world: World, pod: int) -> None:
    """Look at the pod when its time is over, unless that is done earlier anyway."""
    pods = world.pods
    if pods[pod, UNTIL_US] < pods[pod, ALARM_US]:
        pods[pod, ALARM_US] = pods[pod, UNTIL_US]
        push(world, pods[pod, UNTIL_US], UNLOAD, pod)


@njit(cache=True)
def _look_at(world: World, pod: int, now_us: int, is_alarm: bool) -> None:
    """Unload the pod if its time is over."""
    pods = world.pods
    if is_alarm and pods[pod, ALARM_US] == now_us:
        pods[pod, ALARM_US] = NEVER_US
    if pods[pod, NODE] == NONE or pods[pod, CALLS] > 0:
        return
    if pods[pod, UNTIL_US] <= now_us:
        unload(world, pod, now_us)
    elif is_alarm:
        _set_alarm(world, pod)


@njit(cache=True)
def _join_line(world: World, s: int, now_us: int, duration_us: int) -> None:
    at, queue, owners = world.at, world.queue, world.owners
    w = at[QUEUED]
    at[QUEUED] += 1
    at[WAITING] += 1
    queue[w, SUBJECT], queue[w, SINCE_US], queue[w, DURATION_US] = s, now_us, duration_us
    queue[w, BEFORE], queue[w, AFTER], queue[w, NEXT] = at[WAIT_TAIL], NONE, NONE
    if at[WAIT_TAIL] == NONE:
        at[WAIT_HEAD] = w
    else:
        queue[at[WAIT_TAIL], AFTER] = w
    at[WAIT_TAIL] = w
    if owners[s, WAIT_LAST] == NONE:
        owners[s, WAIT_FIRST] = w
    else:
        queue[owners[s, WAIT_LAST], NEXT] = w
    owners[s, WAIT_LAST] = w
    push(world, now_us + at[PATIENCE_US], GIVE_UP, w)


@njit(cache=True)
def _leave_line(world: World, w: int, now_us: int, is_served: bool) -> None:
    """A call, the first of its subject's that wait, waits no more."""
    at, queue, owners, s = world.at, world.queue, world.owners, world.queue[w, SUBJECT]
    before, after, waited_us = queue[w, BEFORE], queue[w, AFTER], now_us - queue[w, SINCE_US]
    if before == NONE:
        at[WAIT_HEAD] = after
        at[HAS_ROOM] = 1  # who is first now may need less
    else:
        queue[before, AFTER] = after
    if after == NONE:
        at[WAIT_TAIL] = before
    else:
        queue[after, BEFORE] = before
    owners[s, WAIT_FIRST] = queue[w, NEXT]
    if queue[w, NEXT] == NONE:
        owners[s, WAIT_LAST] = NONE
    queue[w, SUBJECT] = NONE
    at[WAITING] -= 1
    if is_served:
        at[WAITED] += 1
        at[WAITED_US] += waited_us
        at[LONGEST_US] = max(at[LONGEST_US], waited_us)


@njit(cache=True)
def _serve_with(world: World, pod: int, now_us: int) -> None:
    """A pod with free places takes calls that wait for its subject."""
    pods, s = world.pods, world.pods[pod, SUBJECT]
    while (
        world.owners[s, WAIT_FIRST] != NONE
        and pods[pod, NODE] != NONE
        and pods[pod, READY_US] <= now_us
        and pods[pod, CALLS] < world.owners[s, CONCURRENCY]
    ):
        w = world.owners[s, WAIT_FIRST]
        _leave_line(world, w, now_us, True)
        pods[pod, CALLS] += 1
        pods[pod, LAST_US] = max(pods[pod, LAST_US], now_us + world.queue[w, DURATION_US])
        push(world, now_us + world.queue[w, DURATION_US], END, pod)


@njit(cache=True)
def _serve_line(world: World, facts: Any, score_batch: Any, now_us: int) -> None:
    """Pods for the calls that wait, first come first served, as far as there is room."""
    at = world.at
    while at[WAIT_HEAD] != NONE:
        w = at[WAIT_HEAD]
        s = world.queue[w, SUBJECT]
        n = _node_for(world, s, score_batch, now_us)
        if n == NONE:
            break
        _leave_line(world, w, now_us, True)
        load_for_call(world, facts, s, n, now_us, world.queue[w, DURATION_US])
    at[HAS_ROOM] = 0


@njit(cache=True)
def _give_up(
    decide: Any, settings: Any, facts: Any, state: Any, windows: Any, world: World, w: int, now_us: int
) -> None:
    """A call waited as long as calls do."""
    s = world.queue[w, SUBJECT]
    if s != NONE:
        _leave_line(world, w, now_us, False)
        _refuse(decide, settings, facts, state, windows, world, s, now_us)


@njit(cache=True)
def _refuse(
    decide: Any, settings: Any, facts: Any, state: Any, windows: Any, world: World, s: int, now_us: int
) -> None:
    """A call goes unserved; its subject may fall idle with it."""
    world.account[s, REFUSED] += 1
    world.owners[s, BUSY] -= 1
    if world.owners[s, BUSY] == 0:
        _fall_idle(decide, settings, facts, state, windows, world, s, now_us)


@njit(cache=True)
def close(world: World, end_us: int) -> None:
    """The recording ends: idle pods are paid for until then, calls that still wait were never served."""
    at = world.at
    while at[WAIT_HEAD] != NONE:
        s = world.queue[at[WAIT_HEAD], SUBJECT]
        _leave_line(world, at[WAIT_HEAD], end_us, False)
        world.account[s, REFUSED] += 1
    settle(world, end_us)
    while at[IDLE_HEAD] != NONE:
        stop_idling(world, at[IDLE_HEAD], end_us)
