/**
 * Joins what `heyvm` and its daemon run into few files: the command line had read 200 at each start, half of them zod's, which
 * took longer than all else that it does. They share chunks, and what a command needs is read when the command is run.
 *
 *     node --import tsx script/bundle-programs.ts COMPILED DIST
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { argv } from "node:process";
import { rolldown } from "rolldown";

const [compiled = "", dist = ""] = argv.slice(2);
const bundle = await rolldown({
  input: {
    "cli/main": join(compiled, "cli/main.js"),
    "daemon/main": join(compiled, "daemon/main.js"),
  },
  platform: "node",
  // jsonc-parser's other half asks for its parts by a function that nobody can follow.
  resolve: { mainFields: ["module", "main"] },
  // What ws makes use of where somebody has installed it.
  external: ["bufferutil", "utf-8-validate"],
  onLog: (level, log) => {
    throw new Error(`${level}: ${log.message}`);
  },
});
// Each file lies two folders below the package's root, as in `src/`: some find its other files by that.
const { output } = await bundle.write({
  dir: dist,
  format: "esm",
  entryFileNames: "[name].js",
  chunkFileNames: "chunks/[name]-[hash].js",
});
const modules = output.flatMap((file) => (file.type === "chunk" ? file.moduleIds : []));
writeFileSync(join(dist, "licenses.txt"), licensesOf(modules));

/** What is copied into a program brings its licence along. */
function licensesOf(files: readonly string[]): string {
  const inside = /^(.*\/node_modules\/((?:@[^/]+\/)?[^/]+))\//;
  const packages = new Map<string, string>();
  for (const file of files) {
    const [, folder, name] = inside.exec(file) ?? [];
    if (folder !== undefined && name !== undefined) packages.set(name, folder);
  }
  return [...packages.entries()]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, folder]) => `${name}\n\n${licenseIn(folder)}\n`)
    .join(`\n${"-".repeat(80)}\n\n`);
}

/** A few packages name their licence without its text. */
function licenseIn(folder: string): string {
  const name = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
  if (name !== undefined) return readFileSync(join(folder, name), "utf8").trim();
  const manifest: { license?: string; author?: string | { name: string } } = JSON.parse(
    readFileSync(join(folder, "package.json"), "utf8"),
  );
  const author = typeof manifest.author === "string" ? manifest.author : manifest.author?.name;
  return [manifest.license ?? "no licence is named", author].filter(Boolean).join(", ");
}
