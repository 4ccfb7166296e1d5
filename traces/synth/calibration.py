"""What a synthetic cell is made of: every number of the generator, with its origin.

Origins. [S] measured on parts 0-13 of Google's ClusterData 2011 v2 (19.65 h of the whole cell: 2,609,335 task events,
614,019 tasks, 12,477 machines). [J] measured on the whole month of job_events (672,074 jobs). [M] measured on the whole
month of machine_events. [C] chosen so that the output meets a target, which the comment names. Only summaries stand
here (shares, quantiles, means); no row of the trace is copied.

Resources are shares of the largest machine, times are seconds unless a name says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

# Layout of the published trace.
PART_US = 5_011_200_000  # 29 days in 500 parts
TRACE_START_US = 600_000_000  # time 0 is the snapshot, the first event comes after 600 s
DAY_US = 86_400_000_000
WARM_UP_PARTS = 18  # about a day simulated before the snapshot, so that it holds jobs of every age

# Load.
# [C] 25 million tasks on 12,500 machines in 29 days; the slice alone has 46 per machine and day ([S]), the month's
# job_events have 1.25 times the slice's jobs per hour ([J]).
TASKS_PER_MACHINE_DAY = 72.0
# [S] CPU and memory that running tasks request at time 0, per tier, as a share of the cell's capacity.
SNAPSHOT_CPU = {"free": 0.219, "middle": 0.184, "production": 0.664, "monitoring": 0.068}
SNAPSHOT_MEMORY = {"free": 0.164, "middle": 0.184, "production": 0.555, "monitoring": 0.029}
# [S] Tasks pending at time 0 that wait for hours: CPU they request, as a share of capacity. Half of the
# recorded 7.3 % and 5.8 %: the arrivals' own waiting tasks make up the rest.
SNAPSHOT_WAITING_CPU = {"free": 0.036, "middle": 0.029}
SNAPSHOT_INCOMPLETE = 0.002  # [S] share of snapshot SUBMIT rows with missing info 2: machine named, request empty

# Arrivals.
# [J] jobs per hour of the day, hour 0 starting at 600 s (19:00 EDT); mean 27,962.
HOUR_JOBS = (28954, 28483, 26349, 24598, 23254, 37471, 28042, 27125, 26111, 32377, 23407, 23042,
             24566, 26471, 25793, 29378, 28208, 26933, 27268, 25942, 29934, 32959, 32051, 29373)  # fmt: skip
DAY_GAMMA_SHAPE = 25.0  # [J] day totals spread by 20 % around their mean
MINUTE_GAMMA_SHAPE = 4.0  # [S] jobs per minute: mean 13.25, variance 57 = mean + mean^2 / shape
COMPANION_SHARE = 0.36  # [S] 36 % of jobs come from the user of the job before ([J] 41 %)
SUBMIT_STEP_US = 1  # [S] a job's tasks are submitted 1 us apart: 10,500 in 10.5 ms
STOP_STEP_US = 3  # [S] and killed 3 us apart

# [J] share of all jobs by rank of user; log-log interpolation between.
USERS = 933
USER_SHARE = ((1, 0.146), (2, 0.104), (5, 0.0381), (10, 0.0228), (20, 0.0125), (50, 0.00284), (100, 6.1e-4),
              (200, 1.27e-4), (500, 1.2e-5), (933, 1.5e-6))  # fmt: skip
NAMES_PER_USER = 500  # [C] gives about the month's 39,730 logical job names; rank r of them weighs 1/r

TIERS = ("free", "middle", "production", "monitoring")


@dataclass(frozen=True, slots=True)
class Priority:
    """One priority's jobs: share of arriving jobs, tasks per job at SIZE_U, scheduling classes 0-3, eviction."""

    priority: int
    tier: str
    job_share: float
    tasks: tuple[float, ...]
    classes: tuple[float, ...]
    evicted_every_s: float  # running time per eviction of tasks that arrived in the slice


