"""The run folder of a serverless replay: the same bytes for the same replay, written whole or not at all.

    run.json          trace, options, policies, versions, digest, SHA-256 of every other file
    subjects.parquet  one row per policy and subject: calls, cold starts, idle seconds paid, pods loaded ahead
    summary.json      the figures of every policy

What a clock decides stands beside the folder, in RUN.cost.json.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa

from analytics.facts import describe_machine, installed_versions, trace_facts
from analytics.runs import checksums, cost_path, new_folder, to_json, write_table, write_text
from analytics.serverless.options import ServerlessOptions
from analytics.serverless.replay import Pass
from analytics.serverless.results import Outcome
from traces.schema import Trace


def write_pass(out: Path, trace: Trace, done: Pass, options: ServerlessOptions, force: bool) -> str:
    """Write the run folder `out` and its cost beside it; returns the digest. InputError if `out` is taken."""
    with new_folder(out, force) as folder:
        write_table(folder / "subjects.parquet", [_table(outcome) for outcome in done.outcomes])
        (folder / "summary.json").write_text(to_json([outcome.figures() for outcome in done.outcomes]))
        files, digest = checksums(folder)
        facts = {
            "mode": "serverless",
            "trace": msgspec.to_builtins(trace_facts(trace.folder)),
            "window_us": list(done.window_us),
            "options": options.facts(),
            "policies": [{"label": each.spec.label, "parameters": each.spec.parameters} for each in done.outcomes],
            "notes": list(done.subjects.notes),
            "versions": installed_versions(),
            "digest": digest,
            "files": files,
        }
        (folder / "run.json").write_text(to_json(facts))
    cost = {
        "cpu_s": done.cpu_s,
        "policies_cpu_s": {each.spec.label: each.cpu_s for each in done.outcomes},
        "machine": describe_machine(),
    }
    write_text(cost_path(out), to_json(cost))
    return digest


def _table(outcome: Outcome) -> pa.Table:
    rows = len(outcome.subjects)
    return pa.table({
        "policy": pa.array([outcome.spec.label] * rows, pa.string()),
        "subject": pa.array(outcome.subjects.name, pa.string()),
        "invocations": outcome.invocations,
        "cold_starts": outcome.cold_starts,
        "pre_warms": outcome.loads,
        "idle_s": outcome.idle_us / 1e6,
        "memory_mib": outcome.subjects.memory_gib * 1024,
        "cold_start_s": np.asarray(outcome.subjects.cold_s),
    })  # fmt: skip
