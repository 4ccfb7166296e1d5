"""Studies: what a file may say, what is kept when one starts again, and the same bytes wherever it runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from builders import a_loaded_trace, a_trace, pretend_replay
from typer.testing import CliRunner

import stowage
from analytics import workers as workers_module
from analytics.errors import InputError, StudyFailed
from analytics.options import ClusterSize, MachineShape, ReplayOptions
from analytics.replay import run_replay
from analytics.runs import cost_path, read_run
from analytics.study import INDEX, Progress, Study, read_study, run_study
from traces.errors import TraceFormatError

POLICIES = ("best-fit", "worst-fit", "random", "broken", "deadly")


def a_study(folder: Path, text: str = 'policies = ["best-fit"]', paths: str = 'trace = "trace"\nout = "runs"') -> Path:
    a_trace(folder / "trace")
    path = folder / "study.toml"
    path.write_text(f"{paths}\n{text}\n")
    return path


def read(path: Path) -> Study:
    return read_study(path, POLICIES)


def run(study: Study, **options: Any) -> list[Progress]:
    return list(run_study(study, **({"workers": 2, "replay": pretend_replay} | options)))


def bytes_under(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(".cost.json")
    }


def test_study_is_the_product_of_its_lists(tmp_path: Path) -> None:
    text = """
        policies = ["best-fit", "worst-fit"]
        nodes = ["x1", "x0.5", 30]
        scale_load = [1, 1.2]
        seeds = "7-9"
        recorded = true
        [replay]
        from = "1h"
        to = "2h"
        interval = "60s"
        drop_shape = ["64/128Gi"]
        overcommit = { cpu = 1.2 }
    """
    study = read(a_study(tmp_path, text))
    assert len(study.cells) == 1 + 2 * 3 * 2 * 3
    recorded, first = study.cells[:2]
    assert (recorded.mode, recorded.out.name, recorded.from_us, recorded.interval_us) == (
        "recorded",
        "recorded",
        3_600_000_000,
        60_000_000,
    )
    assert (first.policy, first.nodes, first.scale_load, first.seed) == ("best-fit", ClusterSize(factor=1.0), 1.0, 7)
    assert first.out == (tmp_path / "runs" / "best-fit_x1_load1_seed7").absolute()
    assert (first.drop_shape, first.overcommit) == ((MachineShape(64_000, 131_072),), (("cpu_milli", 1.2),))
    assert len({cell.out for cell in study.cells}) == len(study.cells)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("polices = []", "unknown field `polices`"),
        ('policies = "best-fit"', r"Expected `array`, got `str` - at `\$.policies`"),
        ("policies = []", "policies is empty"),
        ('policies = ["best-fit", "best-fit"]', "policies repeats best-fit"),
        ('policies = ["bestfit"]', "no policy is called bestfit"),
        ('policies = ["best-fit"]\nseeds = []', "seeds is empty"),
        ('policies = ["best-fit"]\nseeds = "9-1"', "seeds is a list"),
        ('policies = ["best-fit"]\nseeds = [1.5]', r"at `\$.seeds"),
        ('policies = ["best-fit"]\nseeds = [-1]', "seed"),
        ('policies = ["best-fit"]\nnodes = ["90%"]', "cluster size"),
        ('policies = ["best-fit"]\nnodes = ["x1", "x1.0"]', "nodes repeats x1"),
        ('policies = ["best-fit"]\nscale_load = [0]', "scale-load"),
        ('policies = ["best-fit"]\nscale_load = [true]', "Expected `float`"),
        ('policies = ["best-fit"]\n[replay]\nfrom = 3', "Expected `str"),
        ('policies = ["best-fit"]\n[replay]\nfrom = "3"', "a duration has a unit"),
        ('policies = ["best-fit"]\n[replay]\ninitial = "half"', "Invalid enum value"),
        ('policies = ["best-fit"]\n[replay]\nspeed = 1', "unknown field `speed`"),
        ("policies = [", "not TOML"),
    ],
)
def test_study_file_that_breaks_a_rule_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as refused:
        read(a_study(tmp_path, text))
    assert "study.toml" in str(refused.value)


def test_study_without_trace_or_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="missing required field `trace`"):
        read(a_study(tmp_path, paths='out = "runs"'))
    with pytest.raises(TraceFormatError, match="not a canonical trace"):
        read(a_study(tmp_path, paths='trace = "nowhere"\nout = "runs"'))
    with pytest.raises(InputError, match="No such file"):
        read(tmp_path / "nothing.toml")


def test_cells_run_and_the_index_gathers_them(tmp_path: Path) -> None:
    study = read(a_study(tmp_path, 'policies = ["best-fit"]\nnodes = ["x1", "x0.5"]\nrecorded = true'))
    steps = run(study)
    assert [(step.kept, step.error, step.settled, step.total) for step in steps] == [
        (False, None, n, 3) for n in (1, 2, 3)
    ]
    index = json.loads((tmp_path / "runs" / INDEX).read_text())
    assert [cell["run"] for cell in index["cells"]] == [
        "recorded",
        "best-fit_x1_load1_seed0",
        "best-fit_x0.5_load1_seed0",
    ]
    assert [cell["metrics"]["delay_s.production.p99"] for cell in index["cells"]] == [100, 100, 200]
    assert str(tmp_path) not in (tmp_path / "runs" / INDEX).read_text()


def test_finished_cells_are_kept_and_missing_ones_made(tmp_path: Path) -> None:
    study = read(a_study(tmp_path, 'policies = ["best-fit"]\nseeds = [1, 2]'))
    run(study)
    before = bytes_under(tmp_path / "runs")
    first, second = (cell.out for cell in study.cells)
    inode = first.stat().st_ino
    for path in second.iterdir():
        path.unlink()
    second.rmdir()
    assert [step.kept for step in run(study)] == [True, False]
    assert first.stat().st_ino == inode
    assert bytes_under(tmp_path / "runs") == before


def test_cells_of_other_options_or_another_trace_are_not_taken_for_finished(tmp_path: Path) -> None:
    run(read(a_study(tmp_path)))
    changed = read(a_study(tmp_path, 'policies = ["best-fit"]\n[replay]\npreemption = "on"'))
    with pytest.raises(InputError, match=r"other options or other versions: best-fit_x1_load1_seed0"):
        run(changed)
    assert [step.kept for step in run(changed, force=True)] == [False]
    a_trace(tmp_path / "trace", digest="1" * 64)
    with pytest.raises(InputError, match="another trace"):
        run(read_study(tmp_path / "study.toml", POLICIES))


def test_folder_that_is_not_a_run_stops_the_study(tmp_path: Path) -> None:
    study = read(a_study(tmp_path))
    study.cells[0].out.mkdir(parents=True)
    (study.cells[0].out / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match="not a run"):
        run(study, force=True)


def test_failing_cell_does_not_stop_the_others(tmp_path: Path) -> None:
    study = read(a_study(tmp_path, 'policies = ["broken", "best-fit"]'))
    steps: list[Progress] = []
    with pytest.raises(StudyFailed, match=r"broken_x1_load1_seed0: ValueError.*cannot decide"):
        steps.extend(run_study(study, workers=1, replay=pretend_replay))
    assert study.cells[1].out.exists()
    assert not (tmp_path / "runs" / INDEX).exists()


def test_dead_worker_is_reported_and_the_study_can_go_on(tmp_path: Path) -> None:
    study = read(a_study(tmp_path, 'policies = ["deadly"]'))
    with pytest.raises(StudyFailed, match="run the same command again"):
        run(study)


@pytest.fixture(scope="module")
def dask_address() -> Iterator[str]:
    """A scheduler and two workers on loopback, each a process of its own."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, worker_dashboard_address=None
    ) as cluster:
        yield cluster.scheduler_address


