// Writes to Kafka what it reads: {brokers, topic, codec, transaction, messages, events}. A message is {key, value, headers},
// an event {mode, attributes}, made a message by the SDK of CloudEvents. `transaction` is null, "commit" or "abort".
import { createRequire } from "node:module";
import { text } from "node:stream/consumers";
import { CloudEvent, Kafka as Binding } from "cloudevents";
import snappy from "kafkajs-snappy";

// What kafkajs exports for changing is in its CommonJS module only.
const { CompressionCodecs, CompressionTypes, Kafka, logLevel } = createRequire(import.meta.url)("kafkajs");

CompressionCodecs[CompressionTypes.Snappy] = snappy;
const codecs = { none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.Snappy };

// The SDK leaves the content as it was given, and names attributes that are not there; what kafkajs takes is text.
function message({ mode, attributes }) {
  const { key, value, headers } = Binding[mode](new CloudEvent(attributes));
  const given = Object.entries(headers).filter(([, each]) => each !== undefined);
  return {
    key,
    headers: Object.fromEntries(given.map(([name, each]) => [name, String(each)])),
    value: typeof value === "string" ? value : JSON.stringify(value),
  };
}

const { brokers, topic, codec, transaction, messages, events } = JSON.parse(await text(process.stdin));
const kafka = new Kafka({ brokers: brokers.split(","), logLevel: logLevel.ERROR });
const transactional = transaction === null ? {} : { transactionalId: `${topic}-${process.pid}`, maxInFlightRequests: 1 };
const producer = kafka.producer({ idempotent: true, ...transactional });
await producer.connect();
const sender = transaction === null ? producer : await producer.transaction();
const sent = { topic, compression: codecs[codec], messages: [...messages, ...events.map(message)] };
console.log(JSON.stringify(await sender.send(sent)));
if (transaction !== null) await sender[transaction]();
await producer.disconnect();
