"""`python -m tests.benchmarks [NAME...]`: all benches, or those named (import, replay, ...).

STOWAGE_BENCH_DAYS: longest trace of the growth bench (default 1; 29 takes hours and about 20 GB of disk).
STOWAGE_BENCH_DIR: where traces and runs are made; a temporary folder otherwise.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.harness import warm_up

# The last makes this process large.
BENCHES = (
    "command", "import", "synth", "replay", "growth", "packing", "extender", "fabric", "diagnose", "detection",
    "faults", "fgd", "auction", "chains", "huawei", "price_round", "assignment", "auction_growth", "auction_lies",
    "auction_replay", "auction_shared", "migration", "restart", "serverless_import",
    "serverless", "policies", "balance", "agents", "rebalance_replay", "scale_down", "dashboard",
)  # fmt: skip


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        print(f"no bench is called {', '.join(unknown)}; there are {', '.join(BENCHES)}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="stowage-bench-") as folder:
        work = Path(os.environ.get("STOWAGE_BENCH_DIR") or folder).absolute()
        work.mkdir(parents=True, exist_ok=True)
        print("compiling, so that no bench does", file=sys.stderr, flush=True)
        warm_up()
        for name in names or BENCHES:
            print(f"bench {name}", file=sys.stderr, flush=True)
            report = importlib.import_module(f"tests.benchmarks.bench_{name}").bench(work)
            report.print()
            print(f"written to {report.write()}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
