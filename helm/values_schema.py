"""values.schema.json of the chart, made from values.yaml: one home for a value's default, comment, type and rules.

A value's type is its default's, its description the comment above it, and lines "# @schema {...}" add JSON Schema
keywords. A mapping admits no keys but those written, unless its "@schema" line says what it admits.
`python helm/values_schema.py` writes the file; with `--check` it only says whether it is up to date (exit code 1: no).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
CHART = Path(__file__).resolve().parent / "stowage"
VALUES, SCHEMA = CHART / "values.yaml", CHART / "values.schema.json"
TYPES = {"str": "string", "int": "integer", "bool": "boolean", "float": "number"}
RULES = "@schema "
DIALECT = "https://json-schema.org/draft/2020-12/schema"

# What templates write into the settings themselves, over what a value says.
SERVE_DECIDED = frozenset({"host", "port", "kubeconfig", "context", "tls_cert", "tls_key", "tls_client_ca"})
PLANNER_DECIDED = frozenset({
    "mode", "namespaces", "node_health", "price_round", "rebalance", "scheduler", "kubeconfig", "context",
    "lease_namespace", "lease_name", "identity", "host", "port", "journal",
})  # fmt: skip

QUANTITY = {
    "type": ["string", "integer", "number"],
    "pattern": r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$",
}
RESOURCES = {
    "description": "A container's resources: requests and limits of cpu, memory, ephemeral-storage.",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        side: {
            "type": "object",
            "additionalProperties": False,
            "properties": dict.fromkeys(("cpu", "memory", "ephemeral-storage"), QUANTITY),
        }
        for side in ("requests", "limits")
    },
}


class ValuesError(ValueError):
    """values.yaml is not what this script can read; the message has the line."""


def make_schema(text: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """The JSON Schema of a values file, from its text and what its "$ref"s name. Raises ValuesError."""
    root = yaml.compose(text)
    if not isinstance(root, yaml.MappingNode):
        raise ValuesError("values.yaml: not a mapping")
    schema: dict[str, Any] = {"$schema": DIALECT, "title": "Values of the stowage chart"}
    schema |= mapping_schema(root, text.splitlines())
    # Helm adds it when the chart is a dependency of another.
    schema["properties"]["global"] = {"description": "Shared by charts of charts; not read here.", "type": "object"}
    schema["$defs"] = definitions
    return schema


def mapping_schema(node: yaml.MappingNode, lines: list[str]) -> dict[str, Any]:
    """The schema of a block mapping whose keys all have comments."""
    properties = {key.value: value_schema(key, value, lines) for key, value in node.value}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def value_schema(key: yaml.ScalarNode, value: yaml.Node, lines: list[str]) -> dict[str, Any]:
    """The schema of one value, from its comment and its default."""
    description, rules = read_comment(key, lines)
    schema: dict[str, Any] = {"description": description}
    where = f"values.yaml line {key.start_mark.line + 1}: {key.value}"
    if "$ref" in rules:
        return schema | rules
    if isinstance(value, yaml.ScalarNode):
        kind = value.tag.rsplit(":", 1)[1]
        if kind not in TYPES:
            raise ValuesError(f"{where} has a default of type {kind}")
        schema["type"] = TYPES[kind]
    elif isinstance(value, yaml.SequenceNode):
        if "items" not in rules:
            raise ValuesError(f"{where} is a list without @schema items")
        schema["type"] = "array"
    elif isinstance(value, yaml.MappingNode) and "additionalProperties" in rules:
        schema["type"] = "object"
    elif isinstance(value, yaml.MappingNode):
        schema |= mapping_schema(value, lines)
    return schema | rules


def read_comment(key: yaml.ScalarNode, lines: list[str]) -> tuple[str, dict[str, Any]]:
    """The sentences above a key, and the rules among them."""
    words: list[str] = []
    rules: dict[str, Any] = {}
    line = key.start_mark.line - 1
    while line >= 0 and lines[line].lstrip().startswith("#"):
        comment = lines[line].lstrip().removeprefix("#").strip()
        if comment.startswith(RULES):
            rules = json.loads(comment.removeprefix(RULES)) | rules
        else:
            words.insert(0, comment)
        line -= 1
    if not words:
        raise ValuesError(f"values.yaml line {key.start_mark.line + 1}: {key.value} has no comment")
    return " ".join(words), rules


def settings_definition(schema: dict[str, Any], decided: frozenset[str]) -> dict[str, Any]:
    """The schema of a command's settings without those that the chart decides. Raises ValuesError for unknown ones."""
    unknown = decided - schema["properties"].keys()
    if unknown:
        raise ValuesError(f"the settings have no {', '.join(sorted(unknown))}")
    kept = {key: rules for key, rules in schema["properties"].items() if key not in decided}
    return {"type": "object", "additionalProperties": False, "properties": kept, "$defs": schema.get("$defs", {})}


def definitions() -> dict[str, Any]:
    """What values.yaml refers to by "$ref"."""
    from scheduler.live.planner.settings import PlannerSettings
    from scheduler.live.settings import ServeSettings, settings_schema

    found = {
        "resources": RESOURCES,
        "serve": settings_definition(settings_schema(ServeSettings), SERVE_DECIDED),
        "planner": settings_definition(settings_schema(PlannerSettings), PLANNER_DECIDED),
    }
    nested = {name: rules for entry in found.values() for name, rules in entry.pop("$defs", {}).items()}
    return found | nested


def main(arguments: list[str]) -> int:
    """Write the schema, or check it; the exit code."""
    made = json.dumps(make_schema(VALUES.read_text(), definitions()), indent=2, ensure_ascii=False) + "\n"
    if arguments == ["--check"]:
        if SCHEMA.exists() and SCHEMA.read_text() == made:
            return 0
        print(f"{SCHEMA} is not what {VALUES.name} and the settings make: run make chart-schema", file=sys.stderr)
        return 1
    SCHEMA.write_text(made)
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))  # this checkout's settings, not those of an installed stowage
    sys.exit(main(sys.argv[1:]))
