"""Who submits what: jobs drawn as columns, a window of arrivals or the residents of the snapshot at a time."""

from __future__ import annotations

import functools
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traces.synth import calibration as cal
from traces.synth.machines import quantile

# How a job's attempts end by themselves.
FINISHES, FOREVER, CRASHES, RESTARTS = range(4)
FAIL, KILL = 3, 5  # event codes of the trace
NEVER_US = 2**62


@dataclass(frozen=True, slots=True, eq=False)
class Jobs:
    """Jobs as columns, in submission order; row j of every array is the same job.

    tier: index in calibration.TIERS. run_s: typical run time of an attempt. stop_us: when what is left of the job is
    killed (or given up, by `stop_event`), NEVER_US if not. waiting: never scheduled. delay_u: the job's own place in
    its tier's distribution of delays. constraint: position in Cell.candidates.
    """

    submit_us: NDArray[np.int64]
    tasks: NDArray[np.int32]
    priority: NDArray[np.int8]
    tier: NDArray[np.int8]
    scheduling_class: NDArray[np.int8]
    cpu: NDArray[np.float64]
    memory: NDArray[np.float64]
    disk: NDArray[np.float64]
    spread: NDArray[np.bool_]
    user: NDArray[np.int32]
    name: NDArray[np.int32]
    fate: NDArray[np.int8]
    run_s: NDArray[np.float64]
    stop_us: NDArray[np.int64]
    stop_event: NDArray[np.int8]
    waiting: NDArray[np.bool_]
    delay_u: NDArray[np.float64]
    evicted_every_s: NDArray[np.float64]
    constraint: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.submit_us)

    def take(self, rows: NDArray[np.intp]) -> Jobs:
        return Jobs(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def join(parts: list[Jobs]) -> Jobs:
    """Concatenate, in submission order (earlier parts first among equals)."""
    whole = Jobs(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Jobs)})
    return whole.take(np.argsort(whole.submit_us, kind="stable"))


def largest_job(machines: int) -> int:
    return max(4, int(cal.LARGEST_JOB_PER_MACHINE * machines))


def _room(cpu: NDArray[np.float64], memory: NDArray[np.float64], machines: int) -> NDArray[np.int64]:
    """Return how many tasks of these requests a job may have: jobs of a small cell are small."""
    count = sum(shape[3] for shape in cal.SHAPES)
    cell_cpu = machines * sum(shape[0] * shape[3] for shape in cal.SHAPES) / count
    cell_memory = machines * sum(shape[1] * shape[3] for shape in cal.SHAPES) / count
    by_cpu = cal.LARGEST_JOB_CPU * cell_cpu / np.maximum(cpu, 1e-6)
    by_memory = cal.LARGEST_JOB_MEMORY * cell_memory / np.maximum(memory, 1e-6)
    return np.maximum(1, np.minimum(by_cpu, by_memory)).astype(np.int64)


@functools.lru_cache
def mean_tasks(machines: int) -> float:
    """Tasks per arriving job, when jobs may not outgrow the cell."""
    u = (np.arange(50_000) + 0.5) / 50_000
    cap = largest_job(machines)
    sizes = [np.minimum(np.rint(quantile(u, cal.SIZE_U, row.tasks)), cap).mean() for row in cal.PRIORITIES]
    shares = np.array([row.job_share for row in cal.PRIORITIES])
    return float(np.dot(sizes, shares) / shares.sum())