STUDY = 'policies = ["best-fit", "worst-fit"]\nnodes = ["x1", "x0.5"]'


def test_cluster_gives_the_same_bytes_as_local_processes(tmp_path: Path, dask_address: str) -> None:
    one, many, far = (read(a_study(tmp_path / name, STUDY)) for name in ("one", "many", "far"))
    run(one, workers=1)
    run(many, workers=2)
    run(far, cluster=dask_address)
    assert len(far.cells) == 4
    assert bytes_under(one.out) == bytes_under(many.out) == bytes_under(far.out)
    assert all(cost_path(cell.out).exists() for cell in far.cells)


def test_engine_gives_the_same_bytes_wherever_it_runs(tmp_path: Path, dask_address: str) -> None:
    a_loaded_trace(tmp_path / "trace")
    text = 'policies = ["random"]\nnodes = ["x0.75"]\nseeds = [3, 4]'
    run_replay(
        ReplayOptions(tmp_path / "trace", tmp_path / "warm", policy="random")
    )  # compiles once, for every process after it
    studies = []
    for name, options in (("one", {"workers": 1}), ("two", {"workers": 2}), ("far", {"cluster": dask_address})):
        path = tmp_path / f"{name}.toml"
        path.write_text(f'trace = "trace"\nout = "{name}"\n{text}\n')
        studies.append(read_study(path))
        assert len(list(run_study(studies[-1], **options))) == 2  # type: ignore[arg-type]
    one, two, far = (bytes_under(study.out) for study in studies)
    assert one == two == far
    assert read_run(studies[0].cells[0].out).digest != read_run(studies[0].cells[1].out).digest


def test_failure_on_the_cluster_is_reported(tmp_path: Path, dask_address: str) -> None:
    study = read(a_study(tmp_path, 'policies = ["broken", "best-fit"]'))
    with pytest.raises(StudyFailed, match="cannot decide"):
        run(study, cluster=dask_address)
    assert study.cells[1].out.exists()


def test_cluster_that_would_give_other_bytes_is_refused(
    tmp_path: Path, dask_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = workers_module.installed_versions()
    monkeypatch.setattr(workers_module, "installed_versions", lambda: ours | {"numba": "0.0.1"})
    with pytest.raises(InputError, match=r"has numba .* instead of 0\.0\.1"):
        list(workers_module.run_all(read(a_study(tmp_path)).cells, cluster=dask_address, replay=pretend_replay))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense://x"])
def test_cluster_that_does_not_answer_is_refused(tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers_module, "CONNECT_TIMEOUT_S", 1)
    with pytest.raises(InputError, match="no Dask scheduler answers"):
        run(read(a_study(tmp_path)), cluster=address)


def test_command_keeps_what_is_there_and_prints_table_and_json(tmp_path: Path) -> None:
    path = a_study(tmp_path, STUDY)
    run(read(path), workers=2)
    table = CliRunner().invoke(stowage.app, ["sweep", str(path)])
    assert table.exit_code == 0, table.output
    assert "worst-fit_x0.5_load1_seed0" in table.stdout
    assert "4 kept, 0 replayed" in table.stdout
    assert "[4/4] worst-fit_x0.5_load1_seed0: kept" in table.stderr
    found = json.loads(CliRunner().invoke(stowage.app, ["sweep", str(path), "--json"]).stdout)
    assert (found["kept"], found["ran"], len(found["cells"])) == (4, 0, 4)
