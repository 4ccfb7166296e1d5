"""What happens to nodes by themselves: they look whether they are overloaded, fail, and their tasks end."""

from __future__ import annotations

from scheduler.core.balance.agents import desk as d
from scheduler.core.balance.agents.broker import Views, mark
from scheduler.core.balance.agents.desk import Desk, arm, begin_wait, close_request, new_request, note, pack, set_timer
from scheduler.core.balance.agents.leases import drop_leases
from scheduler.core.balance.agents.offload import pick_tasks
from scheduler.core.balance.agents.owner import keep_move, release_source, submit
from scheduler.core.balance.agents.settings import Rules
from scheduler.core.balance.agents.world import FINISHED, NOBODY, Books, give_back, overload_of, unlink
from scheduler.core.balance.problem import WAITING
from scheduler.core.compiled import compiled

MOST_PATIENCE = 64  # intervals that a node without success waits at most between two looks


@compiled
def watch(books: Books, desk: Desk, n: int, at_us: int) -> None:
    """The node looks at itself at that time, and again while it is overloaded."""
    if not desk.is_watched[n]:
        desk.is_watched[n] = True
        set_timer(desk, at_us, pack(d.CHECK, 0, 0, n))


@compiled
def offload(books: Books, views: Views, desk: Desk, rules: Rules, n: int) -> None:
    """Ask for places for what the node wants to be rid of, as deep in a chain as its overload is."""
    count = pick_tasks(books, n, desk.excess, desk.picked)
    for i in range(count):
        submit(books, views, desk, rules, desk.picked[i], n, books.chain[n])
    watch(books, desk, n, desk.at[d.NOW] + rules.check_us)


@compiled
def check(books: Books, views: Views, desk: Desk, rules: Rules, n: int) -> None:
    """Offload what is too much; who found nobody looks again later and later."""
    desk.is_watched[n] = False
    if not books.up[n] or overload_of(books, n) == 0.0:
        desk.patience[n] = 1
        books.chain[n] = 0
        return
    if desk.has_failed[n]:
        desk.patience[n] = min(2 * desk.patience[n], MOST_PATIENCE)
        desk.has_failed[n] = False
    watch(books, desk, n, desk.at[d.NOW] + rules.check_us * desk.patience[n])
    offload(books, views, desk, rules, n)


@compiled
def fail(books: Books, views: Views, desk: Desk, rules: Rules, n: int) -> None:
    """The node is down; what ran there is submitted again after a timeout, one task with each call of this."""
    if books.up[n]:
        books.up[n] = False
        books.chain[n] = 0
        desk.counts[d.FAILURES] += 1
        note(desk, d.F_FAILED, NOBODY, n, NOBODY, 0, NOBODY, 0, 0)
        drop_leases(books, views, desk, rules, n)
        mark(books, views, desk, rules, n)
    t = books.first_task[n]
    if t < 0:
        return
    set_timer(desk, desk.at[d.NOW], pack(d.FAILS, 0, 0, n))
    unlink(books, t, n)
    give_back(books, books.kind[t], n)
    books.home[t] = WAITING
    books.starts[t] += 1
    desk.counts[d.RESTARTED] += 1
    note(desk, d.F_LOST, t, n, NOBODY, 0, NOBODY, 0, 0)
    j = books.request[t]
    if j == NOBODY:
        j = new_request(desk, t, NOBODY, 0)
        desk.requests[j].broker = t % rules.brokers
        books.request[t] = j
    else:
        if desk.requests[j].landed_us >= 0:
            release_source(books, views, desk, rules, j)
            keep_move(desk, j)
        desk.requests[j].owner = NOBODY
        desk.requests[j].depth = 0
        desk.requests[j].refusals = 0
        desk.requests[j].forces = 0
        desk.requests[j].landed_us = -1
    desk.requests[j].number += 1  # whatever is still said of the last attempt concerns nobody
    desk.requests[j].phase = d.LOST
    begin_wait(desk, j)
    arm(desk, rules, j)


@compiled
def end_task(books: Books, views: Views, desk: Desk, rules: Rules, t: int, start: int) -> None:
    """The task is finished, wherever it is and whoever was talking about it."""
    n = books.home[t]
    if n < 0 or books.starts[t] & d.NUMBER_MASK != start:
        return
    j = books.request[t]
    unlink(books, t, n)
    give_back(books, books.kind[t], n)
    mark(books, views, desk, rules, n)
    books.home[t] = FINISHED
    note(desk, d.F_ENDED, t, n, NOBODY, 0, NOBODY, 0, 0)
    if j >= 0:
        if desk.requests[j].landed_us >= 0:
            release_source(books, views, desk, rules, j)
            keep_move(desk, j)
        else:
            note(desk, d.F_DROPPED, t, n, j, desk.requests[j].number, n, 0, 0)
        books.request[t] = NOBODY
        close_request(desk, j)
