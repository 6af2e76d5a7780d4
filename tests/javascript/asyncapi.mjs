// Reads an AsyncAPI document, and says what the parser finds: [severity, code, path, message] each, 0 for an error.
import { text } from "node:stream/consumers";
import { Parser } from "@asyncapi/parser";

const { document, diagnostics } = await new Parser().parse(await text(process.stdin));
const found = diagnostics.map(({ severity, code, path, message }) => [severity, code, path.join("/"), message]);
console.log(JSON.stringify({ accepted: document !== undefined, found }));
