"""What is found in folders: kinds, faults with their reason, and no way to make it fail or run for ever."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analytics import workspace
from analytics.errors import InputError
from analytics.workspace import Item, find_items, last_written_s, read_json, read_report
from tests.analytics import builders

# A value of the right type for every key that has one.
VALUES = {workspace.OBJECT: {}, workspace.LIST: [], workspace.TEXT: "", workspace.NUMBER: -0.5}
EXAMPLES = {name: VALUES[kind] for name, kind in workspace.TYPES.items()}


def write_json(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def a_run(folder: Path, **facts: object) -> Path:
    """The folder of a run of functions: of all runs the one with least in it."""
    about = {"digest": "d", "files": {"subjects.parquet": "sum", "summary.json": "sum"}, "policies": ["fixed"]}
    write_json(folder / "run.json", about | facts)
    write_json(folder / "summary.json", [])
    columns = ("policy", "subject", "invocations", "cold_starts", "idle_s")
    pq.write_table(pa.table({name: pa.array([], pa.int64()) for name in columns}), folder / "subjects.parquet")
    return folder


def only(folder: Path) -> Item:
    (item,) = find_items([folder]).items
    return item


def test_things_are_told_apart_by_what_they_hold(tmp_path: Path) -> None:
    builders.a_run(tmp_path / "runs" / "a", [builders.an_attempt(1)], [builders.a_sample()])
    a_run(tmp_path / "runs" / "functions")
    write_json(tmp_path / "trace" / "meta.json", {})
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / "segment-1.parquet").touch()
    write_json(tmp_path / "list.json", {"apiVersion": "v1", "items": [], "kind": "List"})
    write_json(tmp_path / "ours.json", {"kind": "StowageSnapshot"})
    for kind, keys in workspace.REPORTS.items():
        write_json(tmp_path / "reports" / f"{kind}.json", {name: EXAMPLES.get(name) for name in (*keys, "more")})
    write_json(tmp_path / "a-list.json", [1, 2])
    write_json(tmp_path / "package.json", {"name": "somebody's", "kind": 7})
    (tmp_path / "readme.txt").write_text("{")
    found = {item.name: item.kind for item in find_items([tmp_path]).items}
    assert found == {
        "runs/a": "replay", "runs/functions": "serverless", "trace": "trace", "journal": "journal",
        "list.json": "snapshot", "ours.json": "snapshot",
        **{f"reports/{kind}.json": kind for kind in workspace.REPORTS},
    }  # fmt: skip


def test_a_thing_given_by_its_own_path_has_its_own_name(tmp_path: Path) -> None:
    assert only(a_run(tmp_path / "a")).name == "a"
    assert only(write_json(tmp_path / "list.json", {"kind": "List"})).name == "list.json"


def test_equal_names_of_two_folders_are_told_apart(tmp_path: Path) -> None:
    for place in ("x", "y"):
        a_run(tmp_path / place / "a")
    items = find_items([tmp_path / "x", tmp_path / "y", tmp_path / "x"]).items
    assert [item.name for item in items] == ["a", str(tmp_path / "y" / "a")]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "is not whole JSON"),
        (b'{"digest": "d", "fi', "is not whole JSON"),
        (b"\xff\xfe\x00garbage", "is not whole JSON"),
        (b"[" * 100_000, "is not whole JSON"),
        (b"[]", "is not a JSON object"),
        (b'{"digest": 7, "files": {}}', "not a run of this version"),
        (b'{"digest": "d", "files": ["subjects.parquet"]}', "not a run of this version"),
        (b'{"digest": "d", "files": {"subjects.parquet": "", "nodes.parquet": ""}}', "lacks nodes.parquet"),
        (b'{"digest": "d", "files": {"\\u0000": ""}}', "lacks"),
    ],
)
def test_a_run_description_that_is_none_is_named_with_what_to_do(tmp_path: Path, text: bytes, reason: str) -> None:
    (a_run(tmp_path / "a") / "run.json").write_bytes(text)
    item = only(tmp_path)
    assert (item.kind, item.name) == ("broken", "a")
    assert reason in item.problem
    assert str(tmp_path / "a") in item.problem
    assert "again" in item.problem or "no report" in item.problem


def test_a_run_whose_files_are_cut_or_of_another_version_is_named(tmp_path: Path) -> None:
    whole = builders.a_run(tmp_path / "a", [builders.an_attempt(1)], [builders.a_sample()])
    assert only(whole).kind == "replay"
    for number, file in enumerate(sorted([*whole.glob("*.parquet"), whole / "summary.json"])):
        for spoil, reason in ((lambda data: data[:-9], "whole"), (lambda data: b"garbage" * 9, "whole")):
            broken = tmp_path / f"{number}-{reason}"
            shutil.copytree(whole, broken, dirs_exist_ok=True)
            (broken / file.name).write_bytes(spoil(file.read_bytes()))
            item = only(broken)
            assert (item.kind, file.name in item.problem) == ("broken", True)
            assert reason in item.problem
    foreign = tmp_path / "foreign"
    shutil.copytree(whole, foreign)
    table = pq.read_table(foreign / "placements.parquet")
    pq.write_table(table.drop_columns(["submit_us", "tenant"]), foreign / "placements.parquet")
    assert "placements.parquet was written by another version, it lacks submit_us, tenant" in only(foreign).problem


def test_a_run_that_lacks_what_came_later_is_still_one(tmp_path: Path) -> None:
    folder = builders.a_run(tmp_path / "a", [builders.an_attempt(1)], [builders.a_sample()])
    for table, begins in workspace.LATER.items():
        rows = pq.read_table(folder / f"{table}.parquet")
        later = [name for name in rows.column_names if name.startswith(begins)]
        pq.write_table(rows.drop_columns(later), folder / f"{table}.parquet")
    assert only(folder).kind == "replay"


@pytest.mark.parametrize("text", [b'{"kind": "Li', b"[" * 100_000, b"\xff", b""])
def test_a_report_that_is_cut_is_named(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "report.json").write_bytes(text)
    item = only(tmp_path)
    assert item.kind == "broken"
    assert "make it again" in item.problem


@pytest.mark.parametrize("name", sorted(workspace.TYPES))
def test_a_report_whose_keys_mean_something_else_is_named(tmp_path: Path, name: str) -> None:
    kind, keys = next((kind, keys) for kind, keys in workspace.REPORTS.items() if name in keys)
    whole = {key: EXAMPLES.get(key) for key in keys}
    assert only(write_json(tmp_path / "report.json", whole)).kind == kind
    for wrong in (value for value in (None, True, {}, [], "x", 1) if type(value) is not type(whole[name])):
        if not (isinstance(whole[name], float) and wrong == 1 and wrong is not True):
            item = only(write_json(tmp_path / "report.json", whole | {name: wrong}))
            assert item.kind == "broken"
            assert f"its {name} is not" in item.problem


def test_a_report_is_read_as_what_it_is_now(tmp_path: Path) -> None:
    path = write_json(tmp_path / "fgd.json", {"allocated_pct": {}, "per_seed": {}})
    item = only(tmp_path)
    assert read_report(item) == {"allocated_pct": {}, "per_seed": {}}
    path.write_text("[]")
    with pytest.raises(InputError, match="no JSON object"):
        read_report(item)
    path.unlink()
    with pytest.raises(InputError, match="is not there any more"):
        read_report(item)
    with pytest.raises(InputError, match="no JSON list"):
        read_json(write_json(path, {}), list)


def test_a_file_too_large_is_not_read(tmp_path: Path) -> None:
    path = write_json(tmp_path / "large.json", {})
    os.truncate(path, workspace.MOST_SNAPSHOT_BYTES + 1)  # a hole: takes no room
    assert "at most 512" in only(tmp_path).problem
    os.truncate(path, workspace.MOST_REPORT_BYTES + 1)
    with pytest.raises(InputError, match="at most 64"):
        read_json(path, dict)


def test_what_is_being_written_is_known_by_its_name_and_is_no_run_yet(tmp_path: Path) -> None:
    a_run(tmp_path / "a")
    a_run(tmp_path / "a.partial")
    (tmp_path / "b.partial").mkdir()
    a_run(tmp_path / "a.replaced.partial")
    found = find_items([tmp_path])
    assert [item.path.name for item in found.of("serverless")] == ["a"]
    assert [(item.path.name, item.is_partial) for item in found.partial] == [("a.partial", True), ("b.partial", True)]
    assert len({item.name for item in found.items}) == 3
    written_s = last_written_s(found.partial[1])
    assert written_s == pytest.approx((tmp_path / "b.partial").stat().st_mtime)
    (tmp_path / "b.partial").rmdir()
    assert last_written_s(found.partial[1]) == 0


def test_the_key_changes_when_the_thing_does(tmp_path: Path) -> None:
    run, report = a_run(tmp_path / "a"), write_json(tmp_path / "r.json", {"tables": {}})
    before = {item.name: item.key for item in find_items([tmp_path]).items}
    assert {item.name: item.key for item in find_items([tmp_path]).items} == before
    a_run(run, digest="another")
    write_json(report, {"tables": {"x": 1}})
    after = {item.name: item.key for item in find_items([tmp_path]).items}
    assert all(after[name] != before[name] for name in before)


def test_links_that_lead_in_circles_are_followed_once(tmp_path: Path) -> None:
    a_run(tmp_path / "in" / "a")
    (tmp_path / "in" / "up").symlink_to(tmp_path)
    (tmp_path / "in" / "itself").symlink_to(tmp_path / "in" / "itself")
    (tmp_path / "in" / "twice").symlink_to(tmp_path / "in" / "a")
    write_json(tmp_path / "r.json", {"tables": {}})
    (tmp_path / "same.json").symlink_to(tmp_path / "r.json")
    assert [item.name for item in find_items([tmp_path]).items] == ["in/a", "r.json"]


def test_a_link_to_nothing_and_a_path_that_is_gone_are_named(tmp_path: Path) -> None:
    (tmp_path / "lost").symlink_to(tmp_path / "nothing")
    for path in (tmp_path / "lost", tmp_path / "gone"):
        item = only(path)
        assert item.kind == "broken"
        assert str(path) in item.problem


def test_more_things_than_are_shown_are_counted(tmp_path: Path) -> None:
    for number in range(600):
        write_json(tmp_path / f"{number:03}.json", {"tables": {}})
    found = find_items([tmp_path])
    assert (len(found.items), found.skipped, found.is_cut) == (500, 100, False)


def test_folders_that_hold_too_much_are_not_looked_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace, "MOST_ENTRIES", 20)
    for number in range(30):
        (tmp_path / f"{number:02}").mkdir()
    a_run(tmp_path / "05" / "a")
    a_run(tmp_path / "29" / "z")
    found = find_items([tmp_path])
    assert [item.name for item in found.items] == ["05/a"]
    assert found.is_cut


@pytest.fixture
def nobody() -> Iterator[Path]:
    """A folder, and rights of an ordinary user: root may read everything."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        os.seteuid(os.getuid())


def test_what_may_not_be_read_is_named(nobody: Path) -> None:
    run = a_run(nobody / "closed")
    report = write_json(nobody / "closed.json", {"tables": {}})
    listed = a_run(nobody / "listed" / "in").parent  # its names may be read, what is in them not
    a_run(nobody / "open")
    report.chmod(0)
    run.chmod(0)
    listed.chmod(0o444)
    if os.getuid() == 0:
        os.seteuid(65534)
    found = {item.name: item for item in find_items([nobody]).items}
    assert found["open"].kind == "serverless"
    for name in ("closed", "closed.json"):
        assert found[name].kind == "broken"
        assert "Permission denied" in found[name].problem
    assert {name for name in found if name.startswith("listed")} <= {"listed", "listed/in"}
    os.seteuid(os.getuid())
    for path in (run, listed):
        path.chmod(0o755)
