// node job.mjs row.json: a CloudEvent that asks for a job, and how that ended.
import { createHash, randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { CompressionTypes, Kafka, logLevel } from "kafkajs";

const REQUESTS = "penstock.requests.v1";
const RESULTS = "penstock.results.v1";
const brokers = process.env.PENSTOCK_KAFKA_BOOTSTRAP_SERVERS.split(",");
const kafka = new Kafka({ brokers, logLevel: logLevel.ERROR });

// Where the results end before there is ours. A service that reads all results joins a lasting group instead.
const admin = kafka.admin();
await admin.connect();
const ends = await admin.fetchTopicOffsets(RESULTS);
await admin.disconnect();

const source = "/shop";
const id = randomUUID();
const producer = kafka.producer({ idempotent: true });
await producer.connect();
await producer.send({
  topic: REQUESTS,
  compression: CompressionTypes.GZIP,
  messages: [
    {
      value: await readFile(process.argv[2]),
      headers: {
        ce_specversion: "1.0",
        ce_id: id,
        ce_source: source,
        ce_type: "io.penstock.job.v1",
        ce_model: "digits",
        ce_timeouts: "60",
        "content-type": "application/json",
      },
    },
  ],
});
await producer.disconnect();

// Two sources may use one id: the job's own id is made of both.
const job = "event_" + createHash("sha256").update(`${source}\n${id}`).digest("hex").slice(0, 40);
const consumer = kafka.consumer({ groupId: `shop-${id}` });
await consumer.connect();
await consumer.subscribe({ topic: RESULTS });
const result = await new Promise((found) => {
  consumer.run({
    autoCommit: false,
    eachMessage: async ({ message }) => {
      if (message.key?.toString() === job) found(message); // the first counts
    },
  });
  for (const { partition, offset } of ends) consumer.seek({ topic: RESULTS, partition, offset });
});
console.log(result.headers.ce_status.toString(), result.value.toString());
await consumer.disconnect();
