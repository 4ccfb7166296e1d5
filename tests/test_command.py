"""The command from outside: what it says, what it exits with, and what it leaves alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
import typer

import stowage

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("numpy", "pandas", "pyarrow", "duckdb", "numba", "kubernetes", "streamlit", "ortools", "distributed")


def run(*words: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`stowage WORDS` in a process of its own, on a terminal of 200 columns that has no colours."""
    command = [sys.executable, str(ROOT / "stowage.py"), *map(str, words)]
    environment = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, check=False)


def commands(group: click.Command, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every command there is, groups included, by its words."""
    found = [path] if path else []
    for name, command in getattr(group, "commands", {}).items():
        found += commands(command, (*path, name))
    return found


COMMANDS = commands(typer.main.get_command(stowage.app))


def a_raw_trace(folder: Path) -> Path:
    """Two machines and two tasks, the first of them waiting at time 0, in the files of Google's 2011 trace."""
    lives = [(0, 6, 0), (10, 7, 0), (20, 7, 1), (30, 7, 4), (40, 6, 5)]  # time, job, event
    table = {
        "machine_events": ["0,1,0,p,0.5,0.5", "0,2,0,p,1,1"],
        "job_events": [f"{time},,{job},{event},u,1,j,l" for time, job, event in lives],
        "task_events": [
            f"{time},,{job},0,{'' if event in (0, 5) else 1},{event},u,1,9,0.1,0.1,0.01,0" for time, job, event in lives
        ],
    }
    for name, lines in table.items():
        path = folder / "raw" / name / "part-00000-of-00001.csv"
        path.parent.mkdir(parents=True)
        path.write_text("\n".join(lines) + "\n")
    return folder / "raw"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `raw`, its import `trace`, and the runs `recorded` and `first-fit`."""
    folder = tmp_path_factory.mktemp("a home with spaces")
    a_raw_trace(folder)
    for words in (
        ["trace", "import", "google2011", "raw", "-o", "trace"],
        ["replay", "trace", "--mode", "recorded", "-o", "recorded"],
        ["replay", "trace", "--policy", "first-fit", "-o", "first-fit"],
    ):
        done = run(*words, cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


def test_every_promised_command_is_there() -> None:
    promised = {
        *(("trace", name) for name in ("import", "info", "check", "synth", "fetch")),
        *((name,) for name in ("replay", "compare", "sweep", "capacity", "sql", "policies")),
    }
    assert promised <= set(COMMANDS)


def test_help_names_every_command_with_a_sentence() -> None:
    done = run("--help")
    assert done.returncode == 0
    for name in {path[0] for path in COMMANDS}:
        lines = [line.strip(" │|").split() for line in done.stdout.splitlines()]
        (summary,) = [words[1:] for words in lines if words[:1] == [name]]
        assert len(summary) > 2


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_of_a_command_explains_every_option(path: tuple[str, ...]) -> None:
    command = typer.main.get_command(stowage.app)
    for word in path:
        command = command.commands[word]  # type: ignore[attr-defined]
    context = click.Context(command, info_name=" ".join(("stowage", *path)))
    assert command.get_short_help_str(), "no sentence"
    assert f"stowage {' '.join(path)}" in command.get_usage(context)
    unexplained = [parameter.name for parameter in command.params if not getattr(parameter, "help", None)]
    assert not unexplained


def test_no_words_print_the_help() -> None:
    done = run()
    assert "Usage: stowage" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_importing_the_command_loads_nothing_heavy() -> None:
    check = f"import sys, stowage; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nonsense"], "No such command"),
        (["replay"], "Missing"),
        (["replay", "trace", "--policy"], "requires an argument"),
        (["replay", "nowhere", "-o", "out"], "not a canonical trace"),
        (["replay", "trace", "-o", "out", "--policy", "best-fitt"], "Did you mean best-fit?"),
        (["replay", "trace", "-o", "out", "--mode", "dream"], "mode is one of"),
        (["replay", "trace", "-o", "out", "--overcommit", "cpu"], "looks like cpu=1.2"),
        (["replay", "trace", "-o", "out", "--from", "12"], "a duration has a unit"),
        (["replay", "trace", "-o", "out", "--nodes", "90%"], "a cluster size looks like"),
        (["compare", "recorded"], "at least two runs"),
        (["compare", "recorded", "raw"], "raw"),
        (["sweep", "nowhere.toml"], "No such file"),
        (["capacity", "trace", "--policy", "first-fit", "--tier", "gold", "--delay-p99", "60s"], "gold"),
        (["sql", "first-fit", "select nonsense"], "nonsense"),
        (["trace", "import", "google2011", "nowhere", "-o", "out"], "nowhere"),
        (["trace", "import", "google1999", "raw", "-o", "out"], "Known formats"),
        (["trace", "check", "raw"], "not a canonical trace"),
        (["trace", "synth", "google2011", "-o", "out", "--machines", "0", "--days", "1"], "machines"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_usage_and_bad_input_exit_2_with_a_message_and_no_traceback(
    home: Path, words: list[str], says: str
) -> None:
    done = run(*words, cwd=home)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not (home / "out").exists()


def test_debug_adds_the_traceback(home: Path) -> None:
    done = run("--debug", "trace", "check", "raw", cwd=home)
    assert done.returncode != 0
    assert "Traceback" in done.stderr
    assert "not a canonical trace" in done.stderr


def test_failed_run_exits_1(home: Path) -> None:
    """A study whose only cell cannot be replayed: the folder is read, the work fails."""
    (home / "study.toml").write_text('trace = "broken"\nout = "study"\npolicies = ["first-fit"]\n')
    broken = home / "broken"
    broken.mkdir()
    (broken / "meta.json").write_bytes((home / "trace" / "meta.json").read_bytes())
    done = run("sweep", "study.toml", "--workers", "1", cwd=home)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "first-fit" in done.stderr


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        (
            ["trace", "import", "google2011", "raw", "-o", "again"],
            {"rows", "rejected", "gaps", "seconds", "rows_per_s"},
        ),
        (["trace", "info", "trace"], {"rows"}),
        (
            ["trace", "check", "trace"],
            {"rows", "rejected", "gaps", "time_range_us", "jobs", "tasks", "machines", "task_events", "job_events",
             "machine_events"},
        ),
        (["policies"], {"policies"}),
        (["replay", "trace", "-o", "x"], {"digest", "engine", "illegal_transitions", "metrics"}),
        (["replay", "trace", "--mode", "recorded", "-o", "y"], {"digest", "engine", "illegal_transitions", "metrics"}),
        (["compare", "recorded", "first-fit"], {"runs", "metrics", "differences"}),
        (
            ["capacity", "trace", "--policy", "first-fit", "--tier", "all", "--delay-p99", "60s", "--workers", "1"],
            {"nodes", "searched"},
        ),
        (["sql", "first-fit", "select 1 as one"], {"columns", "rows"}),
    ],
    ids=lambda value: " ".join(value[:3]) if isinstance(value, list) else "",
)  # fmt: skip
def test_json_is_one_object_on_stdout_with_the_promised_keys(home: Path, words: list[str], keys: set[str]) -> None:
    done = run(*words, "--json", cwd=home)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    assert keys <= set(found)


def test_replay_keeps_what_the_contract_names(home: Path) -> None:
    found = json.loads(run("replay", "trace", "-o", "contract", "--json", cwd=home).stdout)
    assert {"events", "placements", "cpu_s", "events_per_cpu_s", "peak_rss_mib"} <= set(found["engine"])
    metrics = found["metrics"]
    assert {"delay_s", "never_placed", "evictions", "preemptions", "utilisation", "stranded"} <= set(metrics)
    assert {"p50", "p90", "p99"} <= set(metrics["delay_s"]["production"])


@pytest.mark.parametrize(
    "words",
    [
        ["trace", "import", "google2011", "raw", "-o", "trace"],
        ["trace", "synth", "google2011", "-o", "raw", "--machines", "1", "--days", "0.01"],
        ["replay", "trace", "-o", "first-fit"],
        ["replay", "trace", "-o", "raw"],
        ["compare", "recorded", "first-fit", "--csv", "taken.csv"],
    ],
    ids=lambda words: " ".join(words),
)
def test_what_exists_is_not_overwritten_without_force(home: Path, words: list[str]) -> None:
    (home / "taken.csv").write_text("precious")
    before = {path: path.read_bytes() for path in sorted(home.rglob("*")) if path.is_file()}
    done = run(*words, cwd=home)
    assert done.returncode == 2
    assert "--force" in done.stderr or "not a run" in done.stderr
    assert {path: path.read_bytes() for path in sorted(home.rglob("*")) if path.is_file()} == before


def test_force_replaces(home: Path) -> None:
    done = run("replay", "trace", "--policy", "first-fit", "-o", "first-fit", "--force", "--json", cwd=home)
    assert done.returncode == 0
