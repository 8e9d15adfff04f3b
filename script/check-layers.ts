/**
 * Checks that dependencies point downwards only (docs/architecture.md), and that no files depend on each other in a circle:
 *
 *     cli → sdk → daemon → api → sandbox → backends → agent, images → libvirt, config → core → errors
 *
 * `npx tsx script/check-layers.ts [FOLDER]` names every import that doesn't, and every circle, and fails. The linter's rule
 * against circles sees neither imports of types nor lazy ones.
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
  // A client shares nothing with the server but what goes over the wire and its names, errors and the places of files.
  sdk: [/^api\/schema(\.ts$|\/)/, /^sandbox\/wire-names\.ts$/, /^config\//, /^core\//, /^errors\//],
  // It could be a package of its own.
  libvirt: [],
};

export interface Violation {
  file: string;
  imported: string;
  reason: string;
}

/** What each file below a `src/` imports of the others, by paths from there. Tests may import what they like. */
export type Imports = ReadonlyMap<string, readonly string[]>;

export async function readImports(source: string): Promise<Imports> {
  const imports = new Map<string, string[]>();
  for (const entry of await readdir(source, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (!entry.isFile() || !path.endsWith(".ts") || path.endsWith(".test.ts")) continue;
    const specifiers = relativeImports(await readFile(path, "utf8"));
    const imported = specifiers.map((specifier) => relative(source, resolve(dirname(path), specifier)));
    imports.set(relative(source, path), [...new Set(imported)]);
  }
  return imports;
}

/** Every import that points elsewhere than down. */
export function findViolations(imports: Imports): Violation[] {
  return [...imports].flatMap(([file, all]) =>
    all.flatMap((imported) => {
      const reason = whyNot(file, imported);
      return reason === undefined ? [] : [{ file, imported, reason }];
    }),
  );
}

/** The shortest circle through each file that is in one and in none that was found before. */
export function findCircles(imports: Imports): string[][] {
  const circles: string[][] = [];
  for (const file of imports.keys()) {
    if (circles.some((circle) => circle.includes(file))) continue;
    const circle = shortestWayBack(imports, file);
    if (circle !== undefined) circles.push(circle);
  }
  return circles;
}

function shortestWayBack(imports: Imports, start: string): string[] | undefined {
  const ways: string[][] = [[start]];
  const seen = new Set<string>();
  for (const way of ways) {
    for (const next of imports.get(way.at(-1) ?? "") ?? []) {
      if (next === start) return way;
      if (seen.has(next)) continue;
      seen.add(next);
      ways.push([...way, next]);
    }
  }
  return undefined;
}

/** The relative specifiers of `import`, `export … from` and `import()`, those in doc comments aside. */
function relativeImports(source: string): string[] {
  const text = source.replaceAll(/\/\*\*[^]*?\*\//g, "");
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
  const imports = await readImports(source);
  const [violations, circles] = [findViolations(imports), findCircles(imports)];
  for (const { file, imported, reason } of violations) {
    console.error(`src/${file} imports ${imported}: ${reason}`);
  }
  for (const circle of circles) console.error(`a circle: ${[...circle, circle[0]].join(" → ")}`);
  process.exitCode = violations.length + circles.length === 0 ? 0 : 1;
}
