"""What is under way: requests, leases, messages and timers, in tables that the caller makes larger between steps."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from scheduler.core.balance.agents.settings import Rules
from scheduler.core.balance.agents.world import NOBODY
from scheduler.core.balance.loops import Dice, Floats, chance, draw
from scheduler.core.columns import Codes, Ints, Mask
from scheduler.core.compiled import compiled
from scheduler.core.heap import pop, push

REQUEST = np.dtype(
    [
        ("task", np.int64), ("owner", np.int64),  # the node it shall leave, NOBODY for who submitted it
        ("depth", np.int64), ("refusals", np.int64), ("tries", np.int64), ("phase", np.int64), ("broker", np.int64),
        ("count", np.int64), ("waits", np.int64), ("chosen", np.int64),  # candidates; answers that are missing; which
        ("forces", np.int64), ("limit", np.float64),  # a forced placement adds less overload than that
        ("is_armed", np.int64), ("is_over", np.int64),
        ("number", np.int64), ("timer", np.int64),  # of the attempt; of the wait
        ("phase_us", np.int64), ("began_us", np.int64), ("landed_us", np.int64), ("messages", np.int64),
        ("node", np.int64), ("lease", np.int64), ("next", np.int64),  # where it landed; first lease; next free row
    ]
)  # fmt: skip
LEASE = np.dtype(
    [
        ("request", np.int64), ("number", np.int64), ("chosen", np.int64), ("task", np.int64), ("node", np.int64),
        ("source", np.int64), ("depth", np.int64), ("forces", np.int64), ("use", np.int64), ("is_alive", np.int64),
        ("next", np.int64),  # of the same request, or free
    ]
)  # fmt: skip
# phases of a request
FREE, LOST, ASKING, QUERYING, HOLDING, COMMITTING = range(6)
# messages, in pairs of question and answer, and what else happens at an instant
ASK, CANDIDATES, QUERY, SCORED, HOLD, HELD, REJECTED, COMMIT, DONE, EXPIRED, TIMEOUT, LEASE_END = range(12)
# timers of the world
ENDS, FAILS, CHECK = range(3)
# rows of Desk.at
NOW, MAIL, TIMERS, FREE_REQUEST, FREE_LEASE, LIVE, LEASES, MOVES, FACTS, GOSSIP_US, UNTIL_US, DIRTY, ARRIVAL = range(13)
COUNTERS = (
    "messages", "messages_lost", "reports", "asked", "placed", "migrated", "collisions", "outdated", "leases_expired",
    "forced", "longest_chain", "retries", "unplaced", "stayed", "node_failures", "restarted",
)  # fmt: skip
(
    SENT, DROPPED, REPORTS, ASKED, PLACED, MIGRATED, COLLISIONS, OUTDATED, LEASES_EXPIRED, FORCED, LONGEST_CHAIN,
    RETRIES, UNPLACED, STAYED, FAILURES, RESTARTED,
) = range(len(COUNTERS))  # fmt: skip
# columns of Desk.moves
M_TASK, M_SOURCE, M_TARGET, M_TIME, M_BEGAN, M_MESSAGES, M_FORCED, M_DEPTH = range(8)
# what the log tells: rows of (time, fact, task, node, request, number, source, depth, forced)
F_HELD, F_REJECTED, F_EXPIRED, F_PLACED, F_RELEASED, F_FAILED, F_LOST, F_ENDED, F_DROPPED = range(9)
LOG_COLUMNS = 9
SLACK = 256  # rows that one event may add to a table at most
KIND_SHIFT, CHOICE_SHIFT, NUMBER_SHIFT = 58, 52, 26
NUMBER_MASK, ROW_MASK = (1 << 26) - 1, (1 << 26) - 1


class Desk(NamedTuple):
    """The tables. at: see NOW and following. counts: by COUNTERS."""

    requests: Any  # (Q,) of REQUEST
    leases: Any  # (L,) of LEASE
    candidate: Codes  # (Q, k)
    score: Floats  # (Q, k) what it answered, -inf for what it cannot take
    has_answered: Mask  # (Q, k)
    mail_keys: Ints
    mail_values: Ints
    timer_keys: Ints
    timer_values: Ints
    moves: Ints  # (P, 8)
    facts: Ints  # (F, LOG_COLUMNS); F = 0 keeps no log
    at: Ints
    counts: Ints
    dice: Dice
    excess: Ints  # (R,) scratch
    picked: Codes  # scratch
    is_watched: Mask  # (N,) a CHECK of the node is among the timers
    patience: Ints  # (N,) intervals until its next look; grows while it finds nobody
    has_failed: Mask  # (N,) somebody stayed since its last look


@compiled
def pack(kind: int, choice: int, number: int, row: int) -> int:
    """One number for the heap; among equal times the order of these."""
    return (int(kind) << KIND_SHIFT) | (choice << CHOICE_SHIFT) | ((number & NUMBER_MASK) << NUMBER_SHIFT) | int(row)


@compiled
def post(desk: Desk, at_us: int, value: int) -> None:
    """Something for the mail heap at that time."""
    desk.at[MAIL] = push(desk.mail_keys, desk.mail_values, desk.at[MAIL], at_us, value)


@compiled
def set_timer(desk: Desk, at_us: int, value: int) -> None:
    """Something for the timers of the world."""
    desk.at[TIMERS] = push(desk.timer_keys, desk.timer_values, desk.at[TIMERS], at_us, value)


@compiled
def take_mail(desk: Desk) -> int:
    """The earliest of the mail."""
    value = desk.mail_values[0]
    desk.at[MAIL] = pop(desk.mail_keys, desk.mail_values, desk.at[MAIL])
    return value


@compiled
def take_timer(desk: Desk) -> int:
    """The earliest of the timers."""
    value = desk.timer_values[0]
    desk.at[TIMERS] = pop(desk.timer_keys, desk.timer_values, desk.at[TIMERS])
    return value


@compiled
def send(desk: Desk, rules: Rules, kind: int, choice: int, j: int) -> None:
    """A message of request `j` sets out. Where it is lost, the owner's wait will end without it."""
    desk.counts[SENT] += 1
    desk.requests[j].messages += 1
    if rules.loss > 0.0 and chance(desk.dice) < rules.loss:
        desk.counts[DROPPED] += 1
        arm(desk, rules, j)
        return
    takes_us = (rules.latency_us + 1) // 2 + draw(desk.dice, rules.latency_us + 1)
    post(desk, desk.at[NOW] + takes_us, pack(kind, choice, desk.requests[j].number, j))


