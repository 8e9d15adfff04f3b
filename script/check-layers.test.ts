import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { findCircles, findViolations, type Imports, readImports } from "./check-layers.ts";

async function importsOf(files: Readonly<Record<string, string>>): Promise<Imports> {
  const source = await mkdtemp(join(tmpdir(), "heyvm-layers-"));
  try {
    for (const [name, text] of Object.entries(files)) {
      await mkdir(dirname(join(source, name)), { recursive: true });
      await writeFile(join(source, name), text);
    }
    return await readImports(source);
  } finally {
    await rm(source, { recursive: true });
  }
}

async function violationsOf(files: Readonly<Record<string, string>>): Promise<string[]> {
  const found = findViolations(await importsOf(files));
  return found.map(({ file, imported }) => `${file} -> ${imported}`).toSorted((a, b) => a.localeCompare(b));
}

test("an import that points upwards is caught, in each of its forms", async () => {
  expect(
    await violationsOf({
      "errors/a.ts": 'import { x } from "../cli/x.ts";',
      "config/b.ts": 'import type {\n  X,\n} from "../sandbox/x.ts";',
      "images/c.ts": "export * from '../agent/x.ts';",
      "agent/d.ts": 'const x = await import("../api/x.ts");',
      "libvirt/e.ts": 'import "../errors/index.ts";',
      "sdk/f.ts": 'import { x } from "../sandbox/x.ts";',
      "cli/g.ts": 'import { x } from "../../test/x.ts";',
    }),
  ).toEqual([
    "agent/d.ts -> api/x.ts",
    "cli/g.ts -> ../test/x.ts",
    "config/b.ts -> sandbox/x.ts",
    "errors/a.ts -> cli/x.ts",
    "images/c.ts -> agent/x.ts",
    "libvirt/e.ts -> errors/index.ts",
    "sdk/f.ts -> sandbox/x.ts",
  ]);
});

test("imports downwards, within a layer and of packages are fine", async () => {
  expect(
    await violationsOf({
      "cli/a.ts": 'import { x } from "../sdk/x.ts";\nimport { y } from "zod";',
      "sdk/b.ts": 'import { x } from "../api/schema/x.ts";\nimport { y } from "./y.ts";',
      "backends/libvirt/c.ts":
        'import { x } from "../../libvirt/index.ts";\nimport { y } from "../backend.ts";',
      "images/d.test.ts": 'import { x } from "../cli/x.ts";',
    }),
  ).toEqual([]);
});

test("a circle is caught, also one of types and of what is loaded later", async () => {
  const imports = await importsOf({
    "cli/verbs.ts": 'const x = { load: () => import("./commands/x.ts") };',
    "cli/commands/x.ts": 'import type { X } from "../usage.ts";',
    "cli/usage.ts": 'export { verbs } from "./verbs.ts";',
    "cli/main.ts": 'import "./verbs.ts";',
    "sdk/a.ts": 'import type { B } from "./b.ts";',
    "sdk/b.ts": 'import "./a.ts";',
    "sdk/c.ts": 'import "./d.ts";\nimport "./e.ts";',
    "sdk/d.ts": 'import "./e.ts";',
  });
  const found = findCircles(imports).map((circle) => circle.toSorted((a, b) => a.localeCompare(b)));
  expect(found.toSorted((a, b) => a.length - b.length)).toEqual([
    ["sdk/a.ts", "sdk/b.ts"],
    ["cli/commands/x.ts", "cli/usage.ts", "cli/verbs.ts"],
  ]);
});
