"""The API's description: what FastAPI reads off the router, and the webhook, which stands in front of it."""

from typing import Any

from fastapi import FastAPI
from typing_extensions import override

from whatrack.inbox import intake
from whatrack.web.problems import Problem

_PLAIN = {"text/plain": {"schema": {"type": "string"}}}
_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_OF_FASTAPI = "#/components/schemas/HTTPValidationError"  # which nothing here answers with
_TEXT = {"type": "string"}


def _refused(description: str) -> dict[str, Any]:
    return {"description": description, "content": _PROBLEM}


WEBHOOK: dict[str, Any] = {
    "get": {
        "tags": ["webhook"],
        "summary": "Meta's handshake",
        "description": "Echoes the challenge to whoever knows WHATSAPP_VERIFY_TOKEN.",
        "operationId": "webhook_handshake",
        "parameters": [
            {"name": "hub.mode", "in": "query", "required": True, "schema": {"const": "subscribe"}},
            {"name": "hub.verify_token", "in": "query", "required": True, "schema": _TEXT},
            {"name": "hub.challenge", "in": "query", "required": True, "schema": _TEXT},
        ],
        "responses": {
            "200": {"description": "The challenge.", "content": _PLAIN},
            "403": _refused("The verify token is another one, or it is no handshake."),
        },
    },
    "post": {
        "tags": ["webhook"],
        "summary": "A delivery from Meta",
        "description": "200 only after the bytes are on disk; every other answer makes Meta send them again.",
        "operationId": "webhook_delivery",
        "parameters": [
            {
                "name": "X-Hub-Signature-256",
                "in": "header",
                "required": True,
                "description": "sha256= and the HMAC-SHA256 of the body with an app secret, in hex.",
                "schema": {"type": "string", "pattern": "^sha256=[0-9a-fA-F]{64}$"},
            }
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}},
        "responses": {
            "200": {"description": "Stored."},
            "401": _refused("The signature is missing, malformed or made with another secret."),
            "413": _refused("More than 4 MB."),
            "503": _refused("Not stored: the database takes no commit, or the queue is full."),
        },
    },
}


class Api(FastAPI):
    """The router, whose description names the webhook too."""

    @override
    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document of the whole service."""
        document = super().openapi()
        document["paths"][intake.PATH] = WEBHOOK
        for each in (each for path in document["paths"].values() for each in path.values()):
            for response in each["responses"].values():
                if _OF_FASTAPI in str(response):
                    response["content"] = _PROBLEM
        problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        document["components"]["schemas"] |= {**problem.pop("$defs"), "Problem": problem}
        return document