@compiled
def begin_wait(desk: Desk, j: int) -> None:
    """The owner waits for answers from now on."""
    desk.requests[j].phase_us = desk.at[NOW]
    desk.requests[j].timer += 1
    desk.requests[j].is_armed = 0


@compiled
def arm(desk: Desk, rules: Rules, j: int) -> None:
    """Some answer will not come: the owner notices at its timeout. Waits that end well need no timer."""
    if desk.requests[j].is_armed == 0:
        desk.requests[j].is_armed = 1
        at_us = max(desk.requests[j].phase_us + rules.timeout_us, desk.at[NOW])
        post(desk, at_us, pack(TIMEOUT, 0, desk.requests[j].timer, j))


@compiled
def new_request(desk: Desk, t: int, owner: int, depth: int) -> int:
    """A row for the task; numbers go on from who had it before."""
    j = desk.at[FREE_REQUEST]
    desk.at[FREE_REQUEST] = desk.requests[j].next
    desk.at[LIVE] += 1
    desk.counts[ASKED] += 1
    desk.requests[j].task = t
    desk.requests[j].owner = owner
    desk.requests[j].depth = depth
    desk.requests[j].refusals = 0
    desk.requests[j].forces = 0
    desk.requests[j].is_over = 0
    desk.requests[j].landed_us = -1
    desk.requests[j].node = NOBODY
    desk.requests[j].messages = 0
    desk.requests[j].began_us = desk.at[NOW]
    return j


@compiled
def close_request(desk: Desk, j: int) -> None:
    """Nobody waits for anything of this request any more."""
    desk.requests[j].phase = FREE
    desk.requests[j].number += 1
    desk.requests[j].timer += 1
    desk.requests[j].next = desk.at[FREE_REQUEST]
    desk.at[FREE_REQUEST] = j
    desk.at[LIVE] -= 1


@compiled
def note(desk: Desk, fact: int, t: int, n: int, j: int, number: int, source: int, depth: int, forced: int) -> None:
    """A row of the log, where one is kept."""
    i = desk.at[FACTS]
    if i < desk.facts.shape[0]:
        row = desk.facts[i]
        row[0], row[1], row[2], row[3], row[4] = desk.at[NOW], fact, t, n, j
        row[5], row[6], row[7], row[8] = number, source, depth, forced
        desk.at[FACTS] += 1


@compiled
def is_tight(desk: Desk) -> bool:
    """Whether some table may be too small for one more event."""
    at = desk.at
    return (
        at[MAIL] + SLACK > desk.mail_keys.shape[0]
        or at[TIMERS] + SLACK > desk.timer_keys.shape[0]
        or at[LIVE] + SLACK > desk.requests.shape[0]
        or at[LEASES] + SLACK > desk.leases.shape[0]
        or at[MOVES] + SLACK > desk.moves.shape[0]
        or (desk.facts.shape[0] > 0 and at[FACTS] + SLACK > desk.facts.shape[0])
    )