SIZE_U = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999, 1.0)
# [S] all columns; the largest job of priority 2 is set to the slice's 19,497 tasks (a job of the snapshot there).
PRIORITIES = (
    Priority(0, "free", 0.257, (1, 1, 1, 1, 2, 38, 110, 200, 502, 1998, 2450), (0.25, 0.37, 0.38, 0.0), 9_180),
    Priority(1, "free", 0.200, (1, 1, 1, 1, 1, 1, 1, 10, 30, 2047, 4000), (0.59, 0.16, 0.24, 0.01), 40_900),
    Priority(2, "middle", 0.258, (1, 1, 3, 11, 18, 100, 200, 1000, 1050, 5045, 19_497), (0.41, 0.5, 0.09, 0), 257_500),
    Priority(4, "middle", 0.034, (1, 2, 7, 15, 50, 100, 318, 591, 949, 5000, 5000), (0.45, 0.48, 0.07, 0.0), 689_000),
    Priority(6, "middle", 0.014, (1, 1, 1, 2, 9, 11, 14, 14, 29, 31, 31), (0.32, 0.51, 0.17, 0.0), 882_000),
    Priority(8, "middle", 0.157, (1, 1, 1, 1, 1, 1, 1, 50, 50, 50, 50), (0.22, 0.36, 0.41, 0.01), 882_000),
    Priority(9, "production", 0.080, (1, 1, 1, 1, 1, 1, 3, 30, 41, 128, 128), (0.51, 0.41, 0.04, 0.04), 2_080_000),
)
# [S] 20,010 tasks in the largest job of a 12,477-machine cell; a smaller cell gets proportionally smaller giants.
LARGEST_JOB_PER_MACHINE = 1.6
LARGEST_JOB_CPU, LARGEST_JOB_MEMORY = 0.08, 0.136  # [S] what the largest arriving jobs ask of the cell's capacity
BIG_JOB = 20  # tasks; requests and run times differ between jobs below and from this size
# Share of jobs below and from 200 tasks: small [S], big [C] for the recorded 15 % of submissions ([S]: 27 % of jobs).
DIFFERENT_MACHINES = {"small": 0.0135, "big": 0.16}
DIFFERENT_MACHINES_BIG = 200
LARGEST_SPREAD_JOB_PER_MACHINE = 0.35  # [S] 4,408 different-machines tasks on 12,477 machines
CONSTRAINED_JOBS = 0.06  # [C] no public sample of task_constraints is at hand to measure


@dataclass(frozen=True, slots=True)
class Resident:
    """Long-running jobs of the snapshot, one row per priority: share of its tier's jobs, then as `Priority`."""

    priority: int
    tier: str
    job_share: float
    tasks: tuple[float, ...]  # at RESIDENT_SIZE_U
    classes: tuple[float, ...]
    evicted_every_s: float
    life_s: float  # mean time until the job is killed and its next version submitted


RESIDENT_SIZE_U = (0.0, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0)
_FREE, _MID, _PROD = (
    (1, 1, 2, 10, 47, 707, 4869, 19497),
    (1, 1, 31, 100, 277, 987, 5000, 5000),
    (1, 1, 5, 29, 100, 340, 1292, 3090),
)
# [S] jobs of the snapshot; evictions of priority 0 are 6 times rarer than among new tasks; 7 % of production jobs,
# 25 % of free and 45 % of mid ones ended in 0.81 days.
RESIDENTS = (
    Resident(0, "free", 0.50, _FREE, (0.45, 0.25, 0.30, 0.0), 58_000, 3.0 * 86_400),
    Resident(1, "free", 0.50, _FREE, (0.20, 0.11, 0.60, 0.09), 250_000, 3.0 * 86_400),
    Resident(2, "middle", 0.40, _MID, (0.70, 0.22, 0.07, 0.01), 1_500_000, 2.0 * 86_400),
    Resident(8, "middle", 0.60, _MID, (0.12, 0.31, 0.39, 0.18), 4_000_000, 2.0 * 86_400),
    Resident(9, "production", 0.82, _PROD, (0.04, 0.46, 0.24, 0.26), 9_600_000, 14.0 * 86_400),
    Resident(10, "production", 0.18, (1, 1, 1, 2, 5, 30, 53, 53), (0.01, 0.08, 0.74, 0.17), 9_600_000, 14.0 * 86_400),
    Resident(11, "monitoring", 1.0, (0,), (0.0, 0.0, 1.0, 0.0), 1e12, 1e9),
)
# [S] the three monitoring jobs run on this share of the machines each, one task per machine.
MONITORING_SPREAD = (0.311, 0.155, 0.059)
RESIDENT_SPREAD = {"small": 0.19, "big": 0.45}  # [S] share of resident jobs with different machines
RESIDENT_FAILS_EVERY_S = 5.3e6  # [S] 659 failures of 49,513 production tasks in 19.5 h
REDEPLOY_GAP_S = 600.0  # [C] the pause between a killed resident and its successor
WAITING_LIFE_S = 86_400.0  # [C] mean wait of a task that never starts, until its job is killed

