"""As much of kcat as our pages and tests use, over librdkafka as kcat itself: for machines where it is not installed.

python -m tests.acceptance.kcat -P -b BROKERS -t TOPIC [-H NAME=VALUE]... [-D DELIMITER] < values
python -m tests.acceptance.kcat -C -b BROKERS -t TOPIC -o beginning -e -q -f '%k %s\n'
"""

import shutil
import sys

import click
from confluent_kafka import KafkaException

from tests.acceptance.kafka import Said, TopicReader, send_all


def kcat_command() -> list[str]:
    """The real one where it is."""
    return ["kcat"] if shutil.which("kcat") else [sys.executable, "-m", "tests.acceptance.kcat"]


@click.command()
@click.option("-P", "produce", is_flag=True)
@click.option("-C", "consume", is_flag=True)
@click.option("-b", "brokers", required=True)
@click.option("-t", "topic", required=True)
@click.option("-H", "headers", multiple=True)
@click.option("-D", "delimiter", default="\n")
@click.option("-o", "offset", type=click.Choice(["beginning"]), default="beginning")
@click.option("-e", "until_the_end", is_flag=True)
@click.option("-q", "quiet", is_flag=True)
@click.option("-f", "form", default="%s\n")
def main(
    brokers: str,
    topic: str,
    headers: tuple[str, ...],
    delimiter: str,
    offset: str,
    form: str,
    *,
    produce: bool,
    consume: bool,
    until_the_end: bool,
    quiet: bool,
) -> None:
    """Write a record for each piece of the input, or show all records of a topic."""
    if produce == consume or (consume and not until_the_end):
        raise click.UsageError("either -P, or -C with -e")
    try:
        if produce:
            pieces = sys.stdin.buffer.read().split(delimiter.encode())
            pairs = dict(header.split("=", 1) for header in headers)
            send_all(brokers, topic, [Said(piece, pairs) for piece in pieces if piece])
            return
        with TopicReader(brokers, topic) as reader:
            for record in reader.read_to_end():
                shown = form.replace("\\n", "\n").encode()
                sys.stdout.buffer.write(shown.replace(b"%k", record.key or b"").replace(b"%s", record.value))
    except KafkaException as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