def draw_arrivals(window: int, start_us: int, end_us: int, machines: int, classes: int, seed: int) -> Jobs:
    """Draw the jobs that arrive in [start_us, end_us); windows are drawn independently of each other."""
    rng = np.random.default_rng([seed, 2, window])
    submit_us, companion = _draw_arrival_times(rng, start_us, end_us, machines, seed)
    count = len(submit_us)
    shares = np.array([row.job_share for row in cal.PRIORITIES])
    row = rng.choice(len(shares), count, p=shares / shares.sum())
    u = rng.random(count)
    tasks = np.zeros(count, np.int64)
    for number, priority in enumerate(cal.PRIORITIES):
        mine = row == number
        tasks[mine] = np.rint(quantile(u[mine], cal.SIZE_U, priority.tasks))
    tasks = np.minimum(tasks, largest_job(machines))
    size = np.where(tasks >= cal.BIG_JOB, "big", "small")
    tier = np.array([cal.TIERS.index(p.tier) for p in cal.PRIORITIES], np.int8)[row]
    cpu, memory, disk = _draw_requests(rng, tier, size)
    tasks = np.minimum(tasks, _room(cpu, memory, machines))
    wide = tasks >= cal.DIFFERENT_MACHINES_BIG
    spread = rng.random(count) < np.where(wide, cal.DIFFERENT_MACHINES["big"], cal.DIFFERENT_MACHINES["small"])
    spread &= tasks <= max(1, cal.LARGEST_SPREAD_JOB_PER_MACHINE * machines)
    user = _draw_users(rng, count)
    leader = np.maximum.accumulate(np.where(companion, 0, np.arange(count)))
    jobs = Jobs(
        submit_us=submit_us,
        tasks=tasks.astype(np.int32),
        priority=np.array([p.priority for p in cal.PRIORITIES], np.int8)[row],
        tier=tier,
        scheduling_class=_draw_classes(rng, row, [p.classes for p in cal.PRIORITIES]),
        cpu=cpu,
        memory=memory,
        disk=disk,
        spread=spread,
        user=user[leader],
        name=_draw_names(rng, count),
        delay_u=rng.random(count),
        evicted_every_s=np.array([p.evicted_every_s for p in cal.PRIORITIES])[row],
        constraint=_draw_constraints(rng, spread, classes),
        **_draw_fates(rng, submit_us, tier, size, tasks <= max(1, cal.LARGEST_LOOPING_JOB_PER_MACHINE * machines)),
    )
    return jobs