# Requests: quantiles at REQUEST_U over tasks, by tier and job size ([S], tasks first submitted in the slice; `resident`
# over the snapshot). Equal neighbours are the popular sizes.
REQUEST_U = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0)
CPU_REQUEST = {
    ("free", "small"): (0.0, 0.0, 0.00625, 0.009375, 0.03125, 0.0625, 0.125, 0.5),
    ("free", "big"): (0.0, 0.009375, 0.0125, 0.0125, 0.0625, 0.0625, 0.06875, 0.125),
    ("free", "resident"): (0.0, 0.00625, 0.0125, 0.0125, 0.0625, 0.0625, 0.25, 0.4375),
    ("middle", "small"): (0.0, 0.00625, 0.009375, 0.025, 0.0625, 0.06875, 0.1, 0.25),
    ("middle", "big"): (0.0, 0.00625, 0.0175, 0.0275, 0.0625, 0.0735, 0.1875, 0.194),
    ("middle", "resident"): (0.0, 0.025, 0.03125, 0.0625, 0.0625, 0.078125, 0.25, 0.5),
    ("production", "small"): (0.0, 0.0, 0.0, 0.00625, 0.0625, 0.0625, 0.075, 0.5),
    ("production", "big"): (0.00625, 0.00625, 0.00625, 0.0125, 0.08125, 0.08125, 0.24, 0.24),
    ("production", "resident"): (0.0, 0.01875, 0.0625, 0.06875, 0.125, 0.1875, 0.375, 0.5),
    ("monitoring", "resident"): (0.053125, 0.053125, 0.0625, 0.0625, 0.09375, 0.09375, 0.09375, 0.1125),
}
MEMORY_REQUEST = {
    ("free", "small"): (0.0, 0.000155, 0.00406, 0.0101, 0.0155, 0.0318, 0.0823, 0.2544),
    ("free", "big"): (0.0, 0.00402, 0.0119, 0.0246, 0.0318, 0.0575, 0.1243, 0.1243),
    ("free", "resident"): (0.0, 0.00388, 0.0155, 0.0159, 0.0318, 0.0532, 0.14, 0.637),
    ("middle", "small"): (0.0, 0.00207, 0.00294, 0.00752, 0.0124, 0.0318, 0.0636, 0.191),
    ("middle", "big"): (0.0012, 0.00466, 0.0113, 0.0254, 0.0398, 0.1228, 0.1592, 0.1592),
    ("middle", "resident"): (0.0003, 0.0132, 0.0207, 0.0557, 0.1184, 0.1592, 0.1592, 0.955),
    ("production", "small"): (0.0, 0.000155, 0.000155, 0.00388, 0.0318, 0.1034, 0.1335, 0.191),
    ("production", "big"): (0.004, 0.004, 0.00777, 0.0109, 0.062, 0.0859, 0.09, 0.1),
    ("production", "resident"): (0.0, 0.00622, 0.028, 0.0565, 0.0857, 0.154, 0.233, 0.955),
    ("monitoring", "resident"): (0.016, 0.016, 0.0256, 0.0256, 0.032, 0.032, 0.032, 0.064),
}
DISK_REQUEST = {
    "free": (0.0, 0.000008, 0.000038, 0.000193, 0.000579, 0.000753, 0.0113, 0.0113),
    "middle": (0.0, 0.000019, 0.000038, 0.000386, 0.000386, 0.00116, 0.00116, 0.00193),
    "production": (0.0, 0.000019, 0.000077, 0.000333, 0.000638, 0.00095, 0.0034, 0.00972),
    "monitoring": (0.00007, 0.00007, 0.00007, 0.00007, 0.00124, 0.00124, 0.00124, 0.00124),
}
# [S] correlation of log CPU and log memory.
REQUEST_CORRELATION = {"free": 0.3, "middle": 0.56, "production": 0.55, "monitoring": 0.9}
# [S] the popular CPU sizes, to which requests are rounded; eight of them make three quarters of all submissions.
CPU_SIZES = (0.0, 0.000625, 0.003125, 0.00625, 0.009375, 0.0125, 0.01562, 0.01875, 0.025, 0.03125, 0.0375, 0.05, 0.0625,
             0.06875, 0.1, 0.125, 0.1875, 0.25, 0.3125, 0.375, 0.4375, 0.5)  # fmt: skip
