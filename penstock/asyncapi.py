"""`penstock asyncapi`: what is written to Kafka and read from it, for programs."""

import click
import orjson

from gateway.asyncapi.document import document
from penstock.help import examples
from runtime.settings import KafkaSettings, load


@click.command(
    epilog=examples(
        "penstock asyncapi > asyncapi.json",
        "PENSTOCK_TOPIC_PREFIX=blue penstock asyncapi",
        reads="PENSTOCK_TOPIC_PREFIX, PENSTOCK_MAX_RECORD_BYTES, PENSTOCK_KAFKA_SECURITY_PROTOCOL and its companions; "
        "docs/configuration.md tells what they mean.",
    )
)
def asyncapi() -> None:
    """Print the records that programs write to Kafka and read from it, as an AsyncAPI 3 document.

    It asks nobody. A gateway serves the same at /asyncapi.json.
    """
    click.echo(orjson.dumps(document(load(KafkaSettings)), option=orjson.OPT_INDENT_2))
