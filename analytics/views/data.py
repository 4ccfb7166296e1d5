"""What is known of the inputs: what was kept, what was refused and why, what is absent, and what was made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pandas as pd

from analytics.errors import InputError
from analytics.runs import read_run
from analytics.views import MOST_ROWS
from analytics.workspace import Item
from traces.errors import TraceFormatError
from traces.schema import Meta, Trace, open_trace

MOST_EXAMPLES = 200
MOST_TEXT = 300  # characters of a rejected row that are shown


@dataclass(frozen=True, slots=True)
class TraceAbout:
    """A trace in figures.

    kept: rows of the sources, not those of tables that were made of them. hours: length of its time range, None where
    it has no times. imported: when, UTC.
    """

    format: str
    digest: str
    kept: int
    rejected: int
    illegal: int
    gaps: int
    hours: float | None
    imported: datetime
    notes: tuple[str, ...]


def about(item: Item) -> TraceAbout:
    """The trace in figures. illegal: events out of order that the trace itself does not excuse."""
    meta = _open(item).meta
    ends = meta.time_range_us
    return TraceAbout(
        meta.format,
        meta.digest,
        sum(source.rows - source.rejected for source in meta.sources),
        sum(meta.rejected.values()),
        sum(count.get("without", 0) for count in meta.illegal_transitions.values()),
        len(meta.gaps),
        (ends[1] - ends[0]) / 3.6e9 if ends else None,
        datetime.fromtimestamp((item.path / "meta.json").stat().st_mtime, UTC),
        tuple(meta.notes),
    )


def tables(item: Item) -> pd.DataFrame:
    """One row per table: rows kept and rejected, and how many of the published parts are here."""
    meta = _open(item).meta
    parts = {gap.table: f"{gap.present:,} of {gap.parts:,}" for gap in meta.gaps}
    files = pd.Series([source.table for source in meta.sources], dtype="str").value_counts()
    names = sorted({*meta.rows, *meta.rejected, *parts})
    return pd.DataFrame(
        {
            "table": names,
            "rows_kept": [meta.rows.get(name, 0) for name in names],
            "rows_rejected": [meta.rejected.get(name, 0) for name in names],
            "source_files": [int(files.get(name, 0)) for name in names],
            "parts": [parts.get(name, "") for name in names],
        }
    )


def gaps(item: Item) -> pd.DataFrame:
    """One row per table that is not whole: which parts are missing."""
    found = _open(item).meta.gaps
    return pd.DataFrame(
        {
            "table": [gap.table for gap in found],
            "parts": [gap.parts for gap in found],
            "present": [gap.present for gap in found],
            "missing_parts": [", ".join(gap.missing)[:MOST_TEXT] for gap in found],
        }
    )


def rejected(item: Item) -> pd.DataFrame:
    """The first rejected rows: file, row number, the rule that was broken, and the row as it was."""
    trace = _open(item)
    if not trace.has("rejected"):
        return pd.DataFrame({"file": [], "row": [], "reason": [], "line": []})
    return _sql(
        trace,
        f"""SELECT file, row, reason, line[:{MOST_TEXT}] AS line FROM {trace.scan("rejected")}
        ORDER BY file, row LIMIT {MOST_EXAMPLES}""",
    )


def reasons(item: Item) -> pd.DataFrame:
    """Rejected rows by rule, the values left out, most frequent first."""
    trace = _open(item)
    if not trace.has("rejected"):
        return pd.DataFrame({"rule": [], "rows": []})
    return _sql(
        trace,
        f"""SELECT split_part(reason, ', found', 1) AS rule, count(*) AS rows FROM {trace.scan("rejected")}
        GROUP BY ALL ORDER BY rows DESC, rule LIMIT {MOST_EXAMPLES}""",
    )


def sources(item: Item) -> pd.DataFrame:
    """One row per source file: size, checksum, rows; whether its checksum is the published one."""
    meta = _open(item).meta
    return pd.DataFrame(
        {
            "table": [source.table for source in meta.sources],
            "file": [Path(source.file).name for source in meta.sources],
            "size_mib": [source.bytes / 2**20 for source in meta.sources],
            "rows": [source.rows for source in meta.sources],
            "rejected": [source.rejected for source in meta.sources],
            "checksum_verified": [source.verified for source in meta.sources],
            "sha256": [source.sha256 for source in meta.sources],
        }
    ).head(MOST_ROWS)


def lineage(runs: Sequence[Item], traces: Sequence[Item]) -> pd.DataFrame:
    """One row per run: which trace it was made from, found by content and not by place, and with what."""
    by_digest: dict[str, str] = {}
    for item in traces:
        meta = _meta(item)
        if meta:
            by_digest.setdefault(meta.digest, item.name)
    rows = []
    for item in runs[:MOST_ROWS]:
        facts = read_run(item.path).facts
        rows.append(
            {
                "run": item.name,
                "mode": facts.mode,
                "policy": facts.policy,
                "seed": facts.seed,
                "trace": by_digest.get(facts.trace.checksum, f"not here ({facts.trace.format})"),
                "trace_digest": facts.trace.checksum[:12],
                "hours": (facts.window_us[1] - facts.window_us[0]) / 3.6e9,
                "illegal_transitions": facts.illegal_transitions.get("total", 0)
                - facts.illegal_transitions.get("with_missing_info", 0),
                "versions": ", ".join(f"{name} {version}" for name, version in sorted(facts.versions.items())),
            }
        )
    return pd.DataFrame(rows)


def _meta(item: Item) -> Meta | None:
    try:
        return open_trace(item.path).meta
    except (TraceFormatError, OSError):
        return None


def _open(item: Item) -> Trace:
    try:
        return open_trace(item.path)
    except (TraceFormatError, OSError) as broken:
        raise InputError(f"{item.name} cannot be read as a trace: {broken}") from broken


def _sql(trace: Trace, statement: str) -> pd.DataFrame:
    try:
        with duckdb.connect() as con:
            frame: pd.DataFrame = con.execute(statement).df()
    except duckdb.Error as unreadable:
        reason = str(unreadable).partition("\n")[0]
        raise InputError(f"{trace.folder} cannot be read: {reason}; import it again") from unreadable
    return frame
