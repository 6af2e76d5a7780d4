"""What the OpenAPI document says of a facade's operations: where they are, and where their form is written down."""

from collections.abc import Sequence

from gateway.openapi import Doc, parameter

_ANSWERS: Doc = {
    "200": {"description": "As the protocol has it."},
    "4XX": {"description": "A refusal in the form of the protocol."},
    "5XX": {"description": "An error in the form of the protocol."},
}


def described(operation_id: str, summary: str, names: Sequence[str] = (), *, asks: bool = False) -> Doc:
    """An operation, whose `operation_id` is its own. `names` are the parameters of its path; `asks`: it has a body."""
    operation: Doc = {"operationId": operation_id, "summary": summary, "tags": ["facades"], "responses": _ANSWERS}
    if names:
        operation["parameters"] = [
            parameter(name, f"The {name}'s name.", where="path") | {"required": True} for name in names
        ]
    if asks:
        operation["requestBody"] = {"required": True, "content": {"*/*": {"schema": {}}}}
    return operation
