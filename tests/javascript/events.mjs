// Reads {headers, key, value}, a record with its bytes in base64, and prints what the SDK of CloudEvents makes of it.
import { text } from "node:stream/consumers";
import { Kafka } from "cloudevents";

const { headers, key, value } = JSON.parse(await text(process.stdin));
const decoded = (base64) => Buffer.from(base64, "base64");
const event = Kafka.toEvent({
  headers: Object.fromEntries(Object.entries(headers).map(([name, base64]) => [name, decoded(base64).toString()])),
  key: decoded(key).toString(),
  value: decoded(value),
});
console.log(JSON.stringify({ valid: event.validate(), event }));
