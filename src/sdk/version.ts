import { readFileSync } from "node:fs";

import { parseMessage } from "./wire.ts";

/** This package's version. */
export function packageVersion(): string {
  // Two folders up from src/sdk as from dist/sdk.
  return parseMessage<{ version: string }>(
    readFileSync(new URL("../../package.json", import.meta.url), "utf8"),
  ).version;
}
