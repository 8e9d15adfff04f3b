/**
 * Writes `build-id` into a folder that the compiler has filled: a name for what runs, by content, so that two installations
 * are the same when their files are, wherever and whenever they were made.
 *
 *     node --import tsx script/write-build-id.ts dist
 */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";

const [folder = "dist"] = process.argv.slice(2);
const programs = readdirSync(folder, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && entry.name.endsWith(".js"))
  .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
  .toSorted();
const hash = createHash("sha256");
for (const name of programs) hash.update(`${name}\0`).update(readFileSync(join(folder, name)));
const modules = readdirSync("guest/heyvm_agent").filter((name) => name.endsWith(".py"));
const agent = modules.toSorted().map((name) => join("guest/heyvm_agent", name));
for (const path of ["guest/agent.py", ...agent, "package.json"])
  hash.update(`${path}\0`).update(readFileSync(path));
writeFileSync(join(folder, "build-id"), `${hash.digest("hex").slice(0, 16)}\n`);
