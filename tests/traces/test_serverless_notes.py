"""What is missing from serverless files, or disagrees between them, is said: in gaps, and in notes that count it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.traces.serverless_builders import (
    azure_calls,
    azure_durations,
    azure_memory,
    calls_header,
    calls_row,
    cold_row,
    cold_starts,
    duration_row,
    kinds,
    memory_row,
)
from tests.traces.serverless_spoils import (
    CALLS,
    GOOD,
    SIZED,
    TIMED,
    TIMES,
    Spoil,
    a_source,
    drop,
    more,
    put,
)
from traces.importer import ImportReport, import_trace

# format, what is done, words of a gap or note
SAID: dict[str, tuple[str, Spoil, str]] = {
    "a missing day": ("azure2019", drop(CALLS), "gap: invocations_per_function_md has 1 of 2 parts; missing 1"),
    "a missing day of run times": (
        "azure2019",
        drop(TIMES),
        "gap: function_durations_percentiles has 1 of 2 parts; missing 1",
    ),
    "days of a release that has more": ("azure2019", drop("synth.json"), "missing 3-14"),
    "minutes cut": (
        "azure2019",
        put(CALLS, f"{calls_header(range(480, 960))}\n{calls_row('o,a,f', 'http', {500: 2}, range(480, 960))}\n"),
        "gap: invocations_per_function_md, minutes of day 1 has 480 of 1440 parts; missing 1-479, 960-1440",
    ),
    "a function without run times": (
        "azure2019",
        more(azure_durations, 1, rows=TIMED[:1]),
        "1 functions have invocations but no run times",
    ),
    "a function with run times only": (
        "azure2019",
        more(azure_durations, 1, rows=[*TIMED, duration_row("o,b,x", 5)]),
        "1 functions have run times but are not",
    ),
    "an application without memory": (
        "azure2019",
        lambda source: [azure_memory(source, day, SIZED[:1]) for day in (1, 2)],
        "1 functions have neither memory of their own nor of their application",
    ),
    "an application of no function": (
        "azure2019",
        more(azure_memory, 1, rows=[*SIZED, memory_row("o,z", 5)]),
        "1 applications have memory but no function",
    ),
    "run times of zero": (
        "azure2019",
        lambda source: [azure_durations(source, day, [duration_row("o,a,f", 0)]) for day in (1, 2)],
        "1 functions have an average run time of 0 ms",
    ),
    "a hash in two applications": (
        "azure2019",
        more(azure_calls, 1, rows=[*GOOD, calls_row("o,c,f", "http", {3: 1})]),
        "2 functions have the hash of a function of another application",
    ),
    "another trigger the next day": ("azure2019", drop(), "1 functions change their trigger"),
    "memory of applications": ("azure2019", drop(), "3 functions share the memory of their application"),
    "minutes missing in the platform's curve": (
        "azure2019",
        put("platform_invocations_per_minute_14d.csv", "day,minute,invocations\n1,2,7\n1,3,8\n1,6,9\n"),
        "gap: series invocations, windows of 60 s has 3 of 6 parts; missing 0, 3-4",
    ),
    "minutes missing in a region's counts": (
        "huawei2025",
        put("cold_starts_per_minute_R1_R5.csv", "day,time,R1,R2\n0,0,7,1\n0,60,,1\n0,120,3,0\n"),
        "gap: series num_cold_starts of R1, windows of 60 s has 2 of 3 parts; missing 1",
    ),
    "a missing day of cold starts": (
        "huawei2025",
        drop("cold_start/R2/day_00.csv"),
        "gap: cold_start R2 has 1 of 2 parts; missing 0",
    ),
    "a missing region": ("huawei2025", drop(), "gap: cold_start, regions has 2 of 5 parts; missing 3-5"),
    "a function that is started but never called": (
        "huawei2025",
        more(cold_starts, "R2", 0, rows=[cold_row(0, 1, pod="pool9-1-1-5")]),
        "1 functions were started but",
    ),
    "a function of no known runtime": (
        "huawei2025",
        more(kinds, rows=["1---2---p-1-1,1,Go1.x,OBS-A"]),
        "2 functions have no runtime",
    ),
    "a pod of two cold starts": ("huawei2025", drop(), "1 pods are named by more than one cold start"),
    "components that are not the total": (
        "huawei2025",
        more(cold_starts, "R2", 0, rows=[cold_row(0, 1, "0.9")]),
        "1 cold starts have components that do not add up",
    ),
}


@pytest.mark.parametrize("kind", SAID)
def test_what_is_missing_or_disagrees_is_said(tmp_path: Path, kind: str) -> None:
    format_name, spoil, words = SAID[kind]
    source = a_source(format_name, tmp_path / "source")
    spoil(source)
    report = import_trace(format_name, [source], tmp_path / "trace")
    assert any(words in line for line in said(report)), said(report)
    assert report.rejected == {}


def said(report: ImportReport) -> list[str]:
    gaps = [f"gap: {g.table} has {g.present} of {g.parts} parts; missing {', '.join(g.missing)}" for g in report.gaps]
    return gaps + report.notes
