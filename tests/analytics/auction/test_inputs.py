"""What `stowage auction` reads, known by its contents, and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analytics.auction.rounds import read_round
from analytics.errors import InputError
from scheduler.core.errors import StowageInputError
from tests.analytics.auction.files import a_cluster, a_market_file, a_node, a_pod, job_events
from tests.analytics.small_traces import SmallTrace, ran


def read(*paths, at=None, exclusive=False, **options):
    return read_round(paths, utility=options.pop("utility", "paper"), exclusive=exclusive, at=at, **options)


def offers(market, request):
    row = market.requests.tolist().index(request)
    rows = slice(market.first[row], market.first[row + 1])
    return dict(zip(market.nodes[market.node[rows]].tolist(), market.value[rows].tolist(), strict=True))


def test_a_market_file_is_a_round_of_its_bids(tmp_path):
    made = read(a_market_file(tmp_path))
    assert made.market.nodes.tolist() == ["n1", "n2"]
    assert made.market.tenants == ("blue", "red")
    assert offers(made.market, "r1") == {"n1": 9.0}  # n2 cannot hold it
    assert offers(made.market, "r2") == {"n1": 6.0, "n2": 5.0}
    assert offers(made.market, "r3") == {"n1": 4.0, "n2": 4.0}
    assert made.scale == 9.0


def test_a_budget_caps_bids_and_nothing_is_a_budget_too(tmp_path):
    path = a_market_file(
        tmp_path,
        requests=[
            {"name": "r1", "tenant": "t", "demand": {}, "bid": 9.0, "budget": 2.5},
            {"name": "r2", "tenant": "t", "demand": {}, "bids": {"n1": 6.0}, "budget": 0},
        ],
    )
    made = read(path)
    assert offers(made.market, "r1") == {"n1": 2.5, "n2": 2.5}
    assert offers(made.market, "r2") == {"n1": 0.0}


def a_request(**changes):
    return {"name": "r", "tenant": "t", "demand": {"cpu": 1}, "bid": 1.0} | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"requests": [a_request(bid=-1)]}, "bid of request 'r' is -1"),
        ({"requests": [a_request(bid=math.nan)]}, "bid of request 'r' is nan; it is a finite number"),
        ({"requests": [a_request(bid=None, bids={"n1": math.inf})]}, "for node 'n1' is inf"),
        ({"requests": [a_request(bid=None, bids={"n9": 1})]}, "bids for node 'n9', which is not in the file"),
        ({"requests": [a_request()], "tenants": ["red"]}, "there is no tenant 't'; `tenants` lists red"),
        ({"requests": [a_request(bid=None)]}, "states neither of bid and bids"),
        ({"requests": [a_request(bids={"n1": 1})]}, "states both of bid and bids"),
        ({"requests": [a_request(), a_request()]}, "2 requests are named 'r'"),
        ({"requests": [a_request(name="")]}, "a request is named ''; a name has one printable character"),
        ({"requests": [a_request(name="r\0")]}, r"a request is named 'r.x00'"),
        ({"requests": [a_request(tenant="")]}, "a tenant is named ''"),
        ({"requests": [a_request(bid=1e308)]}, "bid of request 'r' is 1e.308; .* at most 1e.15"),
        ({"requests": [a_request(budget=-2)]}, "budget of request 'r' is -2"),
        ({"requests": [a_request(demand={"cpu": -1})]}, "cpu is -1; an amount is at least 0"),
        ({"requests": [a_request(demand={"cpu": 0.5})]}, "Expected `int`, got `float`"),
        ({"requests": [a_request(colour="red")]}, "unknown field `colour`"),
        ({"nodes": [{"name": "n1", "room": {"cpu": 2**60}}]}, "below 2\\^53"),
        ({"nodes": [{"name": "n1", "room": {}, "cost": -1}]}, "cost of node 'n1' is -1"),
        ({"version": 2}, "version"),
    ],
)
def test_a_market_that_breaks_a_rule_is_refused_with_the_rule(tmp_path, changes, message):
    with pytest.raises((InputError, StowageInputError), match=message) as error:
        read(a_market_file(tmp_path, **changes))
    assert "market.json" in str(error.value)


def test_a_resource_that_no_node_has_is_told(tmp_path):
    made = read(a_market_file(tmp_path, requests=[a_request(demand={"gppu": 1}), a_request(name="s")]))
    assert made.notes == ["no node has 'gppu': the requests that ask for it, 1, cannot win"]


def test_pods_that_wait_bid_for_what_is_free(tmp_path):
    made = read(
        a_cluster(
            tmp_path,
            a_node("n1"), a_node("n2", labels={"disk": "ssd"}), a_node("n3", cordoned=True),
            a_pod("runs", cpu="3", node="n1"),
            a_pod("rich", annotations={"stowage.dev/bid": "7.5"}),
            a_pod("big", "lab", cpu="2", priority=99),
            a_pod("picky", nodeSelector={"disk": "ssd"}, annotations={"stowage.dev/bid": "0"}),
            a_pod("gated", schedulingGates=[{"name": "somebody/else"}]),
        )
    )  # fmt: skip
    market = made.market
    assert market.nodes.tolist() == ["n1", "n2"]
    assert market.tenants == ("lab", "shop")
    assert market.room[:, :1].tolist() == [[1000], [4000]]
    assert offers(market, "shop/rich") == {"n1": 7.5, "n2": 7.5}
    assert offers(market, "lab/big") == {"n2": pytest.approx(0.5 * 3)}  # half a node at 1 + log10(100)
    assert offers(market, "shop/picky") == {"n2": 0.0}
    assert len(made.notes) == 2
    assert "1 nodes are cordoned" in made.notes[0]
    assert "1 pods that wait are held back" in made.notes[1]


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "much"])
def test_an_annotation_that_is_no_bid_is_refused(tmp_path, text):
    path = a_cluster(tmp_path, a_node("n1"), a_pod("p", annotations={"stowage.dev/bid": text}))
    with pytest.raises(InputError, match=f"pod shop/p is annotated stowage.dev/bid: .{text}.; a bid is"):
        read(path)


def test_a_trace_at_an_instant_is_what_is_up_and_alive_then(tmp_path):
    trace = SmallTrace()
    trace.machine(1, cpu=4000)
    trace.machine(2, at=50, cpu=2000)
    trace.machine(3, cpu=8000)
    trace.machine(3, at=20, event="REMOVE")
    trace.task(ran(0, 5, 60), job=7, priority=9, tenant="red")
    trace.task(ran(10, None, None), job=8, tenant="blue")
    trace.task(ran(0, 5, 30), job=9)
    trace.task(ran(40, None, None), job=10)
    trace.write(tmp_path / "trace")
    made = read(tmp_path / "trace", at="30s")
    assert made.market.nodes.tolist() == ["machine-1"]
    assert made.market.requests.tolist() == ["task-7-0", "task-8-0"]
    assert made.market.tenants == ("blue", "red")
    assert offers(made.market, "task-7-0") == {"machine-1": pytest.approx(0.25 * 2)}
    assert "1 of 2 tasks ran then" in made.notes[0]
    assert read(tmp_path / "trace", at="55s").market.nodes.tolist() == ["machine-1", "machine-2"]


def test_tasks_list_some_of_many_machines_and_say_so(tmp_path):
    trace = SmallTrace()
    for machine in range(6):
        trace.machine(machine)
    for job in range(1, 4):
        trace.task(ran(0, 5, 60), job=job)
    trace.write(tmp_path / "trace")
    made = read(tmp_path / "trace", at="10s", listed=2)
    assert np.diff(made.market.first).tolist() == [2, 2, 2]
    assert len(set(made.market.node.tolist())) > 2  # not the same two for all
    assert (made.market.unlisted == made.market.value[::2]).all()
    assert "3 tasks list 2 of the machines" in made.notes[-1]


def test_a_trace_needs_an_instant_within_its_time(tmp_path):
    trace = SmallTrace()
    trace.machine(1)
    trace.task(ran(0, 5, 60))
    trace.write(tmp_path / "trace")
    with pytest.raises(InputError, match="--at says when"):
        read(tmp_path / "trace")
    with pytest.raises(InputError, match="no task is alive at 90 s"):
        read(tmp_path / "trace", at="90s")


def test_job_events_are_the_published_instance(tmp_path):
    first = job_events(tmp_path / "job_events", 0, 1, 2, 3, 1)
    job_events(tmp_path / "job_events", 2, 2, 0, name="part-00001-of-00500.csv")
    job_events(tmp_path / "job_events", 1, 1, 1, 1, name="part-00002-of-00500.csv")
    whole = read(tmp_path)  # the folder around it: the first two parts
    assert (len(whole.market.requests), len(whole.market.nodes)) == (8, 2)
    assert whole.market.tenants == ("u0", "u1")
    assert whole.paper is not None
    assert len(read(first).market.requests) == 5
    assert read(tmp_path, utility="as-run").market.value.max() > whole.market.value.max()


def test_no_more_than_2500_rows_are_taken_of_a_part(tmp_path):
    assert len(read(job_events(tmp_path, *[1] * 2600)).market.requests) == 2500


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0,,1,0,u,7,j,l", "row 1: scheduling class '7'; a scheduling class is 0 to 3"),
        ("0,,1,0,u", "row 1: 5 columns; job_events of 2011 has 8"),
        ("0,,1,0,u,1,j,l", "1 SUBMIT rows are no instance"),
    ],
)
def test_job_events_that_break_a_rule_are_refused_by_row(tmp_path, line, message):
    path = tmp_path / "part-00000-of-00500.csv"
    path.write_text(line + "\n")
    with pytest.raises(InputError, match=message):
        read(path)


def test_a_cut_gzip_is_named(tmp_path):
    path = job_events(tmp_path, *range(4))
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(InputError, match="cannot be read as job_events"):
        read(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty: give a StowageMarket file"),
        ("[1]", "is no JSON object but a list"),
        ('{"kind": ', "is no JSON object"),
        ('{"a":' * 100_000, "is no JSON object .*recursion"),
        ('{"kind": "StowageMarket", "nodes": [{"name": "n", "room": {}, "room": {}}]}', "json: 'room' stands twice"),
        ('{"kind": "Market"}', "is no StowageMarket, and not a snapshot"),
        ('{"kind": "List", "items": []}', "the list holds no nodes"),
    ],
)
def test_a_file_that_is_none_of_these_is_refused_with_its_name(tmp_path, text, message):
    path = tmp_path / "input.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        read(path)
    assert str(error.value).startswith(str(path))


def test_a_place_without_anything_known_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="nothing to hold an auction on: give a StowageMarket file"):
        read(tmp_path / "empty")
    with pytest.raises(InputError, match="is not there"):
        read(tmp_path / "nowhere")
    with pytest.raises(InputError, match="is no imported trace"):
        read(a_market_file(tmp_path), at="1h")
