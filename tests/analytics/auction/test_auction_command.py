"""`stowage auction` end to end on small files, and on the published instance where its files are."""

from __future__ import annotations

import json
import xml.etree.ElementTree
from pathlib import Path

import pytest
from typer.testing import CliRunner

import stowage
from analytics.auction.mechanisms import MECHANISMS, solve
from analytics.auction.rounds import read_round
from analytics.errors import InputError
from scheduler.core.auction.charges import clarke
from scheduler.core.errors import StowageInputError
from tests.analytics.auction.files import a_cluster, a_market_file, a_node, a_pod, auction, job_events, table
from tests.analytics.small_traces import SmallTrace, ran

REAL = Path(__file__).resolve().parents[4] / "shared" / "data" / "google2011" / "job_events"
PROMISED = {
    "mechanism", "efficiency", "satisfaction", "welfare", "bound", "gap", "revenue", "jain_requests", "jain_tenants",
    "cpu_s",
}  # fmt: skip


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_every_mechanism_answers_with_the_promised_keys(tmp_path, mechanism):
    found = auction(a_market_file(tmp_path), "--mechanism", mechanism)
    assert set(found) >= PROMISED
    assert found["mechanism"] == mechanism
    assert found["bound"] == pytest.approx(14.0)  # r1 on n1 and r2 on n2
    assert found["welfare"] <= 14.0 + 1e-9
    assert found["gap"] == pytest.approx(1 - found["welfare"] / 14)
    assert sum(one["pays"] for one in found["allocation"]) == pytest.approx(sum(found["charges"].values()))


def test_the_optimum_is_found_and_priced(tmp_path):
    found = auction(a_market_file(tmp_path))
    assert {one["request"]: one["node"] for one in found["allocation"]} == {"r1": "n1", "r2": "n2"}
    assert found["welfare"] == pytest.approx(14.0)
    assert found["satisfaction"] == pytest.approx(2 / 3)
    assert found["efficiency"] == pytest.approx(14 / 9 / 3)
    assert found["regret"]["at_most"] == pytest.approx(0.0, abs=1e-6)


def test_clarke_charges_are_the_harm_done(tmp_path):
    found = auction(a_market_file(tmp_path), "--charge", "clarke")
    # without red, blue would have 6 + 4 and has 5; without blue, red has what it has
    assert found["charges"] == {"blue": pytest.approx(0.0), "red": pytest.approx(5.0)}
    assert found["revenue"] == pytest.approx(5.0)


def test_regret_is_what_greedy_gives_up(tmp_path):
    path = a_market_file(
        tmp_path,
        requests=[
            {"name": "x", "tenant": "t", "demand": {"cpu": 2}, "bids": {"n1": 1.0, "n2": 0.99}},
            {"name": "y", "tenant": "u", "demand": {"cpu": 4}, "bids": {"n1": 0.99}},
        ],
    )
    found = auction(path, "--mechanism", "mohaf")
    assert found["welfare"] == pytest.approx(1.0)
    assert found["regret"]["optimum"] == pytest.approx(1.98)
    assert found["regret"]["at_least"] == pytest.approx(0.98)


def test_one_per_node_keeps_others_out(tmp_path):
    path = a_market_file(
        tmp_path,
        nodes=[{"name": "n", "room": {"cpu": 9}}],
        requests=[{"name": f"r{n}", "tenant": "t", "demand": {"cpu": 1}, "bid": 1} for n in range(3)],
    )
    assert auction(path)["winners"] == 3
    assert auction(path, "--per-node", "one")["winners"] == 1


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_an_empty_round_is_an_answer(tmp_path, mechanism):
    for changes in ({"requests": []}, {"requests": [], "nodes": []}, {"nodes": [{"name": "n", "room": {"cpu": 0}}]}):
        if "nodes" in changes and "requests" not in changes:
            changes["requests"] = [{"name": "r", "tenant": "t", "demand": {"cpu": 1}, "bid": 1.0}]
        for per_node in ("one", "many"):
            path = a_market_file(tmp_path, **changes)
            found = auction(path, "--mechanism", mechanism, "--per-node", per_node, "--frontier", "2")
            assert (found["winners"], found["welfare"], found["gap"]) == (0, 0.0, 0.0)


