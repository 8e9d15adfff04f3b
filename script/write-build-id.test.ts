import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

import { expect, onTestFinished, test } from "vitest";

const script = fileURLToPath(new URL("write-build-id.ts", import.meta.url));
const tsx = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href;

/** The id of an installation with these files beside the usual ones. */
function idOf(files: Record<string, string>): string {
  const folder = mkdtempSync(join(tmpdir(), "heyvm-build-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const agent = { "guest/agent.py": "pass", "guest/heyvm_agent/wire.py": "pass" };
  const all = { "package.json": "{}", ...agent, "dist/cli/main.js": "1", ...files };
  for (const [name, content] of Object.entries(all)) {
    mkdirSync(join(folder, name, ".."), { recursive: true });
    writeFileSync(join(folder, name), content);
  }
  execFileSync(process.execPath, ["--import", tsx, script, "dist"], { cwd: folder });
  return readFileSync(join(folder, "dist/build-id"), "utf8");
}

test("a build's id tells what runs, and nothing else", () => {
  const id = idOf({});
  expect(id).toMatch(/^[0-9a-f]{16}\n$/);
  const compiled = { "guest/heyvm_agent/__pycache__/wire.pyc": "1" };
  expect(idOf({ "dist/cli/main.d.ts": "types", "README.md": "words", ...compiled })).toBe(id);
  expect(idOf({ "dist/cli/main.js": "2" })).not.toBe(id);
  expect(idOf({ "dist/main.js": "" })).not.toBe(id);
  expect(idOf({ "guest/agent.py": "exit()" })).not.toBe(id);
  expect(idOf({ "guest/heyvm_agent/wire.py": "exit()" })).not.toBe(id);
  expect(idOf({ "guest/heyvm_agent/other.py": "" })).not.toBe(id);
  expect(idOf({ "package.json": '{"version":"2.0.0"}' })).not.toBe(id);
});
