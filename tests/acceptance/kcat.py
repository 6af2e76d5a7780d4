"""As much of kcat as our pages and tests use, over librdkafka as kcat itself: for machines where it is not installed.

python -m tests.acceptance.kcat -P -b BROKERS -t TOPIC [-H NAME=VALUE]... [-k KEY] [-z CODEC] [-Z] [-D DELIMITER] < file
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
@click.option("-k", "key")
@click.option("-z", "codec", default="none")
@click.option("-Z", "empty_is_null", is_flag=True)
@click.option("-o", "offset", type=click.Choice(["beginning"]), default="beginning")
@click.option("-e", "until_the_end", is_flag=True)
@click.option("-q", "quiet", is_flag=True)
@click.option("-f", "form", default="%s\n")
def main(
    brokers: str,
    topic: str,
    headers: tuple[str, ...],
    delimiter: str,
    key: str | None,
    codec: str,
    offset: str,
    form: str,
    *,
    produce: bool,
    consume: bool,
    empty_is_null: bool,
    until_the_end: bool,
    quiet: bool,
) -> None:
    """Write a record for each piece of the input, or show all records of a topic."""
    if produce == consume or (consume and not until_the_end):
        raise click.UsageError("either -P, or -C with -e")
    try:
        if produce:
            pairs = [tuple_of(header) for header in headers]
            values = [piece or None for piece in read_pieces(delimiter) if piece or empty_is_null]
            send_all(brokers, topic, [Said(value, pairs, key) for value in values], codec)
            return
        with TopicReader(brokers, topic) as reader:
            for record in reader.read_to_end():
                shown = form.replace("\\n", "\n").encode()
                sys.stdout.buffer.write(shown.replace(b"%k", record.key or b"").replace(b"%s", record.value))
    except KafkaException as error:
        raise click.ClickException(str(error)) from error


def read_pieces(delimiter: str) -> list[bytes]:
    """Of the input; behind the last delimiter there is none."""
    text = sys.stdin.buffer.read()
    return text.removesuffix(delimiter.encode()).split(delimiter.encode())


def tuple_of(header: str) -> tuple[str, str]:
    name, _, value = header.partition("=")
    return name, value


if __name__ == "__main__":
    main()
