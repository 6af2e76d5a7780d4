"""python jobs.py row.json: two jobs in one transaction, which are both asked for or neither; and how they ended."""

import os
import sys
import uuid
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition

REQUESTS, RESULTS = "penstock.requests.v1", "penstock.results.v1"
brokers = {"bootstrap.servers": os.environ["PENSTOCK_KAFKA_BOOTSTRAP_SERVERS"]}
value = Path(sys.argv[1]).read_bytes()

# From where the results end before there are ours. A service that reads all results joins a group instead.
consumer = Consumer({**brokers, "group.id": "unused", "enable.auto.commit": False})
places = [TopicPartition(RESULTS, partition) for partition in consumer.list_topics(RESULTS).topics[RESULTS].partitions]
ends = {place.partition: consumer.get_watermark_offsets(place)[1] for place in places}
consumer.assign([TopicPartition(RESULTS, partition, end) for partition, end in ends.items()])

# The transactional id is this writer's alone, and stays the same when it is started again.
producer = Producer({**brokers, "transactional.id": "shop-1", "compression.type": "snappy"})
producer.init_transactions()
waiting = {f"order-{uuid.uuid4()}" for _ in range(2)}
producer.begin_transaction()
try:
    for job in waiting:
        producer.produce(REQUESTS, value, headers={"ce_id": job, "model": "digits"})
    producer.commit_transaction()
except BaseException:
    producer.abort_transaction()  # nobody ever reads them
    raise

while waiting:
    record = consumer.poll(1)
    if record is None or record.error() or (job := record.key().decode()) not in waiting:
        continue
    waiting.remove(job)  # the first counts
    print(dict(record.headers())["ce_status"].decode(), record.value().decode())
consumer.close()