def test_a_cluster_is_sold_to_its_pods(tmp_path):
    path = a_cluster(
        tmp_path, a_node("n1", cpu="2"), a_pod("a", annotations={"stowage.dev/bid": "1"}, cpu="2"),
        a_pod("b", annotations={"stowage.dev/bid": "2"}, cpu="2"),
    )  # fmt: skip
    assert [one["request"] for one in auction(path)["allocation"]] == ["shop/b"]


def test_a_trace_is_sold_with_a_bound_that_knows_the_machines_not_listed(tmp_path):
    trace = SmallTrace()
    for machine in range(4):
        trace.machine(machine, cpu=1000)
    for job in range(1, 9):
        trace.task(ran(0, 5, 60), job=job, cpu=1000)
    trace.write(tmp_path / "trace")
    found = auction(tmp_path / "trace", "--at", "10s", "--listed", "3")
    assert found["winners"] == 4
    assert found["bound"] == pytest.approx(4.0)
    assert (found["gap"], found["verdict"]) == (pytest.approx(0.0), "optimal")
    assert all(price for price in found["prices"].values())  # twice as many want them as there are


def test_the_frontier_goes_from_one_aim_to_the_other_and_is_drawn(tmp_path):
    folder = tmp_path / "job_events"
    job_events(folder, *[n % 3 for n in range(60)])
    plot, out = tmp_path / "frontier.svg", tmp_path / "answer.json"
    found = auction(folder, "--frontier", "3", "--plot", plot, "-o", out)
    points = found["frontier"]["points"]
    assert [point["weight"] for point in points] == [0.0, 0.5, 1.0]
    assert points[0]["efficiency"] == pytest.approx(found["efficiency"])
    assert points[0]["efficiency"] >= points[2]["efficiency"]
    assert points[2]["placed"]["capacity"] >= points[0]["placed"]["capacity"]
    assert all(0 <= point["gap"] < 1 for point in points)
    drawn = xml.etree.ElementTree.fromstring(plot.read_text())
    assert len(drawn.findall("{http://www.w3.org/2000/svg}polyline")) == 3
    assert json.loads(out.read_text())["frontier"] == found["frontier"]


def test_towards_tenants_every_tenant_counts_the_same(tmp_path):
    requests = [{"name": f"a{n}", "tenant": "a", "demand": {"cpu": 1}, "bid": 3.0} for n in range(4)]
    requests.append({"name": "b", "tenant": "b", "demand": {"cpu": 1}, "bid": 1.0})
    path = a_market_file(tmp_path, nodes=[{"name": "n", "room": {"cpu": 4}}], requests=requests)
    points = auction(path, "--frontier", "2", "--towards", "tenants")["frontier"]["points"]
    assert points[0]["jain_tenants"] < points[1]["jain_tenants"]


def test_published_options_change_what_they_say(tmp_path):
    folder = tmp_path / "job_events"
    job_events(folder, *[n % 3 for n in range(80)])
    quick = ("--effort", "0")  # no proof of the optimum

    def mohaf(*words):
        return auction(folder, "--mechanism", "mohaf", *quick, *words)

    own = mohaf()
    assert mohaf("--payment", "second-machine")["revenue"] != own["revenue"]
    dynamic = mohaf("--pricing", "dynamic", "--rounds", "5")
    assert dynamic["prices"] != own["prices"]
    clustered = mohaf("--clusters", "6")
    assert clustered["welfare"] < own["welfare"]
    assert mohaf("--clusters", "6", "--reach", "6")["welfare"] == own["welfare"]
    assert mohaf("--draw-seed", "1")["welfare"] != own["welfare"]


def test_the_tables_say_who_won_and_how_sure_that_is(tmp_path):
    text = table(a_market_file(tmp_path), "--frontier", "2")
    for words in ("winners, highest", "r1", "tenants, highest", "prices", "bound, gap", "frontier towards demand"):
        assert words in text