MEMORY_STEPS = (0.001554, 0.00795)  # [S] popular memory sizes are multiples of these, below and above 0.0159

# What becomes of a job. [J] of those that arrived and ended: FINISH 57.8 %, KILL 40.6 %, FAIL 1.5 %; [S] by size.
KILLED_JOBS = {"small": 0.41, "big": 0.30}
# [J] 1.5 % of jobs end in FAIL: their tasks crash and come back until the job gives up. [C] the split over tiers.
LOOPING_JOBS = {"free": 0.025, "middle": 0.008, "production": 0.02}
KILL_LOOP_SHARE = 0.12  # [S] of the looping ones: killed and resubmitted instead of failing
WAITING_JOBS = 0.15  # [S] of the killed big jobs: never scheduled (7 % of the slice's new tasks)
STRAGGLER_KILLS = 0.08  # [S] of the tasks of finishing jobs: killed one by one at their end
STRAY_FAILS = 0.015  # [S] attempts of finishing jobs that fail half-way and are resubmitted
RUN_TIME_SPREAD = 0.15  # [S] median standard deviation of log run time within a job

RUN_U = (0.0, 0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0)
# [S] run time of tasks that finish, by tier and job size.
FINISH_AFTER_S = {
    ("free", "small"): (10, 20, 30, 82, 209, 518, 1053, 3477, 14_780, 30_000),
    ("free", "big"): (40, 73, 185, 395, 4682, 7765, 12_503, 24_632, 25_354, 26_000),
    ("middle", "small"): (15, 34, 88, 177, 347, 948, 1872, 5725, 18_438, 40_000),
    ("middle", "big"): (20, 41, 198, 523, 1298, 3375, 7463, 10_931, 41_021, 60_000),
    ("production", "small"): (10, 18, 25, 31, 246, 667, 5242, 9342, 14_953, 20_000),
    ("production", "big"): (15, 21, 32, 119, 152, 172, 180, 198, 201, 210),
}
# [S] time from submission to the kill of the job; the upper end of small jobs from [J].
KILL_AFTER_S = {
    ("free", "small"): (15, 30, 93, 210, 445, 1695, 3526, 15_523, 86_400, 172_800),
    ("free", "big"): (20, 45, 199, 1073, 5956, 14_126, 42_679, 49_727, 49_727, 60_000),
    ("middle", "small"): (20, 54, 106, 215, 398, 975, 2172, 11_894, 86_400, 172_800),
    ("middle", "big"): (20, 48, 202, 634, 3564, 6298, 20_888, 22_956, 26_166, 40_000),
    ("production", "small"): (50, 211, 960, 5221, 8781, 13_701, 25_425, 43_376, 86_400, 172_800),
    ("production", "big"): (100, 179, 5267, 6254, 8717, 43_376, 43_376, 43_376, 43_376, 43_376),
}
LOOP_RUN_S = (20, 40, 60, 100, 250, 870, 1500, 5000, 10_000, 20_000)  # [S] run time of attempts that fail and come back
# [C] the life of a looping job (log-normal median and sigma): set so that 25 million tasks make about 150 million
# events. The slice alone is calmer, with 4.3 events per task and 2.4 % of ends in FAIL.
LOOP_LIFE_MEDIAN_S, LOOP_LIFE_SIGMA, LOOP_LIFE_MOST_S = 22_000.0, 1.2, 86_400.0
LARGEST_LOOPING_JOB_PER_MACHINE = 0.08  # [S] 986 tasks; a larger job does not loop

