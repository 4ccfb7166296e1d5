"""The journal of live decisions: columns of its Parquet segments. Readers need nothing else of the live edge.

One row per decision. kind: `solve` (one attempt of the planner), `plan` (a Plan's phase or reason changed), `step` (a
step's state changed), `action` (a write to a pod, with the API server's refusal if there was one), `pod` (why a pod
waits, or why it is where it is), `node` (a node's health mark changed, or would have), `prices` (one price round),
`bid` (what a waiting pod bid in it and what that met, when it changed), `rebalance` (one look for overloaded nodes; of
one that made a plan the details hold what pods used). details: JSON, by kind. snapshot: SHA-256 of the snapshot file
the decision was made from, kept beside the segments as `snapshots/DIGEST.json` while a row names it.
"""

from __future__ import annotations

COLUMNS: dict[str, str] = {
    "time_us": "int64",  # UTC, microseconds since 1970
    "writer": "string",  # which process, so that segments of several never clash
    "kind": "string",
    "plan": "string",
    "namespace": "string",
    "pod": "string",
    "uid": "string",
    "node": "string",
    "verdict": "string",
    "reason": "string",
    "message": "string",
    "snapshot": "string",
    "details": "string",
}
SEGMENT_GLOB = "segment-*.parquet"
SNAPSHOT_FOLDER = "snapshots"
