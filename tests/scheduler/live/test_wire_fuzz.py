"""The extender's HTTP API under schemathesis: requests that follow the types of extender/v1, and requests that do not.

STOWAGE_FUZZ_SECONDS sets how long each verb is tried (3 by default; 200 for the ten minutes of a full run).
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import hypothesis
import msgspec
import pytest
import requests
import schemathesis
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from scheduler.live.cluster_cache import ClusterCache
from scheduler.live.http_server import HttpServer, Limits
from scheduler.live.kube_objects import LiveNode, LivePlan
from scheduler.live.scoring import Ranking, scorer
from scheduler.live.server import Extender
from scheduler.live.settings import ServeSettings
from scheduler.live.wire import MAX_SCORE
from tests.scheduler.live.api_world import a_node, a_plan, a_reservation

SECONDS = float(os.environ.get("STOWAGE_FUZZ_SECONDS", "3"))
NODES = [f"n{number}" for number in range(20)]
VERBS = ("filter", "prioritize", "preempt")

TEXT = {"type": "string", "maxLength": 40}
QUANTITY = {"type": "string", "enum": ["1", "500m", "2Gi", "1e3", "-1", "5x", "1e400", ""]}
POD = {
    "type": "object",
    "required": ["metadata", "spec"],
    "properties": {
        "metadata": {
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": TEXT, "namespace": TEXT, "uid": TEXT,
                "labels": {"type": "object", "additionalProperties": TEXT, "maxProperties": 3},
            },
        },
        "spec": {
            "type": "object",
            "required": ["containers"],
            "properties": {
                "containers": {
                    "type": "array", "maxItems": 3,
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {
                            "name": TEXT,
                            "resources": {
                                "type": "object",
                                "properties": {
                                    "requests": {"type": "object", "maxProperties": 3, "additionalProperties": QUANTITY}
                                },
                            },
                        },
                    },
                },
                "priority": {"type": "integer"},
            },
        },
    },
}  # fmt: skip
NAMES = {"type": ["array", "null"], "maxItems": 30, "items": {"anyOf": [{"enum": NODES}, TEXT]}}
NODE_LIST = {
    "type": ["object", "null"],
    "properties": {
        "items": {
            "type": ["array", "null"], "maxItems": 3,
            "items": {"type": "object", "required": ["metadata"], "properties": {
                "metadata": {"type": "object", "required": ["name"], "properties": {"name": TEXT}}}},
        }
    },
}  # fmt: skip
ARGS = {"type": "object", "required": ["Pod"], "properties": {"Pod": POD, "Nodes": NODE_LIST, "NodeNames": NAMES}}
VICTIMS = {
    "type": ["object", "null"], "maxProperties": 4,
    "additionalProperties": {"type": "object", "properties": {
        "Pods": {"type": ["array", "null"], "maxItems": 3, "items": {
            "type": "object", "required": ["UID"], "properties": {"UID": TEXT}}},
        "NumPDBViolations": {"type": "integer", "minimum": 0, "maximum": 1000},
    }},
}  # fmt: skip
PREEMPTION = {
    "type": "object", "required": ["Pod"], "properties": {"Pod": POD, "NodeNameToMetaVictims": VICTIMS},
}  # fmt: skip
REASONS = {"type": "object", "additionalProperties": {"type": "string", "minLength": 1}}
ANSWERS: dict[str, Any] = {
    "filter": {
        "type": "object",
        "required": ["Nodes", "NodeNames", "FailedNodes", "FailedAndUnresolvableNodes", "Error"],
        "additionalProperties": False,
        "properties": {
            "Nodes": {"type": ["object", "null"]},
            "NodeNames": {"type": ["array", "null"], "items": {"type": "string"}},
            "FailedNodes": {"type": "object", "maxProperties": 0},
            "FailedAndUnresolvableNodes": REASONS,
            "Error": {"type": "string"},
        },
    },
    "prioritize": {
        "type": "array", "maxItems": 10,
        "items": {
            "type": "object", "required": ["Host", "Score"], "additionalProperties": False,
            "properties": {
                "Host": {"type": "string"}, "Score": {"type": "integer", "minimum": 0, "maximum": MAX_SCORE}
            },
        },
    },
    "preempt": {
        "type": "object", "required": ["NodeNameToMetaVictims"], "additionalProperties": False,
        "properties": {"NodeNameToMetaVictims": {"type": "object"}},
    },
}  # fmt: skip
REFUSAL = {"description": "why not", "content": {"text/plain": {"schema": {"type": "string"}}}}


def openapi() -> dict[str, Any]:
    """extender/v1 as an OpenAPI document; the API itself has none."""
    bodies = {"filter": ARGS, "prioritize": ARGS, "preempt": PREEMPTION}
    return {
        "openapi": "3.1.0",
        "info": {"title": "extender/v1", "version": "1"},
        "paths": {
            f"/{verb}": {
                "post": {
                    "requestBody": {"required": True, "content": {"application/json": {"schema": bodies[verb]}}},
                    "responses": {
                        "200": {
                            "description": "the answer", "content": {"application/json": {"schema": ANSWERS[verb]}}
                        },
                        "400": REFUSAL,
                        "413": REFUSAL,
                    },
                }
            }
            for verb in VERBS
        },
    }  # fmt: skip


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A listening extender over a cluster with a reservation and a node in quarantine."""
    cache = ClusterCache()
    for name in NODES:
        cache.put_node(msgspec.convert(a_node(name), LiveNode))
    cache.put_plan(msgspec.convert(a_plan("plan-1", [a_reservation("n1")]), LivePlan))
    extender = Extender(ServeSettings(), cache, lambda: "")
    extender.ranking = Ranking(scorer("best-fit"))
    loop = asyncio.new_event_loop()
    server = HttpServer(extender.handle, Limits(body_bytes=1 << 20))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    port = asyncio.run_coroutine_threadsafe(server.start("127.0.0.1", 0), loop).result(10)
    yield f"http://127.0.0.1:{port}"
    asyncio.run_coroutine_threadsafe(server.stop(1.0), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_every_request_gets_an_answer_of_the_api(address: str, verb: str, mode: str) -> None:
    schema = schemathesis.openapi.from_dict(openapi())
    strategy = schema[f"/{verb}"]["POST"].as_strategy(generation_mode=schemathesis.GenerationMode(mode))
    session = requests.Session()
    until, round_, tried = time.monotonic() + SECONDS / 2, 0, 0

    def ask(case: Any) -> None:
        nonlocal tried
        tried += 1
        case.call_and_validate(
            base_url=address, session=session,
            checks=[status_code_conformance, content_type_conformance, response_schema_conformance],
        )  # fmt: skip

    while tried < 10 or time.monotonic() < until:
        round_ += 1
        given = hypothesis.seed(round_)(hypothesis.given(case=strategy)(ask))
        hypothesis.settings(
            max_examples=20, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck)
        )(given)()
    assert session.get(f"{address}/healthz", timeout=5).status_code == 200