def test_posted_prices_turn_nobody_away_and_say_how_many_they_would(tmp_path):
    """Three want the room of two: the price rises until one of them does not mind, and the others pay it."""
    one = {"tenant": "t", "demand": {"cpu": 1}}
    path = a_market_file(
        tmp_path,
        nodes=[{"name": "n", "room": {"cpu": 2}}],
        requests=[{"name": f"r{bid}", "bid": bid, **one} for bid in (1, 2, 3)],
    )
    found = auction(path, "--mechanism", "posted")
    assert found["over_demand"] == 0.0
    assert {one["request"] for one in found["allocation"]} == {"r2", "r3"}
    paid = {one["pays"] for one in found["allocation"]}
    assert len(paid) == 1
    assert 1 <= paid.pop() <= 2
    assert "unserved of those who want room" in table(path, "--mechanism", "posted")


def test_clarke_charges_are_the_same_by_exchanges_and_by_solving_without_each_tenant(tmp_path):
    folder = tmp_path / "job_events"
    job_events(folder, *[n % 3 for n in range(48)])
    made = read_round([folder], utility="paper", exclusive=True)
    outcome = solve(made.market, 0, 1.0)
    slow = clarke(made.market, outcome, lambda one: solve(one, 0, 1.0))
    found = auction(folder, "--per-node", "one", "--charge", "clarke")
    assert list(found["charges"].values()) == pytest.approx(slow.charge.tolist(), abs=1e-6)
    assert sum(one["pays"] for one in found["allocation"]) == pytest.approx(slow.charge.sum(), abs=1e-6)
    assert max(found["charges_slack"].values()) == 0.0


def test_a_charge_that_is_not_proved_says_how_much_may_be_owed(tmp_path):
    folder = tmp_path / "job_events"
    job_events(folder, *[n % 4 for n in range(120)])
    words = (folder, "--charge", "clarke", "--effort", "0")
    found = auction(*words)
    assert set(found["charges_slack"]) == set(found["charges"])
    assert (max(found["charges_slack"].values()) > 0) == ("may owe up to" in table(*words))


def test_what_each_tenant_holds_is_its_dominant_share(tmp_path):
    nodes = [{"name": "n1", "room": {"cpu": 6, "gpu": 2}}, {"name": "n2", "room": {"cpu": 2, "gpu": 2}}]
    requests = [
        {"name": "r1", "tenant": "red", "demand": {"cpu": 2, "gpu": 2}, "bid": 9.0},
        {"name": "r2", "tenant": "blue", "demand": {"cpu": 4}, "bid": 1.0},
        {"name": "r3", "tenant": "none", "demand": {"gpu": 3}, "bid": 9.0},
    ]
    found = auction(a_market_file(tmp_path, nodes=nodes, requests=requests))
    assert found["dominant_shares"] == {"red": 0.5, "blue": 0.5, "none": 0.0}


def test_same_seed_same_answer(tmp_path):
    folder = tmp_path / "job_events"
    job_events(folder, *[n % 3 for n in range(80)])
    for mechanism in ("exact", "random"):
        first, second = (auction(folder, "--mechanism", mechanism, "--seed", "4", "--effort", "0") for _ in range(2))
        assert first["allocation"] == second["allocation"]


def test_a_loser_is_told_who_outbid_it_and_what_would_have_won(tmp_path):
    path = a_market_file(tmp_path)
    told = auction(path, "--explain", "r3")["explanation"]
    assert (told["answer"], told["verdict"], told["node"]) == ("outbid", "proved", "n2")
    assert told["rivals"] == [{"request": "r2", "tenant": "blue", "bid": 5.0}]
    assert told["winning_bid"] == pytest.approx(5.0)
    assert told["text"] in table(path, "--explain", "r3").replace("\n", " ")
    assert auction(path, "--explain", "r1")["explanation"]["answer"] == "won"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--mechanism", "drf", "--explain", "r1"], "drf has no prices that say which bid wins"),
        (["--mechanism", "vcg"], "--mechanism vcg: choose exact, posted, mohaf"),
        (["--per-node", "two"], "choose one or many"),
        (["--utility", "mine"], "choose paper or as-run"),
        (["--charge", "all"], "choose price or clarke"),
        (["--charge", "clarke", "--mechanism", "drf"], "drf has its own payments"),
        (["--frontier", "1"], "at least 2 points"),
        (["--frontier", "2", "--towards", "x"], "choose demand or tenants"),
        (["--plot", "x.svg"], "goes with --frontier"),
        (["--mechanism", "mohaf", "--clusters", "3"], "only the published instance says where"),
        (["--mechanism", "mohaf", "--rounds", "0"], "at least one"),
        (["--mechanism", "mohaf", "--pricing", "free"], "pricing is as-run or dynamic"),
        (["--explain", "nobody"], "no request named 'nobody'"),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path, words, message):
    answer = CliRunner().invoke(stowage.app, ["auction", str(a_market_file(tmp_path)), *words])
    assert isinstance(answer.exception, InputError | StowageInputError)
    assert answer.exception.exit_code == 2
    assert message in str(answer.exception)


