// Reads {"secret", "headers", "body"} a line, and says of each what its library and svix find: "true true".
import { createInterface } from "node:readline";
import { Webhook } from "standardwebhooks";
import { Webhook as Svix } from "svix";

function verifies(Library, { secret, headers, body }) {
  try {
    new Library(secret).verify(body, headers);
    return true;
  } catch {
    return false;
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const given = JSON.parse(line);
  console.log(verifies(Webhook, given), verifies(Svix, given));
}