DELAY_U = (0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0)
# [S] SUBMIT to SCHEDULE of first attempts, then of later ones.
FIRST_DELAY_S = {
    "free": (0.6, 1.493, 1.577, 1.81, 2.68, 4.41, 39.1, 50.4, 559, 4401, 20_000),
    "middle": (0.6, 0.764, 0.847, 1.6, 2.83, 13.99, 61.1, 80, 2782, 7409, 20_000),
    "production": (0.6, 1.42, 1.447, 1.558, 1.73, 3.67, 41.9, 64.9, 84, 104, 200),
    "monitoring": (1, 2.6, 17, 21, 25, 29, 32, 33, 51, 59, 60),
}
AGAIN_DELAY_S = {
    "free": (0.6, 1.449, 1.526, 1.762, 6.82, 148, 1285, 2558, 8473, 29_255, 40_000),
    "middle": (0.6, 1.468, 1.522, 1.639, 1.92, 7.93, 32.5, 38.9, 192, 2981, 7000),
    "production": (0.6, 1.41, 1.45, 1.54, 1.744, 4.05, 28.5, 32.6, 42, 73.3, 200),
    "monitoring": (1, 2.6, 17, 21, 25, 29, 32, 33, 51, 59, 60),
}
SHARED_DELAY = 0.5  # [C] share of a job's tasks that wait as long as their job: jobs start in bursts of up to 6,000/s
EVICT_RESUBMIT_US, FAIL_RESUBMIT_US, KILL_RESUBMIT_US = 7, 12, 3  # [S] medians

# Machines. [M] number of distinct machines per shape; the name of a platform is synthetic.
SHAPES = ((0.5, 0.4995, "B", 6711), (0.5, 0.2493, "B", 3860), (0.5, 0.749, "B", 1001), (1.0, 1.0, "C", 793),
          (0.25, 0.2498, "A", 123), (0.5, 0.1241, "B", 54), (0.5, 0.03085, "B", 5), (0.5, 0.9678, "B", 4),
          (1.0, 0.5, "C", 3), (0.5, 0.06158, "B", 1))  # fmt: skip
UNKNOWN_CAPACITY = 32 / 12_583  # [M] machines without capacity
REMOVES_PER_MACHINE_DAY = 8957 / 12_477 / 29  # [M]
REMOVE_GAMMA_SHAPE = 0.8  # [M] 59 % of machines are never removed, 9 % twice
UPDATES_PER_MACHINE_DAY = 7380 / 12_477 / 29  # [M] 10 % of machines have all of them; 99.9 % change no capacity
UPDATED_MACHINES = 0.10
NEVER_BACK = 97 / 8957  # [M] removed for good
NEW_PER_MACHINE_DAY = 106 / 12_477 / 29  # [M] machines first seen after time 0
GAP_U = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0)
GAP_S = (5, 99, 398, 998, 7138, 31_162, 328_668, 1_500_000)  # [M] REMOVE to ADD
EVICT_AFTER_REMOVE_US, EVICT_STEP_US = 50, 60  # [S] 52 us, median 489 us

# Over-commit. [S] requests over capacity per machine at time 0: CPU median 1.15, p99 1.48; memory 0.98 and 1.54.
CPU_OVERCOMMIT, MEMORY_OVERCOMMIT = 1.48, 1.54
RETRY_S = 30.0  # [C] mean pause before a task that found no machine asks again
MOST_TASKS_PER_MACHINE = 1000  # [C] bounds the evictions of one REMOVE; the slice's fullest machine runs 29 at time 0

# task_usage (only with --usage). [C] from the 120 public rows only the columns' ranges are known.
USAGE_WINDOW_US = 300_000_000
