"""The Plan page over reports of the commands themselves, and over a journal."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

import stowage
from analytics.views import plan, waiting
from analytics.workspace import find_items
from dashboard import live, settings
from scheduler.core.snapshot import encode_snapshot
from scheduler.live.journal import Journal
from tests.dashboard.clusters import a_busy_cluster
from tests.dashboard.conftest import OpenPage

HOSTILE = "<script>alert(1)</script>**b**"


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot, and what pack and balance make of it."""
    folder = tmp_path_factory.mktemp("plans")
    (folder / "cluster.json").write_bytes(encode_snapshot(a_busy_cluster(16)))
    (folder / "other.json").write_bytes(encode_snapshot(a_busy_cluster(4, seed=1)))
    cluster = str(folder / "cluster.json")
    for name, words in {
        "pack": ["pack", cluster, "--budget", "1s", "--json"],
        "fewer": ["pack", cluster, "--minimise", "nodes", "--budget", "1s", "--json"],
        "balance": ["balance", cluster, "--method", "greedy", "--budget", "1s", "--json"],
    }.items():
        done = CliRunner().invoke(stowage.app, words)
        assert done.exit_code == 0, done.output
        (folder / f"{name}.json").write_text(done.stdout)
    return folder


def tiles(app):
    return {tile.label: tile.value for tile in app.metric}


def table(app, column):
    return next(one.value for one in app.dataframe if column in one.value.columns)


def items(folder: Path):
    return {item.name: item for item in find_items([folder]).items}


def test_the_page_tells_what_the_report_says(reports: Path, open_page: OpenPage) -> None:
    app = open_page("plan", reports, plan="pack.json", **{"from": "cluster.json"})
    assert not app.exception
    report = json.loads((reports / "pack.json").read_text())
    assert tiles(app)["Verdict"] == report["verdict"]
    assert tiles(app)["Pods moved"] == str(len(report["moves"]))
    assert tiles(app)["Pods evicted for others"] == str(len(report["evicted"]))
    gained = sum(report["placed"].values()) - sum(report["placed_before"].values())
    assert tiles(app)["Pods gained"] == f"{gained:+,}"
    assert not app.warning or "This is not the snapshot" not in app.warning[0].value
    assert table(app, "room_is_free")["pod"].tolist() == [step["pod"] for step in report["steps"]]


def test_nodes_before_and_after_agree_with_the_placements(reports: Path) -> None:
    known = items(reports)
    frame = plan.node_changes(known["pack.json"], known["cluster.json"])
    report = json.loads((reports / "pack.json").read_text())
    after = pd.Series([node for node in report["placements"].values() if node]).value_counts()
    assert {row.node: row.pods_after for row in frame.itertuples()} == {n: int(after.get(n, 0)) for n in frame["node"]}
    assert (frame[["cpu_after", "memory_after"]] <= 1).all().all()


def test_budgets_lose_as_many_as_their_pods_that_leave(reports: Path) -> None:
    known = items(reports)
    frame = plan.budgets(known["pack.json"], known["cluster.json"])
    steps = plan.steps(known["pack.json"], known["cluster.json"])
    bound = steps[(steps["budget"] != "") & steps["action"].isin(["move", "evict"])]
    assert frame["disturbed"].sum() >= len(bound["pod"].unique()) or frame.empty
    assert (frame["left"] == frame["allowed_now"] - frame["disturbed"]).all()


def test_another_snapshot_is_told_from_the_one_the_plan_was_made_from(reports: Path, open_page: OpenPage) -> None:
    app = open_page("plan", reports, plan="pack.json", **{"from": "other.json"})
    assert not app.exception
    assert any("This is not the snapshot" in note.value for note in app.warning)


@pytest.mark.parametrize("name", ["fewer.json", "balance.json"])
def test_other_plans_have_their_objective_and_steps(reports: Path, open_page: OpenPage, name: str) -> None:
    app = open_page("plan", reports, plan=name, **{"from": "cluster.json"})
    assert not app.exception
    assert {"before", "after", "bound"} <= set(table(app, "part").columns)


