"""The whole AsyncAPI 3 document: channels, and which side of them Penstock is on."""

from collections.abc import Iterable
from typing import Any, Final

from gateway.asyncapi import jobs, others, values
from gateway.openapi import Doc
from gateway.openapi_document import API_VERSION, TITLE
from producers.topic_settings import MAX_MESSAGE
from producers.topics import TopicPlan, control_topic, dead_letter_topic, job_topic
from runtime.settings import KafkaSettings

ASYNCAPI: Final = "3.0.0"
DESCRIPTION: Final = (
    "Jobs written straight to Kafka, and what comes of them. Operations are told from Penstock's side: what it "
    "receives, you write; what it sends, you read. docs/kafka-records.md is the contract in words."
)
_PARTITIONS: Final = 1  # of a plan that is only read: how many there are, each installation chooses
_RESULTS: Final = ("result", "resultTensors", "failure")


def document(settings: KafkaSettings) -> Doc:
    """Of the topics that these settings name. It says nothing of where their brokers are."""
    requests = jobs.messages()
    return {
        "asyncapi": ASYNCAPI,
        "id": "urn:penstock:kafka",
        "info": {"title": TITLE, "version": API_VERSION, "description": DESCRIPTION},
        "defaultContentType": "application/json",
        "servers": {"kafka": _server(settings)},
        "channels": _channels(settings, requests),
        "operations": _operations(),
        "components": {"messages": requests | others.messages(), "schemas": values.schemas()},
    }


def _server(settings: KafkaSettings) -> Doc:
    secure = settings.kafka_security_protocol.endswith("SSL")
    return {
        "host": "{brokers}",
        "protocol": "kafka-secure" if secure else "kafka",
        "description": "Your installation's brokers; `penstock env` prints those of a running `penstock up`.",
        "variables": {"brokers": {"default": "localhost:9092"}},
    }


def _channels(settings: KafkaSettings, requests: Iterable[str]) -> Doc:
    topics = settings.topics
    return {
        "requests": _channel(
            job_topic(settings, topics.requests, _PARTITIONS),
            "Jobs whose version is still open: write yours here.",
            requests,
        ),
        "results": _channel(
            job_topic(settings, topics.results, _PARTITIONS),
            "How jobs ended. All records of a job stand in one partition, and the first counts.",
            _RESULTS,
        ),
        "feedback": _channel(
            job_topic(settings, topics.feedback, _PARTITIONS),
            "What callers tell of answers: write yours here.",
            ["feedback"],
        ),
        "deadLetters": {
            **_channel(
                dead_letter_topic(settings, "{topic}"),
                "Records of a topic that are not what it holds, and jobs that were given up.",
                ["deadLetter"],
            ),
            "parameters": {
                "topic": {
                    "description": "The topic that they stood in: one that you write to, or a lane.",
                    "examples": [topics.requests, topics.feedback],
                }
            },
        },
        "catalog": _channel(
            control_topic(settings, topics.catalog),
            "What workers serve. Compacted: read it from its beginning.",
            ["modelVersion"],
        ),
    }


def _channel(plan: TopicPlan, description: str, messages: Iterable[str]) -> Doc:
    return {
        "address": plan.name,
        "description": description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "bindings": {"kafka": {"topicConfiguration": _configuration(plan), "bindingVersion": "0.5.0"}},
    }


def _configuration(plan: TopicPlan) -> Doc:
    told: dict[str, Any] = {"cleanup.policy": plan.config["cleanup.policy"].split(",")}
    numbers = ("retention.ms", "delete.retention.ms", MAX_MESSAGE)
    return told | {name: int(plan.config[name]) for name in numbers if name in plan.config}


def _operations() -> Doc:
    return {
        "takeJob": _operation(
            "receive", "requests", "You ask for a job.", reply={"channel": {"$ref": "#/channels/results"}}
        ),
        "tellResult": _operation("send", "results", "You read how a job ended."),
        "takeFeedback": _operation("receive", "feedback", "You tell what an answer was worth."),
        "buryRecord": _operation("send", "deadLetters", "You read what was no job, and why."),
        "announceVersion": _operation("send", "catalog", "You read which models there are, and what they take."),
    }


def _operation(action: str, channel: str, summary: str, **more: Doc) -> Doc:
    return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}, "summary": summary, **more}
