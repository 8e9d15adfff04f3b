/**
 * Checks that dependencies point downwards only (docs/architecture.md):
 *
 *     cli → sdk → daemon → api → sandbox → backends → agent, images → libvirt, config → core → errors
 *
 * `npx tsx script/check-layers.ts [FOLDER]` names every import that doesn't, and fails.
 */
import { readdir, readFile } from "node:fs/promises";
import { dirname, join, relative, resolve } from "node:path";

/** From the top; folders in one row don't know each other. */
const rows: readonly (readonly string[])[] = [
  ["cli"],
  ["sdk"],
  ["daemon"],
  ["api"],
  ["sandbox"],
  ["backends"],
  ["agent", "images"],
  ["libvirt", "config"],
  ["core"],
  ["errors"],
];

/** Where less is allowed than everything below: path patterns under `src/`. */
const narrowed: Readonly<Record<string, readonly RegExp[]>> = {
  // A client shares nothing with the server but what goes over the wire, errors and the places of files.
  sdk: [/^api\/schema(\.ts$|\/)/, /^config\//, /^core\//, /^errors\//],
  // It could be a package of its own.
  libvirt: [],
};

export interface Violation {
  file: string;
  imported: string;
  reason: string;
}

/** Every import below `source` (a `src/`) that points elsewhere than down. Tests may import what they like. */
export async function findViolations(source: string): Promise<Violation[]> {
  const violations: Violation[] = [];
  for (const entry of await readdir(source, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile() && path.endsWith(".ts") && !path.endsWith(".test.ts")) {
      const file = relative(source, path);
      for (const specifier of relativeImports(await readFile(path, "utf8"))) {
        const imported = relative(source, resolve(dirname(path), specifier));
        const reason = whyNot(file, imported);
        if (reason !== undefined) {
          violations.push({ file, imported, reason });
        }
      }
    }
  }
  return violations;
}

/** The relative specifiers of `import`, `export … from` and `import()`; also in comments, which never hurt so far. */
function relativeImports(text: string): string[] {
  const pattern = /(?:\bfrom\s*|\bimport\s*\(?\s*)(["'])(\.{1,2}\/[^"']+)\1/g;
  return [...text.matchAll(pattern)].map((match) => match[2] ?? "");
}

function whyNot(file: string, imported: string): string | undefined {
  const from = layerOf(file);
  const to = layerOf(imported);
  if (from === to && from !== "") {
    return undefined;
  }
  if (imported.startsWith("..")) {
    // The package's own description is no layer.
    return imported === "../package.json" ? undefined : "src/ imports nothing from outside";
  }
  const fromRow = rows.findIndex((row) => row.includes(from));
  const toRow = rows.findIndex((row) => row.includes(to));
  if (fromRow === -1 || toRow === -1) {
    return `${fromRow === -1 ? from || file : to} has no place in the layers of script/check-layers.ts`;
  }
  if (toRow <= fromRow) {
    return `${from} must not know ${to}`;
  }
  const allowed = narrowed[from];
  if (allowed !== undefined && !allowed.some((pattern) => pattern.test(imported))) {
    return `${from} must not know ${imported}`;
  }
  return undefined;
}

function layerOf(path: string): string {
  return path.includes("/") ? (path.split("/")[0] ?? "") : "";
}

if (process.argv[1] === import.meta.filename) {
  const source = resolve(process.argv[2] ?? join(import.meta.dirname, "..", "src"));
  const violations = await findViolations(source);
  for (const { file, imported, reason } of violations) {
    console.error(`src/${file} imports ${imported}: ${reason}`);
  }
  process.exitCode = violations.length === 0 ? 0 : 1;
}
