/**
 * Joins what `heyvm` and its daemon run into few files: the command line had read 200 at each start, half of them zod's, which
 * took longer than all else that it does. They share chunks, and what a command needs is read when the command is run.
 *
 *     node --import tsx script/bundle-programs.ts COMPILED DIST
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { argv } from "node:process";
import { rolldown } from "rolldown";

/** https://opensource.org/license/mit */
const mitTerms = `Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated documentation
files (the "Software"), to deal in the Software without restriction, including without limitation the rights to use, copy,
modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the
Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.`;

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
  // Without a hash: a command that is under way while another build takes their place still finds what it reads late.
  chunkFileNames: "chunks/[name].js",
});
const modules = output.flatMap((file) => (file.type === "chunk" ? file.moduleIds : []));
writeFileSync(join(dist, "licenses.txt"), licensesOf(modules));

/** What is copied into a program brings its licence along, and those of what its makers had copied. */
function licensesOf(files: readonly string[]): string {
  const inside = /^(.*\/node_modules\/((?:@[^/]+\/)?[^/]+))\//;
  const texts = new Map<string, string>();
  for (const file of files) {
    const [, root, name] = inside.exec(file) ?? [];
    if (root === undefined || name === undefined) continue;
    texts.set(name, licenseIn(root) ?? namedLicense(root));
    for (let folder = dirname(file); folder !== root; folder = dirname(folder)) {
      const text = licenseIn(folder);
      if (text !== undefined) texts.set(`${name}/${relative(root, folder)}`, text);
    }
  }
  return [...texts.entries()]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, text]) => `${name}\n\n${text}\n`)
    .join(`\n${"-".repeat(80)}\n\n`);
}

function licenseIn(folder: string): string | undefined {
  const name = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
  return name === undefined ? undefined : readFileSync(join(folder, name), "utf8").trim();
}

/** A few packages name their licence without its text. Of any but this one, somebody has to look. */
function namedLicense(folder: string): string {
  const manifest: { license?: string; author?: string | { name: string } } = JSON.parse(
    readFileSync(join(folder, "package.json"), "utf8"),
  );
  if (manifest.license !== "MIT") throw new Error(`${folder} has no licence's text`);
  const author = typeof manifest.author === "string" ? manifest.author : manifest.author?.name;
  return `MIT License\n\nCopyright (c) ${author ?? "its authors"}\n\n${mitTerms}`;
}
