"""What README.md says can be measured again can be: its benches are there, and every bench is run by `make bench`."""

from __future__ import annotations

import re
from pathlib import Path

from tests.benchmarks.__main__ import BENCHES

ROOT = Path(__file__).resolve().parent.parent


def test_every_bench_is_listed_once() -> None:
    files = sorted(path.stem.removeprefix("bench_") for path in (ROOT / "tests" / "benchmarks").glob("bench_*.py"))
    assert sorted(BENCHES) == files


def test_the_readme_names_benches_and_figures_that_there_are() -> None:
    text = (ROOT / "README.md").read_text()
    named = {name for words in re.findall(r"-m tests\.benchmarks((?: [a-z_]+)+)", text) for name in words.split()}
    assert len(named) > 10
    assert named <= set(BENCHES)
    for path in re.findall(r"\]\((tests/benchmarks/results/[^)]+)\)", text):
        assert (ROOT / path).exists(), path
