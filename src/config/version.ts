import { readFileSync } from "node:fs";

/** This package's version. */
export function packageVersion(): string {
  // Two folders up from src/config as from dist/config.
  const manifest: unknown = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
  const version =
    typeof manifest === "object" && manifest !== null && "version" in manifest && manifest.version;
  return typeof version === "string" ? version : "0.0.0";
}
