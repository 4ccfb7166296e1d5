"""Compiles what most tests run, into numba's cache, on two cores: `python tests/warm_up.py`.

A small synthetic trace is made and imported; then a what-if replay and a recorded one run side by side.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

STOWAGE = [sys.executable, str(Path(__file__).resolve().parent.parent / "stowage.py")]
SYNTH = ["trace", "synth", "google2011", "--machines", "20", "--days", "0.05", "--seed", "1"]


def warm_up() -> None:
    """Run the commands; a failure is left for the tests to find and explain."""
    with tempfile.TemporaryDirectory(prefix="stowage-warm-up-") as name:
        raw, trace = f"{name}/raw", f"{name}/trace"
        for step in (
            [[*SYNTH, "-o", raw]],
            [["trace", "import", "google2011", raw, "-o", trace]],
            [["replay", trace, "-o", f"{name}/a"], ["replay", trace, "--mode", "recorded", "-o", f"{name}/b"]],
        ):
            running = [
                subprocess.Popen([*STOWAGE, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                for words in step
            ]
            for process in running:
                process.wait()


if __name__ == "__main__":
    warm_up()
