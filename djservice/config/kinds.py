"""The kinds of configuration files: where an editor finds their JSON schema, and what it is."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


def schema_file(kind: str) -> str:
    """Name of the file that `djservice schema` writes."""
    return f"djservice-{kind}.schema.json"


def json_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a configuration.

    It is a little wider than what is accepted: where a list or a mapping is expected, a single
    value or a name may stand, and `djservice check` says whether it has a meaning.
    """
    schema = model.model_json_schema(by_alias=True)
    widened: dict[str, Any] = _widened(schema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **widened}


def _widened(node: Any) -> Any:
    """A schema that takes a single item for a list, and a name for a mapping of free keys."""
    if isinstance(node, list):
        return [_widened(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: _widened(value) for key, value in node.items()}
    if node.get("type") == "array" and "items" in node and "prefixItems" not in node:
        return _either(node, node["items"])
    if node.get("type") == "object" and node.get("additionalProperties") is True:
        return _either(node, {"type": "string"})
    return node


def _either(node: dict[str, Any], other: Any) -> dict[str, Any]:
    """A schema or another one, with the words about the first."""
    words: dict[str, Any] = {
        key: node.pop(key) for key in ("title", "description", "default") if key in node
    }
    return {**words, "anyOf": [node, other]}
