import { readFileSync } from "node:fs";

import { errnoOf } from "../errors/thrown.ts";

let version: string | undefined;
let build: string | undefined;

/** This package's version. Read once: a daemon outlives the installation that it was started from. */
export function packageVersion(): string {
  version ??= readVersion();
  return version;
}

/**
 * Names the content of this build, for installations whose versions are equal and whose files are not: what
 * `script/write-build-id.ts` has written. Undefined where nothing was built, as with sources.
 */
export function buildId(): string | undefined {
  build ??= readBuildId();
  return build === "" ? undefined : build;
}

function readVersion(): string {
  // Two folders up from src/config as from dist/config.
  const manifest: unknown = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
  const found =
    typeof manifest === "object" && manifest !== null && "version" in manifest && manifest.version;
  return typeof found === "string" ? found : "0.0.0";
}

function readBuildId(): string {
  try {
    return readFileSync(new URL("../build-id", import.meta.url), "utf8").trim();
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return "";
    throw error;
  }
}