def test_steps_wait_for_the_room_that_earlier_ones_free() -> None:
    frame = pd.DataFrame(
        [("evict", "a", "n1", None, True), ("move", "b", "n2", "n1", True), ("place", "c", None, "n3", True)],
        columns=["action", "pod", "from", "to", "room_is_free"],
    ).assign(step=[1, 2, 3])
    times = plan.timeline(frame, 10.0, 5)
    assert times["begin_s"].tolist() == [0.0, 10.0, 10.0]
    assert plan.timeline(frame.iloc[[0, 2]], 10.0, 5)["begin_s"].tolist() == [0.0, 0.0]
    assert plan.timeline(frame.iloc[[0, 2]], 10.0, 1)["begin_s"].tolist() == [0.0, 10.0]


def test_what_disruption_buys_ends_with_what_the_plan_places(reports: Path) -> None:
    steps = plan.steps(items(reports)["pack.json"])
    course = plan.worth(steps)
    assert course["placed"].iloc[-1] == (steps["action"] == "place").sum()
    assert course["disturbed"].iloc[-1] == steps["action"].isin(["move", "evict"]).sum()
    assert course.iloc[0].tolist() == [0, 0, 0, 0]


def test_the_journal_tells_how_a_plan_went(tmp_path: Path, open_page: OpenPage) -> None:
    journal = Journal(tmp_path / "journal", "planner-0")
    for second, (kind, rest) in enumerate([
        ("plan", {"verdict": "Executing", "message": HOSTILE}),
        ("step", {"namespace": "shop", "pod": "a", "node": "n1", "verdict": "evicting", "reason": "move"}),
        ("step", {"namespace": "shop", "pod": "a", "node": "n1", "verdict": "bound", "reason": "move"}),
        ("step", {"namespace": "shop", "pod": HOSTILE, "node": "n1", "verdict": "failed", "reason": "move"}),
        ("action", {"namespace": "shop", "pod": "b", "reason": "Evict", "verdict": "429", "message": "budget"}),
        ("plan", {"verdict": "Stopped", "message": HOSTILE, "reason": "ByHand"}),
    ]):  # fmt: skip
        journal.append(kind, 1e9 + second, plan="p1", **rest)
    journal.flush()
    app = open_page("plan", journal=tmp_path / "journal", name="p1")
    assert not app.exception
    assert tiles(app)["Phase"] == "Stopped"
    assert tiles(app)["Steps done"] == "1 of 2"
    assert tiles(app)["Writes refused"] == "1"
    assert not any("<script>" in text.value and "\\<script" not in text.value for text in app.markdown)


def test_nothing_to_look_at_says_how_to_make_it(tmp_path: Path, open_page: OpenPage) -> None:
    app = open_page("plan", tmp_path)
    assert not app.exception
    assert "stowage pack" in app.code[0].value


# ---- who is who


@pytest.fixture
def a_login():
    settings.use(settings.Settings(cluster="kubeconfig"))
    yield
    settings.use(settings.Settings())


@pytest.mark.parametrize(
    ("known", "name"),
    [
        ({}, None),
        ({"is_logged_in": False, "email": "a@b"}, None),
        ({"is_logged_in": True, "email": "a@b"}, "a@b"),
        ({"is_logged_in": True, "email": "a@b", "email_verified": False}, None),
        ({"is_logged_in": True, "email": "system:admin"}, None),
        ({"is_logged_in": True, "email": ["a"]}, None),
        ({"is_logged_in": "yes", "email": "a@b"}, None),
        ({"stowage_user": "a@b", "stowage_proxy": ""}, None),
    ],
)
def test_nobody_is_anybody_before_logging_in(a_login: None, known: dict[str, object], name: str | None) -> None:
    person = live.person_of(known)
    assert (person and person.name) == name


def test_groups_of_kubernetes_itself_are_not_taken_from_outside(a_login: None) -> None:
    person = live.person_of({"is_logged_in": True, "email": "a@b", "groups": ["system:masters", "team"]})
    assert person == live.Person("a@b", ("team",))


