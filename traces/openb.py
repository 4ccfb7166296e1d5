"""Alibaba cluster-trace-gpu-v2023 ("openb"): a list of nodes and a list of pods, as CSV or Parquet.

A pod becomes a job of one task (its row number, from 0) with up to three events: SUBMIT at creation_time, SCHEDULE at
scheduled_time, and an end at deletion_time: FAIL where pod_phase is Failed, KILL where it was never scheduled, FINISH
otherwise. A Running or Pending pod deleted at the last time of the list was cut off by the end of the recording and
gets no end. The lists that have no times (the multigpu variants) give a SUBMIT at 0 each, in list order.
The list does not say which node a pod ran on, so `recorded` replays know when but not where. tenant is the pod's QoS
class, the only grouping there is; all priorities are 0, because the list has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from traces.errors import TraceFormatError
from traces.layout import INT32_MAX, Field, Layout, Rule, with_names
from traces.reader import Reader
from traces.schema import PLAIN_UNITS, TIERS_NONE

SUFFIXES = (".csv", ".csv.gz", ".parquet")
PHASES = ("Pending", "Running", "Succeeded", "Failed", "Unknown")
MAX_SECONDS = 10**12


def _whole(name: str, *, mandatory: bool = True, high: int = INT32_MAX) -> Field:
    return Field(name, name, "whole", mandatory=mandatory, low=0, high=high, names=(name,))


def _text(name: str, *, mandatory: bool = False) -> Field:
    return Field(name, name, mandatory=mandatory, names=(name,))


def _seconds(name: str) -> Field:
    return Field(name, name, "number", low=0, high=MAX_SECONDS, strict_range=True, names=(name,))


NODES = Layout(
    "machines",
    (
        _text("sn", mandatory=True), _whole("cpu_milli"), _whole("memory_mib"), _whole("gpu", high=1024),
        _text("model"),
    ),
    {
        "machine": "row_ - 1", "event": "'ADD'", "cpu_milli": "cpu_milli", "memory_mib": "memory_mib", "gpus": "gpu",
        "gpu_model": "model", "name": "sn",
    },
    with_names,
    (Rule("model", "must name the GPUs of a node that has some", "gpu > 0 AND model IS NULL"),),
)  # fmt: skip

POD_FIELDS = (
    _text("name", mandatory=True), _whole("cpu_milli"), _whole("memory_mib"), _whole("num_gpu", high=1024),
    _whole("gpu_milli", high=1000), _text("gpu_spec"), _text("qos"), _text("pod_phase"), _seconds("creation_time"),
    _seconds("deletion_time"), _seconds("scheduled_time"),
)  # fmt: skip
POD_RULES = (
    Rule("gpu_milli", "must be 1000 for a pod of several GPUs", "num_gpu > 1 AND gpu_milli < 1000"),
    Rule("pod_phase", f"must be one of {', '.join(PHASES)}", f"pod_phase NOT IN {PHASES!r}"),
    Rule("scheduled_time", "must not be before the creation time", "scheduled_time < creation_time"),
    Rule("deletion_time", "must not be before the creation time", "deletion_time < creation_time"),
    Rule("deletion_time", "must not be before the scheduled time", "deletion_time < scheduled_time"),
)
PODS = Layout(
    "_pods",
    POD_FIELDS,
    {
        "job": "row_ - 1", "task_index": "0", "name": "name", "gpus": "num_gpu",
        "gpu_milli": "CASE WHEN num_gpu > 0 THEN gpu_milli ELSE 0 END", "gpu_models": "gpu_spec",
    },
    with_names,
    POD_RULES,
    helper={"job": "i64", "task_index": "i32", "name": "str", "gpus": "i32", "gpu_milli": "i32", "gpu_models": "str?"},
)  # fmt: skip

LAST = "(SELECT max(TRY_CAST(raw_deletion_time AS DOUBLE)) FROM raw)"
CUT_OFF = f"coalesce(pod_phase IN ('Running', 'Pending'), FALSE) AND deletion_time >= {LAST}"
END = f"""CASE WHEN deletion_time IS NULL OR ({CUT_OFF}) THEN NULL WHEN pod_phase = 'Failed' THEN 'FAIL'
    WHEN scheduled_time IS NULL THEN 'KILL' ELSE 'FINISH' END"""
EVENTS_OF_A_POD = f"""SELECT *, CASE WHEN fault > 0 THEN [NULL] ELSE list_filter([
    {{'at': coalesce(creation_time, 0), 'event': 'SUBMIT'}},
    {{'at': scheduled_time, 'event': CASE WHEN scheduled_time IS NOT NULL THEN 'SCHEDULE' END}},
    {{'at': deletion_time, 'event': {END}}}], lambda x: x.event IS NOT NULL) END AS life FROM checked"""
POD_EVENTS = Layout(
    "task_events",
    POD_FIELDS,
    {
        "time_us": "round(e.at * 1000000)", "job": "row_ - 1", "task_index": "0", "event": "e.event",
        "tenant": "coalesce(qos, '')", "cpu_milli": "cpu_milli", "memory_mib": "memory_mib",
    },
    with_names,
    POD_RULES,
    source=f"(SELECT *, UNNEST(life) AS e FROM ({EVENTS_OF_A_POD}))",
    rejects=False,
)  # fmt: skip


def _claim(path: Path) -> str | None:
    return next((table for table in READER.tables if path.name.startswith(table)), None)


def _choose(sources: Sequence[Path]) -> tuple[Sequence[Path], list[str]]:
    """One node list and one pod list: of a folder that holds the published variants, all nodes and the default pods."""
    files: list[Path] = []
    notes = []
    for source in sources:
        if not source.is_dir():
            files.append(source)
            continue
        for table, usual in (
            ("openb_node_list", "openb_node_list_all_node"),
            ("openb_pod_list", "openb_pod_list_default"),
        ):
            lists = sorted(
                path for path in source.iterdir() if path.name.startswith(table) and path.name.endswith(SUFFIXES)
            )
            chosen = next((path for path in lists if path.name.split(".")[0] == usual), None) or (
                lists[0] if lists else None
            )
            if chosen is not None:
                files.append(chosen)
            if len(lists) > 1 and chosen is not None:
                notes.append(f"{chosen.name} was taken of {len(lists)} files {table}_*; name the file to take another")
    for table in READER.tables:
        same = [path for path in files if path.name.startswith(table)]
        if len(same) > 1:
            raise TraceFormatError(
                f"{len(same)} files {table}_* given: {', '.join(path.name for path in same)}",
                fix="Give one node list and one pod list",
            )
    return files or sources, notes


READER = Reader(
    "openb",
    PLAIN_UNITS,
    TIERS_NONE,
    {"openb_node_list": (NODES,), "openb_pod_list": (PODS, POD_EVENTS)},
    SUFFIXES,
    _claim,
    _choose,
)
