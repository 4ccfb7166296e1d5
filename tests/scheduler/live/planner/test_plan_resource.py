"""The Plan's types and its schema in the API server name the same fields and the same values."""

from __future__ import annotations

import typing
from pathlib import Path

import msgspec
import pytest
import yaml

from scheduler.live.planner.plan_resource import (
    FINISHED,
    MAX_STEPS,
    MAX_UNPLACED,
    Plan,
    PlanSpec,
    PlanStatus,
    SnapshotRef,
    condition,
    decode_plan,
    encode_plan,
    seconds_of,
    stamp,
    with_condition,
)

CRD = Path(__file__).resolve().parents[4] / "helm" / "stowage" / "files" / "plans.yaml"


@pytest.fixture(scope="module")
def schema():
    crd = yaml.safe_load(CRD.read_text())
    return crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]


def differences(kind, schema, path):
    """Fields and enumerations that the type and the schema do not share."""
    found = []
    fields = {f.encode_name: f for f in msgspec.structs.fields(kind)}
    known = schema.get("properties", {})
    found += [f"{path}.{name} is only in the type" for name in fields.keys() - known.keys()]
    found += [f"{path}.{name} is only in the schema" for name in known.keys() - fields.keys()]
    for name in fields.keys() & known.keys():
        inner, sub = fields[name].type, known[name]
        for one in (inner, *typing.get_args(inner)):
            if isinstance(one, type) and issubclass(one, msgspec.Struct):
                found += differences(one, sub.get("items", sub), f"{path}.{name}")
        if typing.get_origin(inner) is typing.Literal and sorted(typing.get_args(inner)) != sorted(sub["enum"]):
            found.append(f"{path}.{name}: {typing.get_args(inner)} is not {sub['enum']}")
    return found


def test_the_types_and_the_schema_have_the_same_fields(schema):
    assert differences(PlanSpec, schema["spec"], "spec") == []
    assert differences(PlanStatus, schema["status"], "status") == []


def test_every_required_field_of_the_schema_is_always_written(schema):
    def missing(kind, schema, path):
        defaults = {f.encode_name for f in msgspec.structs.fields(kind) if not f.required}
        out = [f"{path}.{name}" for name in schema.get("required", []) if name in defaults]
        for field in msgspec.structs.fields(kind):
            sub = schema["properties"][field.encode_name]
            for one in (field.type, *typing.get_args(field.type)):
                if isinstance(one, type) and issubclass(one, msgspec.Struct):
                    out += missing(one, sub.get("items", sub), f"{path}.{field.encode_name}")
        return out

    # omit_defaults leaves a default out; lastTransitionTime is never empty once with_condition has made it
    assert missing(PlanSpec, schema["spec"], "spec") == []
    assert missing(PlanStatus, schema["status"], "status") == ["status.conditions.lastTransitionTime"]


def test_limits_and_final_phases_are_those_of_the_schema(schema):
    assert schema["spec"]["properties"]["steps"]["maxItems"] == MAX_STEPS
    assert schema["spec"]["properties"]["unplaced"]["maxItems"] == MAX_UNPLACED
    rules = " ".join(r["rule"] for r in schema["status"]["x-kubernetes-validations"])
    assert all(f"'{phase}'" in rules for phase in FINISHED)


def a_plan():
    return Plan(
        spec=PlanSpec(
            mode="auto",
            order="no-harm",
            purpose="pending",
            summary="",
            verdict="optimal",
            snapshot=SnapshotRef(),
            steps=[],
        )
    )


def test_a_plan_survives_its_own_json():
    plan = a_plan()
    assert decode_plan(encode_plan(plan)) == plan


def test_what_the_rules_look_at_is_written_even_when_it_is_the_default():
    body = msgspec.json.decode(encode_plan(a_plan()))
    assert body["status"] == {"phase": "Proposed", "reservations": [], "steps": []}
    assert body["spec"]["steps"] == []


def test_a_condition_keeps_its_time_while_its_value_stays():
    first = with_condition(PlanStatus(), "Executing", "True", "Started", "", 100.0)
    second = with_condition(first, "Executing", "True", "StillGoing", "", 200.0)
    third = with_condition(second, "Executing", "False", "Done", "", 300.0)
    times = [condition(s, "Executing").last_transition_time for s in (first, second, third)]
    assert times == [stamp(100.0), stamp(100.0), stamp(300.0)]
    assert with_condition(third, "Executing", "False", "Done", "", 400.0) is third


def test_times_are_read_back_to_the_microsecond():
    assert seconds_of(stamp(1_700_000_000.123456)) == pytest.approx(1_700_000_000.123456, abs=1e-6)
    assert seconds_of("") is None
    assert seconds_of("yesterday") is None