def test_who_asks_for_what_no_node_has_is_told_so(tmp_path):
    one = {"name": "r", "tenant": "t", "demand": {"gppu": 1}, "bid": 1.0}
    told = auction(a_market_file(tmp_path, requests=[one]), "--explain", "r")["explanation"]
    assert (told["answer"], told["smallest_change"]) == ("too-large", "ask for 1 less of gppu, then n1 has room")


@pytest.mark.parametrize("per_node", ["one", "many"])
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_budget_of_nothing_pays_nothing(tmp_path, mechanism, per_node):
    one = {"tenant": "t", "demand": {"cpu": 1}, "bid": 1.0}
    requests = [{"name": "poor", **one, "budget": 0}, {"name": "rich", **one}]
    path = a_market_file(tmp_path, nodes=[{"name": "n", "room": {"cpu": 1}}], requests=requests)
    found = auction(path, "--mechanism", mechanism, "--per-node", per_node)
    assert all(won["pays"] == 0 for won in found["allocation"] if won["request"] == "poor")
    if mechanism in ("exact", "posted"):
        assert [won["request"] for won in found["allocation"]] == ["rich"]


@pytest.mark.parametrize("text", ["", '{"kind": "StowageMarket", "re', '{"kind": "StowageMarket", "version": 1}', "[]"])
def test_a_file_that_is_no_round_ends_the_command_with_2_and_one_line(tmp_path, text, monkeypatch, capsys):
    path = tmp_path / "round.json"
    path.write_text(text)
    monkeypatch.setattr("sys.argv", ["stowage", "auction", str(path)])
    with pytest.raises(SystemExit) as ended:
        stowage.main()
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"stowage: {path}")
    assert len(said.err.splitlines()) == 1


def test_a_file_that_is_there_is_replaced_by_force_only(tmp_path):
    out = tmp_path / "answer.json"
    out.write_text("mine")
    answer = CliRunner().invoke(stowage.app, ["auction", str(a_market_file(tmp_path)), "-o", str(out)])
    assert isinstance(answer.exception, InputError)
    assert out.read_text() == "mine"
    auction(a_market_file(tmp_path), "-o", out, "--force")
    assert json.loads(out.read_text())["mechanism"] == "exact"


needs_real = pytest.mark.skipif(not REAL.exists(), reason=f"{REAL} is not there")


@needs_real
def test_the_published_figures_come_out_of_the_published_files():
    one = ("--utility", "as-run", "--per-node", "one")
    found = auction(REAL, "--mechanism", "mohaf", *one)
    assert (found["requests"], found["nodes"], found["feasible_pairs"]) == (3553, 888, 2_168_331)
    assert f"{found['efficiency']:.3f}" == "0.263"
    assert f"{found['revenue']:.2f}" == "56.66"
    assert f"{found['satisfaction']:.3f}" == "0.250"
    assert f"{found['jain_requests']:.3f}" == "0.250"  # winners alone would be 1.000
    for mechanism in ("greedy", "first-price"):
        assert f"{auction(REAL, '--mechanism', mechanism, *one)['revenue']:.2f}" == "161.56"


@needs_real
def test_room_that_is_shared_more_than_doubles_the_efficiency():
    found = auction(REAL)
    assert found["efficiency"] >= 0.513
    assert found["satisfaction"] >= 0.55
    assert found["bound"] / found["requests"] <= 0.5145
