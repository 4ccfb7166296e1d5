"""CONTRIBUTING.md, followed to the letter: its policy and its trace format, as packages of somebody else's."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from traces import reader
from traces.importer import import_trace

ROOT = Path(__file__).resolve().parent.parent


def blocks(title: str, language: str) -> list[str]:
    """The code blocks of one section."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    section = text.split(f"## {title}\n")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


def install(site: Path) -> None:
    """What pip would make of the package on the policy page: its module, and metadata with its entry points."""
    (module,), (toml,) = blocks("How to add a policy", "python"), blocks("How to add a policy", "toml")
    project = tomllib.loads(toml)["project"]
    info = site / f"{project['name']}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (site / "gentle.py").write_text(module)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [f"[{group}]\n" + "\n".join(f"{name} = {value}" for name, value in points.items())
             for group, points in project["entry-points"].items()]  # fmt: skip
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


def test_the_policy_page_gives_a_policy_that_replays(tmp_path: Path) -> None:
    install(tmp_path / "site")
    machines = "0,1,0,p,0.5,0.25\n0,2,0,p,0.5,1\n"
    # The first task says when the recording begins; the second is the one to be placed.
    tasks = "0,,6,0,1,0,u,1,9,0.1,0.1,0,0\n0,,6,0,1,1,u,1,9,0.1,0.1,0,0\n"
    tasks += "10,,7,0,,0,u,1,9,0.1,0.1,0,0\n20,,7,0,1,1,u,1,9,0.1,0.1,0,0\n30,,7,0,1,4,u,1,9,0.1,0.1,0,0\n"
    for table, text in (("machine_events", machines), ("task_events", tasks)):
        (tmp_path / "raw" / table).mkdir(parents=True)
        (tmp_path / "raw" / table / "part-00000-of-00001.csv").write_text(text)

    def stowage(*words: str) -> dict[str, object]:
        environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
        done = subprocess.run(
            [sys.executable, str(ROOT / "stowage.py"), *words, "--json"],
            capture_output=True, text=True, cwd=tmp_path, env=environment, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found: dict[str, object] = json.loads(done.stdout)
        return found

    listed = stowage("policies")["policies"]
    assert isinstance(listed, list)
    assert "gentle" in [policy["name"] for policy in listed]
    stowage("trace", "import", "google2011", "raw", "-o", "trace")
    stowage("replay", "trace", "--policy", "gentle", "-o", "run")
    assert stowage("sql", "run", "select node from placements where job = 7")["rows"] == [[2]]


def test_the_format_page_gives_a_reader_that_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (module,) = blocks("How to add a trace format", "python")
    (tmp_path / "fleet_reader.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(reader.FORMATS, "fleet", "fleet_reader")
    (tmp_path / "hosts.csv").write_text("host,cores,ram_gb\na,64,256\nb,none,256\nc,8,15.5\n")
    report = import_trace("fleet", [tmp_path / "hosts.csv"], tmp_path / "trace")
    assert (report.rows["machines"], report.rejected) == (2, {"machines": 1})
