"""The headers by which a dead letter says why it is there, and a replay what it was.

Source: Apache Kafka, KIP-1191 (dead-letter queues of share groups); the error's code is ours.
"""

from typing import Final

APACHES: Final = "__dlq.errors."
CODE_HEADER: Final = "ce_errorcode"
# Of the request that a dead letter is replayed as: the job that it was.
REPLAY_HEADER: Final = "ce_replayof"
