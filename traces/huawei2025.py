"""Huawei's serverless release of 2025 ("Serverless Cold Starts and Where to Find Them", EuroSys): 31 days, 5 regions.

Laid out as released: `cold_start/R1/day_00.csv` (one row per cold start), `quantiles/R1/METRIC/day_00.csv` (a row per
minute, a column per function, NaN for none), `per_request/R5/*.csv` (every call, day 30 only) and
`runtime_triggerType/df_funcID_runtime_triggerType.csv` (R2 only). Cold starts per minute and region, summed up by
others, are read as `series`. Times are seconds from the start of the trace, not of the day. What the paper's Table 1
calls to_us, bytes and millicores the files hold in seconds, MB and cores.

A function is told by its region and funcID `funcName---userID---poolName`; the rows of events lack the pool, which is
their podID (`pool22-300-128-0000577863`: pool, millicores, MB, serial) without the serial. What a pod may use is in the
pool's name; what it asks for is in the table of runtimes, else in CPU_REQUEST. Calls per minute come with window_us
60 s, single ones with 0. On day 30, which may have both, the single calls of a function are taken off its minute, whose
row holds the rest: every call counts once. (The release lists single calls in part only.) A single call starts at the
worker's timestamp; the release does not say which end of the call that marks.

Triggers are grouped as the paper does (§4.2), which gives its seven numbers of functions exactly: a list that holds
TIMER-A counts as TIMER-A; APIG-S, OBS-A and workflow-S stand for themselves when alone; no list, "unknown",
"unknown-unknown" and "unknown-A unknown-S" are unknown. How the paper split the six other mixed lists is not said;
asynchronous is here what holds APIG-A or no synchronous trigger.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from traces.errors import TraceFormatError
from traces.huawei import DAY, MAX_S, TIME, TIME_RULES, WHOLE_CELL, day_of, is_sound, named_day, per_function, to_us
from traces.layout import Field, Layout, Relation, Rule, once
from traces.reader import Reader
from traces.schema import PLAIN_UNITS, TIERS_NONE, Gap
from traces.serverless import SERIES, Assembly, sql_of, synthetic_days
from traces.sources import SourceFile, ranges
from traces.wide import CELL, LABEL, absent, lines_csv, long_csv

DAYS, MINUTE_US = 31, 60_000_000
REGIONS = ("R1", "R2", "R3", "R4", "R5")
KNOWN_RUNTIMES = "R2"  # the only region whose runtimes and triggers were released
# Millicores that a pod may use -> that it asks for, as the release's README says.
CPU_REQUEST = {
    300: 100, 400: 125, 600: 300, 800: 375, 1000: 500, 1200: 625, 1400: 750, 1600: 875, 1800: 1000, 2200: 1250,
    2600: 1500, 3000: 1750, 3400: 2000, 6600: 4000, 8200: 5000, 13_000: 6500, 25_800: 12_900,
}  # fmt: skip
COUNTS = "cold_starts_per_minute"
KINDS = "runtime_triggerType"
KINDS_FILE = "df_funcID_runtime_triggerType"
REGION_OF = re.compile(r"R\d+")


def _seconds(key: str, name: str, *, mandatory: bool = True) -> Field:
    return Field(key, name, "number", mandatory=mandatory, low=0, high=MAX_S, names=(name,))


def _text(key: str, name: str, *, mandatory: bool = True) -> Field:
    return Field(key, name, mandatory=mandatory, names=(name,))


POD_RULES = (
    Rule("pod", "must be pool-CPU-memory-serial", "NOT regexp_full_match(pod, '[^-]+-[0-9]{1,9}-[0-9]{1,9}-[0-9]+')"),
)


def _region(file: Path) -> str | None:
    """The region whose folder a file is in."""
    return next((folder.name for folder in list(file.parents)[:4] if REGION_OF.fullmatch(folder.name)), None)


def _metric(file: Path) -> str:
    """What a file of quantiles holds: the name of its folder, such as busCost_quantile_050."""
    return file.parent.name


def _told(file: Path) -> dict[str, int | float | str | None]:
    return {"file_day": day_of(file), "region": _region(file)}


def _events(file: Path, fields: tuple[Field, ...]) -> Relation:
    return lines_csv(file, fields, _told(file))


def _per_function(file: Path, fields: tuple[Field, ...]) -> Relation:
    name, _, percent = _metric(file).partition("_quantile_")
    quantile = int(percent) / 100 if percent else None
    told = {**_told(file), "window_us": MINUTE_US, "metric": name, "quantile": quantile}
    return long_csv(file, fields, labels=_functions, sound=is_sound(day_of(file)), constants=told)


def _functions(file: Path, names: Sequence[str]) -> Sequence[str]:
    wrong = [name for name in names if len(name.split("---")) != 3]
    if wrong or not names:
        raise TraceFormatError(
            f"the columns after time must be functions, funcName---userID---poolName; found {', '.join(wrong[:3])!r}",
            file=file, row=1, fix="Export the whole table, names unchanged",
        )  # fmt: skip
    return names


def _per_region(file: Path, fields: tuple[Field, ...]) -> Relation:
    return long_csv(file, fields, labels=_regions, sound=is_sound(None), constants={"file_day": None})


def _regions(file: Path, names: Sequence[str]) -> Sequence[str]:
    if not names or not all(map(REGION_OF.fullmatch, names)):
        raise TraceFormatError(
            f"the columns after time must be regions, R1 to R5; found {', '.join(names)[:80]!r}",
            file=file, row=1, fix="Restore the header day,time,R1,...",
        )  # fmt: skip
    return names


POOL_SQL = "regexp_extract(pod, '^(.+)-[^-]+$', 1)"
NAME_SQL = f"func || '---' || user_id || '---' || {POOL_SQL}"

COLD_STARTS = Layout(
    "_cold_starts",
    (
        DAY, TIME, Field("cluster", "clusterName", "whole", low=0, high=1000, names=("clusterName",)),
        _text("func", "funcName"), _text("user_id", "userID"), _text("request", "requestID", mandatory=False),
        _seconds("total", "totalCost_cold_start"), _seconds("allocation", "podAllocationCost", mandatory=False),
        _seconds("code", "deployCodeCost", mandatory=False),
        _seconds("dependency", "deployDependencyCost", mandatory=False),
        _seconds("scheduling", "schedulingCost", mandatory=False), _text("pod", "podID"),
    ),
    {
        "time_us": to_us("time"), "region": "region", "name": NAME_SQL, "cluster": "cluster", "pool": POOL_SQL,
        "pod": "pod", "total_us": to_us("total"), "pod_allocation_us": to_us("allocation"),
        "deploy_code_us": to_us("code"), "deploy_dependency_us": to_us("dependency"),
        "scheduling_us": to_us("scheduling"), "request": "request",
    },
    absent(_events, "NaN", "nan"),
    (*TIME_RULES, *POD_RULES),
    helper={
        "time_us": "i64", "region": "str?", "name": "str", "cluster": "i32?", "pool": "str", "pod": "str",
        "total_us": "i64", "pod_allocation_us": "i64?", "deploy_code_us": "i64?", "deploy_dependency_us": "i64?",
        "scheduling_us": "i64?", "request": "str?",
    },
)  # fmt: skip
REQUESTS = Layout(
    "_requests",
    (
        _seconds("time", "time_worker"), _text("func", "funcName"), _text("user_id", "userID"), _text("pod", "podID"),
        _seconds("run", "runtimeCost", mandatory=False),
        Field("cores", "cpu_usage", "number", low=0, names=("cpu_usage",)),
        Field("memory", "memory_usage", "number", low=0, names=("memory_usage",)),
    ),
    {
        "start_us": to_us("time"), "window_us": "0", "region": "region", "name": NAME_SQL, "count": "1",
        "duration_us": to_us("run"), "pod": "pod", "cpu_milli": "round(cores * 1000)", "memory_mib": "memory",
    },
    absent(_events, "NaN", "nan"),
    POD_RULES,
    helper={
        "start_us": "i64", "window_us": "i64", "region": "str?", "name": "str", "count": "i64", "duration_us": "i64?",
        "pod": "str", "cpu_milli": "i64?", "memory_mib": "f64?",
    },
)  # fmt: skip
PER_MINUTE, QUANTILES = per_function(_per_function)
COLD_STARTS_PER_MINUTE = Layout(
    "_series",
    (DAY, TIME, LABEL, CELL),
    {
        "time_us": to_us("time"), "window_us": str(MINUTE_US), "region": "label", "metric": "'num_cold_starts'",
        "value": "cell",
    },
    _per_region,
    (*TIME_RULES, WHOLE_CELL),
    helper=SERIES,
)  # fmt: skip
FUNCTION_KINDS = Layout(
    "_kinds",
    (
        _text("name", "funcID"),
        Field("request", "cpu_request", "whole", low=1, high=1_000_000, names=("cpu_request",)),
        _text("runtime", "runtime", mandatory=False), _text("triggers", "triggerType-invocationType", mandatory=False),
    ),
    {
        "region": f"'{KNOWN_RUNTIMES}'", "name": "name", "request_milli": "request", "runtime": "runtime",
        "triggers": "triggers",
    },
    once(lines_csv, "name"),
    (Rule("name", "must be funcName---userID---poolName", "len(string_split(name, '---')) <> 3"),),
    helper={"region": "str?", "name": "str", "request_milli": "i64?", "runtime": "str?", "triggers": "str?"},
)  # fmt: skip


def _place(table: str, path: Path) -> SourceFile | None:
    if table in (COUNTS, KINDS):
        return SourceFile(path, table)
    region = _region(path)
    if region is None:
        raise TraceFormatError(
            "no folder above it is named after a region, R1 to R5",
            file=path,
            fix=f"Lay it out as released: {table}/R1/",
        )
    if table == "per_request":
        numbers = re.findall(r"\d{3,}", path.name)
        return SourceFile(path, table, int(numbers[-1]) if numbers else 0, None, group=region)
    day, days = named_day(path), synthetic_days(path) or DAYS
    if table == "cold_start":
        return SourceFile(path, table, day, days, group=region)
    metric = _metric(path)
    if metric == "requests":
        return SourceFile(path, "requests", day, days, group=region)
    return SourceFile(path, "quantiles", day, days, group=f"{region}/{metric}")


def _holes(files: Sequence[SourceFile]) -> list[Gap]:
    """Regions that a table lacks while others have it."""
    gaps = []
    for table in ("cold_start", "requests"):
        present = {file.group.partition("/")[0] for file in files if file.table == table} & set(REGIONS)
        missing = [int(region[1:]) for region in REGIONS if region not in present]
        if present and missing:
            gaps.append(
                Gap(table=f"{table}, regions", parts=len(REGIONS), present=len(present), missing=list(ranges(missing)))
            )
    return gaps


def _claim(path: Path) -> str | None:
    if path.name.startswith(COUNTS):
        return COUNTS
    return KINDS if path.name.startswith(KINDS_FILE) else None


def _finish(assembly: Assembly) -> None:
    for layout in (COLD_STARTS, REQUESTS, PER_MINUTE, FUNCTION_KINDS, QUANTILES):
        assembly.view(layout)
    mentions = ("_cold_starts", "_requests", "_calls", "_kinds", "_series WHERE name IS NOT NULL")
    functions = assembly.number(mentions, ("region", "name"))
    if functions:
        assembly.con.execute("CREATE TABLE asked (cpu_milli BIGINT, request_milli BIGINT)")
        assembly.con.executemany("INSERT INTO asked VALUES (?, ?)", [list(pair) for pair in CPU_REQUEST.items()])
        assembly.write_functions("huawei2025_functions")
    assembly.write_timed("invocations", "huawei2025_invocations", "_calls", "_requests")
    assembly.write_timed("cold_starts", "huawei2025_cold_starts", "_cold_starts")
    assembly.write_timed("series", "huawei_series", "_series")
    assembly.find_holes()
    [found] = assembly.con.sql(sql_of("huawei2025_remarks")).fetchall()
    for count, text in zip(found, REMARKS, strict=True):
        assembly.remark(count, text)


REMARKS = (
    "functions were started but are not in the calls, which cover their region",
    "functions have no runtime and trigger although others of their region do",
    "pods are named by more than one cold start",
    "cold starts have components that do not add up to their total, by more than 1 ms: kept as published",
    "single calls are of days whose calls per minute are there too: each is taken off its minute, the rest stays",
)

READER = Reader(
    "huawei2025",
    PLAIN_UNITS,
    TIERS_NONE,
    {
        "cold_start": (COLD_STARTS,), "per_request": (REQUESTS,), "requests": (PER_MINUTE,), "quantiles": (QUANTILES,),
        KINDS: (FUNCTION_KINDS,), COUNTS: (COLD_STARTS_PER_MINUTE,),
    },
    (".csv", ".csv.gz"),
    _claim,
    place=_place,
    holes=_holes,
    finish=_finish,
    deep=True,
)  # fmt: skip
