/** The seed of a preparation: what cloud-init's NoCloud source reads from a disk labelled `cidata`. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

import { HeyvmError } from "../../../errors/index.ts";
import { type GuestFile, installScriptPath } from "../../guest/guest-files.ts";
import { findProgram, runHostProgram } from "../program.ts";

/** cloud-init's three files, by name. JSON is YAML. */
export function seedFiles(instanceId: string, files: readonly GuestFile[]): Record<string, string> {
  return {
    // `local`: user data counts before the network is up, which here it never is; `bootcmd` runs in the first stage.
    "meta-data": JSON.stringify({ "instance-id": instanceId, "local-hostname": "heyvm", dsmode: "local" }),
    "user-data": `#cloud-config\n${JSON.stringify(cloudConfig(files))}\n`,
    // Nothing to wait for: a preparation has no network unless it needs one.
    "network-config": JSON.stringify({ config: "disabled" }),
  };
}

/** `bootcmd` is the earliest that cloud-init offers; `write_files` and `runcmd` come many seconds later. */
function cloudConfig(files: readonly GuestFile[]): Record<string, unknown> {
  const write = `mkdir -p "\${0%/*}" && printf %s "$1" | base64 -d | gzip -dc > "$0" && chmod "$2" "$0"`;
  return {
    bootcmd: [
      ...files.map(({ path, mode, content }) => {
        return ["sh", "-c", write, path, gzipSync(content).toString("base64"), mode.toString(8)];
      }),
      ["sh", installScriptPath],
    ],
    // Each sandbox has its own disk size; the one host key is removed afterwards.
    growpart: { mode: "off" },
    resize_rootfs: false,
    ssh_genkeytypes: ["ed25519"],
    package_update: false,
    package_upgrade: false,
  };
}

/** Programs that make ISO images, the first that is there is used. Arguments are mkisofs's. */
const isoTools: readonly { program: string; prefix: readonly string[] }[] = [
  { program: "xorriso", prefix: ["-as", "mkisofs"] },
  { program: "genisoimage", prefix: [] },
  { program: "mkisofs", prefix: [] },
];

/** No program to make an ISO image with. */
export class IsoToolMissingError extends HeyvmError {
  constructor() {
    super(
      "backend_unavailable",
      "no program to make an ISO image with: xorriso, genisoimage and mkisofs are all missing",
      {
        hint: "install xorriso, for example: sudo apt-get install -y xorriso",
      },
    );
  }
}

/** Which ISO program is installed; `undefined` for none. */
export async function findIsoTool(): Promise<{ program: string; prefix: readonly string[] } | undefined> {
  for (const tool of isoTools) if ((await findProgram(tool.program)) !== undefined) return tool;
  return undefined;
}

/** Makes the seed's ISO image in memory; it is a few hundred kilobytes. */
export async function makeSeedIso(files: Record<string, string>, signal: AbortSignal): Promise<Buffer> {
  const tool = await findIsoTool();
  if (tool === undefined) throw new IsoToolMissingError();
  const folder = await mkdtemp(join(tmpdir(), "heyvm-seed-"));
  try {
    const names = Object.keys(files);
    for (const name of names) await writeFile(join(folder, name), files[name] ?? "");
    const args = [...tool.prefix, "-quiet", "-o", "seed.iso", "-V", "cidata", "-J", "-r", ...names];
    await runHostProgram(tool.program, args, { cwd: folder, signal, timeoutMs: 60_000 });
    return await readFile(join(folder, "seed.iso"));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