def _draw_arrival_times(
    rng: np.random.Generator, start_us: int, end_us: int, machines: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Draw from a Poisson process whose rate follows the hour, the day and the minute, with companions within 1 s."""
    bins = max(1, round((end_us - start_us) / 60_000_000))
    edges = np.linspace(start_us, end_us, bins + 1)
    since_start = edges[:-1] - cal.TRACE_START_US
    day = np.floor(since_start / cal.DAY_US).astype(int)
    shape = cal.DAY_GAMMA_SHAPE
    day_rate = {d: np.random.default_rng([seed, 3, d + 100]).gamma(shape, 1 / shape) for d in set(day.tolist())}
    hour_rate = np.array(cal.HOUR_JOBS) / np.mean(cal.HOUR_JOBS)
    rate = machines * cal.TASKS_PER_MACHINE_DAY / mean_tasks(machines) / cal.DAY_US
    expected = rate * np.diff(edges) * hour_rate[np.floor(since_start / 3.6e9).astype(int) % 24]
    expected *= np.array([day_rate[d] for d in day.tolist()])
    expected *= rng.gamma(cal.MINUTE_GAMMA_SHAPE, 1 / cal.MINUTE_GAMMA_SHAPE, bins)
    counts = rng.poisson(expected)
    minute = np.repeat(np.arange(bins), counts)
    times = np.sort(edges[minute] + rng.random(len(minute)) * (edges[1] - edges[0]))
    companion = rng.random(len(times)) < cal.COMPANION_SHARE
    companion[:1] = False
    leader = np.maximum.accumulate(np.where(companion, 0, np.arange(len(times))))
    times = np.where(companion, times[leader] + rng.random(len(times)) * 1e6, times)
    times = np.minimum(times.astype(np.int64), end_us - 1)
    order = np.argsort(times, kind="stable")
    # After sorting, a companion stands behind its leader or behind another leader of the same second: either will do.
    return times[order], companion[order]


def _draw_requests(
    rng: np.random.Generator, tier: NDArray[np.int8], size: NDArray[np.str_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Draw CPU, memory and disk requests, rounded to the popular sizes."""
    count = len(tier)
    cpu, memory, disk = np.zeros(count), np.zeros(count), np.zeros(count)
    u_cpu, u_memory, u_disk, shared = rng.random((4, count))
    for (name, kind), cpu_quantiles in cal.CPU_REQUEST.items():
        mine = (tier == cal.TIERS.index(name)) & (size == kind)
        u = np.where(shared < cal.REQUEST_CORRELATION[name], u_cpu, u_memory)[mine]
        cpu[mine] = quantile(u_cpu[mine], cal.REQUEST_U, cpu_quantiles)
        memory[mine] = quantile(u, cal.REQUEST_U, cal.MEMORY_REQUEST[name, kind])
        disk[mine] = quantile(u_disk[mine], cal.REQUEST_U, cal.DISK_REQUEST[name])
    return round_cpu(cpu), round_memory(memory), _four_digits(disk)


def round_cpu(cpu: NDArray[np.float64]) -> NDArray[np.float64]:
    sizes = np.array(cal.CPU_SIZES)
    return sizes[np.searchsorted((sizes[1:] + sizes[:-1]) / 2, cpu)]


def round_memory(memory: NDArray[np.float64]) -> NDArray[np.float64]:
    small, large = cal.MEMORY_STEPS
    step = np.where(memory < 2 * large, small, large)
    rounded = np.where(memory < small / 2, memory, np.maximum(1, np.rint(memory / step)) * step)
    return _four_digits(np.minimum(rounded, 0.955))


def _four_digits(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round to 4 significant digits, and to millionths: the engine counts in them."""
    scale = 10.0 ** (3 - np.floor(np.log10(np.maximum(values, 1e-6))))
    return np.round(np.rint(values * scale) / scale, 6)


def _draw_classes(rng: np.random.Generator, row: NDArray[np.intp], table: list[tuple[float, ...]]) -> NDArray[np.int8]:
    edges = np.cumsum(np.array(table), axis=1)
    edges /= edges[:, -1:]
    drawn: NDArray[np.int64] = (rng.random(len(row))[:, None] > edges[row]).sum(axis=1)
    return drawn.astype(np.int8)


@functools.lru_cache
def _user_edges() -> NDArray[np.float64]:
    ranks, shares = zip(*cal.USER_SHARE, strict=True)
    weight = np.exp(np.interp(np.log(np.arange(1, cal.USERS + 1)), np.log(ranks), np.log(shares)))
    return np.asarray(np.cumsum(weight) / weight.sum())


def _draw_users(rng: np.random.Generator, count: int) -> NDArray[np.int32]:
    return np.searchsorted(_user_edges(), rng.random(count)).astype(np.int32)


def _draw_names(rng: np.random.Generator, count: int) -> NDArray[np.int32]:
    edges = np.cumsum(1 / np.arange(1, cal.NAMES_PER_USER + 1))
    return np.searchsorted(edges / edges[-1], rng.random(count)).astype(np.int32)


def _draw_constraints(rng: np.random.Generator, spread: NDArray[np.bool_], classes: int) -> NDArray[np.int8]:
    """Pick a constraint class for a few jobs, never together with different machines: both could leave no place."""
    constrained = (rng.random(len(spread)) < cal.CONSTRAINED_JOBS) & ~spread
    drawn = rng.integers(1, max(classes, 2), len(spread))
    return np.where(constrained & (classes > 1), drawn, 0).astype(np.int8)


def _draw_fates(
    rng: np.random.Generator,
    submit_us: NDArray[np.int64],
    tier: NDArray[np.int8],
    size: NDArray[np.str_],
    may_loop: NDArray[np.bool_],
) -> dict[str, NDArray[Any]]:
    """Decide which jobs finish, are killed, or crash and come back until they give up; and when."""
    count = len(submit_us)
    u = rng.random(count)
    loops = np.array([cal.LOOPING_JOBS.get(name, 0.0) for name in cal.TIERS])[tier]
    looping = (u < loops) & may_loop
    killed = (u >= loops) & (u < loops + np.where(size == "big", cal.KILLED_JOBS["big"], cal.KILLED_JOBS["small"]))
    fate = np.where(looping, np.where(rng.random(count) < cal.KILL_LOOP_SHARE, RESTARTS, CRASHES), FINISHES)
    fate[killed] = FOREVER
    u_run, u_stop = rng.random((2, count))
    run_s, stop_s = np.zeros(count), np.zeros(count)
    for (name, kind), quantiles in cal.FINISH_AFTER_S.items():
        mine = (tier == cal.TIERS.index(name)) & (size == kind)
        run_s[mine] = quantile(u_run[mine], cal.RUN_U, quantiles)
        stop_s[mine] = quantile(u_stop[mine], cal.RUN_U, cal.KILL_AFTER_S[name, kind])
    run_s[looping] = quantile(u_run[looping], cal.RUN_U, cal.LOOP_RUN_S)
    life_s = rng.lognormal(np.log(cal.LOOP_LIFE_MEDIAN_S), cal.LOOP_LIFE_SIGMA, count)
    stop_s[looping] = np.minimum(life_s, cal.LOOP_LIFE_MOST_S)[looping]
    stops = looping | killed
    return {
        "fate": fate.astype(np.int8),
        "run_s": run_s,
        "stop_us": np.where(stops, submit_us + (stop_s * 1e6).astype(np.int64), NEVER_US),
        "stop_event": np.where(fate == CRASHES, FAIL, KILL).astype(np.int8),
        "waiting": killed & (size == "big") & (rng.random(count) < cal.WAITING_JOBS),
    }


@dataclass(frozen=True, slots=True)
class Target:
    """What the residents of one tier must add to what runs already, in units of the largest machine."""

    tier: str
    cpu: float
    memory: float
    waiting: bool = False


def find_targets(requested: NDArray[np.float64], cpu: float, memory: float) -> list[Target]:
    """Return what residents must add to `requested` (tiers, 2) to make the recorded population of time 0.

    cpu, memory: the cell's capacity.
    """
    targets = []
    for tier, (has_cpu, has_memory) in zip(cal.TIERS, requested.tolist(), strict=True):
        wants_cpu, wants_memory = cal.SNAPSHOT_CPU[tier] * cpu, cal.SNAPSHOT_MEMORY[tier] * memory
        targets.append(Target(tier, wants_cpu - has_cpu, max(wants_memory - has_memory, 0.05 * wants_memory)))
    for tier, share in cal.SNAPSHOT_WAITING_CPU.items():
        targets.append(Target(tier, share * cpu, share * memory, waiting=True))
    return targets


def draw_residents(targets: list[Target], machines: int, end_us: int, classes: int, seed: int) -> tuple[Jobs, Jobs]:
    """Draw long-running jobs that fill the targets at time 0, and the successors of those that end before `end_us`.

    A resident lives for an exponential time; its successor has the same shape, so that the cell stays as full as it
    was. A target without CPU gets no jobs.
    """
    rng = np.random.default_rng([seed, 4])
    first = [_fill(rng, target, machines, classes) for target in targets if target.cpu > 0]
    residents = join([jobs for jobs in first if len(jobs)]) if first else _fill(rng, targets[0], machines, classes)
    return residents, _draw_successors(rng, residents, end_us)


def _fill(rng: np.random.Generator, target: Target, machines: int, classes: int) -> Jobs:
    rows = [row for row in cal.RESIDENTS if row.tier == target.tier]
    batches, filled = [_draw_resident_batch(rng, rows, target, machines, classes)], 0.0
    while (filled := sum(float((b.tasks * b.cpu).sum()) for b in batches)) < target.cpu and len(rows) > 1:
        batches.append(_draw_resident_batch(rng, rows, target, machines, classes))
    jobs = join(batches)
    reached = np.cumsum(jobs.tasks * jobs.cpu)
    count = min(len(jobs), int(np.searchsorted(reached, target.cpu)) + 1) if len(rows) > 1 else len(jobs)
    jobs = jobs.take(np.arange(count if target.cpu > 0 else 0))
    if len(rows) > 1 and count and filled:
        _trim_last(jobs, float(reached[count - 1] - target.cpu))
    requested = float((jobs.tasks * jobs.memory).sum())
    if requested == 0:
        return jobs
    return replace(jobs, memory=round_memory(jobs.memory * min(3.0, max(0.3, target.memory / requested))))


def _trim_last(jobs: Jobs, excess: float) -> None:
    if len(jobs) and jobs.cpu[-1] > 0:
        jobs.tasks[-1] = max(1, jobs.tasks[-1] - int(excess / jobs.cpu[-1]))


def _draw_resident_batch(
    rng: np.random.Generator, rows: list[cal.Resident], target: Target, machines: int, classes: int
) -> Jobs:
    """Draw one batch of residents of a tier, all submitted at time 0."""
    monitoring = target.tier == "monitoring"
    count = len(cal.MONITORING_SPREAD) if monitoring else 64
    shares = np.array([row.job_share for row in rows])
    row = rng.choice(len(rows), count, p=shares / shares.sum())
    tier = np.full(count, cal.TIERS.index(target.tier), np.int8)
    cpu, memory, disk = _draw_requests(rng, tier, np.full(count, "resident"))
    if monitoring:
        tasks = np.maximum(1, np.rint(np.array(cal.MONITORING_SPREAD) * machines))
        cpu = _four_digits(np.full(count, target.cpu / tasks.sum()))
        spread = np.ones(count, bool)
    else:
        u = rng.random(count)
        tasks = np.array([quantile(u[j], cal.RESIDENT_SIZE_U, rows[row[j]].tasks) for j in range(count)])
        # A small cell has no room for giants: no job takes more than a quarter of what its tier runs.
        room = np.maximum(1, 0.25 * target.cpu / np.maximum(cpu, cal.CPU_SIZES[1]))
        tasks = np.minimum(np.rint(tasks), np.minimum(room, largest_job(machines)))
        wide = tasks >= cal.DIFFERENT_MACHINES_BIG
        spread = rng.random(count) < np.where(wide, cal.RESIDENT_SPREAD["big"], cal.RESIDENT_SPREAD["small"])
        spread &= tasks <= max(1, cal.LARGEST_SPREAD_JOB_PER_MACHINE * machines)
    life = np.array([cal.WAITING_LIFE_S if target.waiting else r.life_s for r in rows])[row]
    lives = rng.exponential(life) * 1e6 + 1e9
    return Jobs(
        submit_us=np.zeros(count, np.int64),
        tasks=tasks.astype(np.int32),
        priority=np.array([r.priority for r in rows], np.int8)[row],
        tier=tier,
        scheduling_class=_draw_classes(rng, row, [r.classes for r in rows]),
        cpu=cpu,
        memory=memory,
        disk=disk,
        spread=spread,
        user=_draw_users(rng, count),
        name=_draw_names(rng, count),
        fate=np.full(count, FOREVER, np.int8),
        run_s=life,  # not a run time here: the mean life, which successors are drawn with
        stop_us=cal.TRACE_START_US + np.minimum(lives, NEVER_US / 2).astype(np.int64),
        stop_event=np.full(count, KILL, np.int8),
        waiting=np.full(count, target.waiting),
        delay_u=rng.random(count),
        evicted_every_s=np.array([r.evicted_every_s for r in rows])[row],
        constraint=_draw_constraints(rng, spread, classes),
    )


def _draw_successors(rng: np.random.Generator, residents: Jobs, end_us: int) -> Jobs:
    generations = [residents.take(np.arange(0))]
    current = residents
    while len(current):
        current = current.take(np.flatnonzero(current.stop_us < end_us))
        submit_us = current.stop_us + 1_000_000 + (rng.exponential(cal.REDEPLOY_GAP_S, len(current)) * 1e6).astype(int)
        lives = rng.exponential(current.run_s) * 1e6 + 1e9
        stop_us = submit_us + np.minimum(lives, NEVER_US / 2).astype(np.int64)
        current = replace(current, submit_us=submit_us, stop_us=stop_us, delay_u=rng.random(len(current)))
        current = current.take(np.flatnonzero(current.submit_us < end_us))
        generations.append(current)
    return join(generations)