@pytest.mark.parametrize(("shown", "name"), [("s" * 20, "ann"), ("t" * 20, None), (None, None)])
def test_a_header_is_believed_from_the_proxy_that_shows_its_secret(shown: str | None, name: str | None) -> None:
    settings.use(settings.Settings(cluster="kubeconfig", proxy_secret="s" * 20))
    person = live.person_of({"stowage_user": "ann", "stowage_groups": "a, system:masters,b", "stowage_proxy": shown})
    assert (person and person.name) == name
    assert person is None or person.groups == ("a", "b")
    settings.use(settings.Settings())


# ---- the live cluster's plans on the page


class FakeCluster:
    """One plan that waits for approval, and a person who may patch it or may not."""

    def __init__(self, may: bool) -> None:
        self.may = may
        self.acts: list[tuple[str, str]] = []

    def plans(self, person):
        step = {"index": 0, "action": "place", "namespace": "shop", "pod": HOSTILE, "to": "n1", "why": HOSTILE}
        spec = {"mode": "approve", "verdict": "optimal", "summary": HOSTILE, "steps": [step]}
        return [{"metadata": {"name": "p1", "creationTimestamp": "2026-11-02T08:11:40Z"}, "spec": spec, "status": {}}]

    def allows(self, person, right):
        return self.may

    def act(self, person, verb, name):
        if not self.may:
            raise live.Refused("may not")
        self.acts.append((verb, name))


@pytest.fixture
def live_page(open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The page of a live cluster for somebody: live_page(person, may)."""

    def open_it(person: live.Person | None, may: bool = False):
        fake = FakeCluster(may)
        monkeypatch.setattr(live, "current_person", lambda: person)
        monkeypatch.setattr(live, "cluster", lambda: fake)
        monkeypatch.setattr(live, "is_on", lambda: True)
        return open_page("plan", tmp_path), fake

    return open_it


def test_who_has_not_logged_in_sees_no_plan(live_page) -> None:
    app, _ = live_page(None)
    assert not app.exception
    assert not app.dataframe
    assert [button.label for button in app.button] == ["Log in"]


def test_who_may_not_patch_plans_has_no_button_to_press(live_page) -> None:
    app, fake = live_page(live.Person("ben"))
    assert not app.exception
    assert [(button.label, button.disabled) for button in app.button] == [("Approve", True), ("Stop", True)]
    assert fake.acts == []


def test_who_may_approves_with_a_click(live_page) -> None:
    app, fake = live_page(live.Person("ann"), may=True)
    app.button("approve").click().run()
    assert not app.exception
    assert fake.acts == [("approve", "p1")]
    assert "noted in the journal" in app.success[0].value
    assert not any("<script>" in text.value and "\\<script" not in text.value for text in app.markdown)


def test_an_explanation_names_no_pod_of_another_namespace(reports: Path) -> None:
    (item,) = [one for one in find_items([reports]).of("snapshot") if one.name == "cluster.json"]
    full = waiting.explain(item, "shop/web-new-0", 1.0)
    limited = waiting.explain(item, "shop/web-new-0", 1.0, frozenset({"shop"}))
    named = [step["pod"] for step in limited["steps"]]
    assert all(pod.startswith("shop/") or pod == waiting.ANOTHER for pod in named)
    assert not any(pod.startswith("batch/") for pod in named)
    assert full["answer"] == limited["answer"]
    told = waiting._without_names({"why": ["move batch/a-1, then ml/b."]}, {"batch/a-1", "ml/b"})
    assert told == {"why": [f"move {waiting.ANOTHER}, then {waiting.ANOTHER}."]}


def test_limited_people_see_the_waiting_pods_of_their_namespaces(
    reports: Path, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "visible_namespaces", lambda: frozenset({"shop"}))
    app = open_page("pending", reports, on="cluster.json")
    assert not app.exception
    assert set(table(app, "cause")["namespace"]) == {"shop"}
    assert all(pod.startswith("shop/") for pod in next(box.options for box in app.selectbox if box.label == "Pod"))
