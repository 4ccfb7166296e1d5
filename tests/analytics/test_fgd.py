"""FGD's protocol: its workload, its figures, its files, and the command."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import stowage
from analytics import fgd
from analytics.errors import InputError
from analytics.fgd_files import Cluster, Pods, read_cluster, read_expected, read_pods
from analytics.fgd_report import parse_seeds

NODE_HEAD = "sn,cpu_milli,memory_mib,gpu,model"
POD_HEAD = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec"
MIX = ["1000,1024,1,300,", "2000,2048,1,1000,T4", "4000,4096,2,1000,", "500,512,0,0,G2", "3000,1024,1,700,G2|T4"]


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def a_cluster(folder: Path, count: int = 8) -> Cluster:
    rows = [f"node-{row:02d},16000,32768,{1 + row % 4},{'T4' if row % 3 else 'G2'}" for row in range(count)]
    return read_cluster(write(folder / "nodes.csv", NODE_HEAD, *rows))


def some_pods(folder: Path, cluster: Cluster, count: int = 40) -> Pods:
    rows = [f"pod-{row:03d},{MIX[row % len(MIX)]}" for row in range(count)]
    return read_pods(write(folder / "pods.csv", POD_HEAD, *rows), cluster.models)


def test_a_list_that_asks_for_too_little_is_drawn_from_again(tmp_path: Path) -> None:
    cluster = a_cluster(tmp_path)
    pods = some_pods(tmp_path, cluster, 20)
    order = fgd.draw_workload(pods, cluster.gpu_milli, np.random.default_rng(1))
    assert sorted(order[:20]) == list(range(20))  # the whole list first, then draws from it
    asked = pods.gpu_milli[order].sum()
    assert 1.3 * cluster.gpu_milli - 1000 <= asked <= 1.3 * cluster.gpu_milli + 1000


def test_a_list_that_asks_for_too_much_is_trimmed(tmp_path: Path) -> None:
    cluster = a_cluster(tmp_path)
    pods = some_pods(tmp_path, cluster, 200)
    order = fgd.draw_workload(pods, cluster.gpu_milli, np.random.default_rng(1))
    assert len(set(order.tolist())) == len(order) < 200
    assert 1.3 * cluster.gpu_milli - 2000 < pods.gpu_milli[order].sum() <= 1.3 * cluster.gpu_milli


def test_typical_pods_are_the_most_common_that_cover_95_percent(tmp_path: Path) -> None:
    cluster = a_cluster(tmp_path)
    rows = ["1000,1,1,300,"] * 60 + ["2000,1,1,1000,T4"] * 36 + ["500,1,0,0,"] * 3 + ["9000,1,1,1000,"]
    lines = [f"pod-{row:03d},{text}" for row, text in enumerate(rows)]
    pods = read_pods(write(tmp_path / "many.csv", POD_HEAD, *lines), cluster.models)
    mix = fgd.typical_mix(pods)
    t4 = cluster.models.index("T4")
    assert sorted(mix.weight[t4].tolist()) == pytest.approx([0, 0, 36 / 96, 60 / 96])
    assert mix.weight[1 - t4].sum() == pytest.approx(60 / 96)
    assert not mix.memory_of.any()


def test_curves_are_means_over_the_arrivals_that_round_to_a_percent() -> None:
    found = fgd.by_arrived(np.array([0.4, 0.6, 1.4, 3.0]), np.array([1.0, 2.0, 4.0, 8.0]))
    assert found == {0: 1.0, 1: 3.0, 2: pytest.approx(14 / 3), 3: 8.0}


def test_curves_have_no_gap_where_one_pod_asks_for_many_percent() -> None:
    assert fgd.by_arrived(np.array([5.0, 10.0]), np.array([5.0, 7.0])) == {
        **dict.fromkeys(range(4), 0.0), **dict.fromkeys(range(4, 9), 5.0), 9: 7.0, 10: 7.0,
    }  # fmt: skip


@pytest.mark.parametrize("policy", fgd.POLICIES)
def test_what_is_allocated_was_placed_within_what_there_is(tmp_path: Path, policy: str) -> None:
    cluster = a_cluster(tmp_path)
    pods = some_pods(tmp_path, cluster)
    run = fgd.run_seed(cluster, pods, policy, "scores10", 3)
    free = {name: getattr(cluster.nodes, name).copy() for name in ("cpu_milli", "memory_mib", "gpu_milli")}
    placed = 0
    for row, node, device in zip(run.pods, run.node, run.device, strict=True):
        if node == fgd.NOWHERE:
            continue
        kind = pods.kind[row]
        count, share = pods.types.gpus[kind], pods.types.gpu_milli[kind]
        assert pods.allowed[pods.group[row], cluster.nodes.model[node]]
        free["cpu_milli"][node] -= pods.types.cpu_milli[kind]
        free["memory_mib"][node] -= pods.memory_mib[row]
        whole = np.flatnonzero(free["gpu_milli"][node] == 1000)[:count]
        devices = [device] if device >= 0 else whole.tolist()
        assert len(devices) == count
        free["gpu_milli"][node, devices] -= share
        placed += pods.gpu_milli[row]
        assert min(column[node].min() for column in free.values()) >= 0
    last = run.allocated_pct[max(run.allocated_pct)]
    assert 0 < last <= 100 * placed / cluster.gpu_milli + 1e-9
    assert (np.diff(list(run.allocated_pct.values())) >= -1e-9).all()
    for share, allocated in run.allocated_pct.items():
        assert -1e-9 <= run.fragmented_pct[share] <= 100 - allocated + 1e-6


@pytest.mark.parametrize("policy", ["stowage", "random"])
def test_the_same_seeds_give_the_same_answer_however_many_threads(tmp_path: Path, policy: str) -> None:
    cluster = a_cluster(tmp_path)
    pods = some_pods(tmp_path, cluster)
    one, two = (fgd.run_fgd(cluster, pods, policy, "scores10", [5, 6, 7, 8], workers) for workers in (1, 3))
    for first, second in zip(one.runs, two.runs, strict=True):
        np.testing.assert_array_equal(first.node, second.node)
        assert first.allocated_pct == second.allocated_pct
    assert one.runs[0].node.tolist() != one.runs[1].node.tolist()


def test_ours_learns_from_what_has_arrived_only(tmp_path: Path) -> None:
    """Decisions on a first part do not change when the list goes on otherwise."""
    cluster = a_cluster(tmp_path)
    pods = some_pods(tmp_path, cluster)
    whole, part = (fgd.run_seed(cluster, pods, "stowage", "scores10", 3, limit) for limit in (None, 25))
    np.testing.assert_array_equal(whole.node[:25], part.node)


def test_unknown_names_are_refused_with_those_there_are(tmp_path: Path) -> None:
    cluster = a_cluster(tmp_path)
    pods = some_pods(tmp_path, cluster)
    with pytest.raises(InputError, match="no policy is named 'fdg'; known: stowage, fgd"):
        fgd.run_fgd(cluster, pods, "fdg", "exact", [1])
    with pytest.raises(InputError, match="no path is named"):
        fgd.run_fgd(cluster, pods, "fgd", "names", [1])


def test_a_list_without_gpus_cannot_be_inflated(tmp_path: Path) -> None:
    cluster = a_cluster(tmp_path)
    pods = read_pods(write(tmp_path / "cpu.csv", POD_HEAD, "pod-0,1000,1024,0,0,"), cluster.models)
    with pytest.raises(InputError, match="no pod asks for a GPU"):
        fgd.run_fgd(cluster, pods, "fgd", "exact", [1])


def test_csv_gzip_and_parquet_of_five_columns_read_alike(tmp_path: Path) -> None:
    cluster = a_cluster(tmp_path)
    head = POD_HEAD.removesuffix(",gpu_spec")
    lines = [head, "b,1000,1024,1,300", "a,2000,2048,2,1000", "c,500,512,0,0"]
    plain = write(tmp_path / "five.csv", *lines)
    packed = tmp_path / "five.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    columns = {"name": ["b", "a", "c"], "cpu_milli": [1000, 2000, 500], "memory_mib": [1024, 2048, 512]}
    columns |= {"num_gpu": [1, 2, 0], "gpu_milli": [300, 1000, 0]}
    pq.write_table(pa.table(columns), tmp_path / "five.parquet")
    for path in (plain, packed, tmp_path / "five.parquet"):
        pods = read_pods(path, cluster.models)
        assert pods.memory_mib.tolist() == [2048, 1024, 512]  # by name
        assert pods.gpu_milli.tolist() == [2000, 300, 0]
        assert pods.allowed.tolist() == [[True, True]]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["name,cpu_milli"], "there is no column memory_mib, num_gpu, gpu_milli; it has name, cpu_milli"),
        ([POD_HEAD, "a,1,1,1,1001,"], "row 1: gpu_milli: at most 1000"),
        ([POD_HEAD, "a,1,1,1,500,", "b,1,1,2,500,"], "row 2: gpu_milli: 1000 for a pod of several GPUs"),
        ([POD_HEAD, "a,1,1,1,0,"], "row 1: gpu_milli: a pod with GPUs asks for a share of each"),
        ([POD_HEAD, "a,1,1,1,500,", "a,1,1,1,500,"], "row 2: a is there twice"),
        ([POD_HEAD, "a,-5,1,1,500,"], "row 1: cpu_milli: -5 is below zero"),
        ([POD_HEAD, "a,,1,1,500,"], "row 1: cpu_milli: no value"),
        ([POD_HEAD, "a,x,1,1,500,"], "cpu_milli: whole numbers only"),
        ([POD_HEAD, "a,1,1"], "not a readable CSV or Parquet file"),
    ],
)
def test_bad_pod_lists_are_named_with_row_and_rule(tmp_path: Path, lines: list[str], message: str) -> None:
    path = write(tmp_path / "bad.csv", *lines)
    with pytest.raises(InputError) as refused:
        read_pods(path, ("G2",))
    assert str(refused.value).startswith(str(path))
    assert message in str(refused.value)


def test_a_list_of_nodes_without_gpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no node has a GPU"):
        read_cluster(write(tmp_path / "cpu.csv", NODE_HEAD, "a,1000,1024,0,"))
    with pytest.raises(InputError, match="there is no such file"):
        read_cluster(tmp_path / "absent.parquet")


def test_seeds_are_one_several_or_a_range() -> None:
    assert parse_seeds("42-45") == [42, 43, 44, 45]
    assert parse_seeds("7,3") == [7, 3]
    for text in ("", "5-3", "1,1", "a", "-3", "1-"):
        with pytest.raises(InputError, match="--seeds"):
            parse_seeds(text)


def test_the_command_prints_the_keys_scripts_rely_on_with_what_was_published(tmp_path: Path) -> None:
    cluster = a_cluster(tmp_path)
    some_pods(tmp_path, cluster)
    folder = tmp_path / "fgd_expected"
    folder.mkdir()
    rows = {"workload": ["pods"] * 2, "sc_policy": ["06-FGD"] * 2, "100": [80.0, 81.0]}
    pq.write_table(pa.table(rows), folder / "analysis_allo_discrete.parquet")
    words = ["fgd", str(tmp_path / "nodes.csv"), str(tmp_path / "pods.csv"), "--seeds", "1-2"]
    answer = CliRunner().invoke(stowage.app, [*words, "--policy", "fgd", "--json"])
    assert answer.exit_code == 0, answer.output
    found = json.loads(answer.stdout)
    assert set(found["per_seed"]) == {"1", "2"}
    curves = [found["per_seed"][seed] for seed in ("1", "2")]
    assert found["allocated_pct"]["100"] == pytest.approx(np.mean([curve["100"] for curve in curves]))
    assert found["published"]["allocated_pct"]["06-FGD"]["100"] == 80.5
    assert found["cpu_s"] > 0
    table = CliRunner().invoke(stowage.app, words).stdout
    assert "stowage, scores10" in table
    assert "published 06-FGD" in table


@pytest.mark.parametrize(
    ("policy", "path", "share", "least", "most"),
    [
        ("fgd", "exact", "06-FGD", -0.3, 0.3),
        ("best-fit", "exact", "05-BestFit", -0.3, 0.3),
        ("stowage", "scores10", "06-FGD", 0.2, 1.66),  # 96.89 is an upper bound for this list
    ],
)
def test_the_default_list_comes_out_as_published(
    shared_data: Callable[[str], Path], policy: str, path: str, share: str, least: float, most: float
) -> None:
    folder = shared_data("gpu/openb")
    cluster = read_cluster(folder / "openb_node_list_gpu_node.csv")
    pods = read_pods(folder / "openb_pod_list_default.csv", cluster.models)
    published = read_expected(folder / "fgd_expected", "openb_pod_list_default")["allocated_pct"][share][100]
    run = fgd.run_seed(cluster, pods, policy, path, 42)
    assert published + least <= run.allocated_pct[100] <= published + most
