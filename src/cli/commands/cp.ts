import type { Command } from "commander";

import { formatSize } from "../../config/size.ts";
import { parseCopySide } from "../arguments/sandbox-path.ts";
import { download, downloadToStream } from "../copy/download.ts";
import type { Meter } from "../copy/meter.ts";
import { upload, uploadStream } from "../copy/upload.ts";
import { createInvocation, type Invocation } from "../invocation.ts";
import { formatSpan } from "../output/time.ts";
import { UsageError } from "../usage-error.ts";

export function define(command: Command): void {
  command
    .usage("[options] <source> <destination>")
    .argument("<from>", "path here, ID:PATH, or - for stdin")
    .argument("<to>", "path here, ID:PATH, or - for stdout")
    .addHelpText(
      "after",
      `
Files and folders, with their modes and links. One side is in a sandbox; its relative paths begin at the sandbox's
working directory. As with cp, a folder that exists receives the copy in it; "folder/." means what is in the folder.

Examples:
  heyvm cp ./project web:/workspace
  heyvm cp web:results.csv .
  heyvm cp web:/var/log/syslog - | grep error
  pg_dump shop | heyvm cp - web:/tmp/shop.sql`,
    )
    .action(async (from: string, to: string) => {
      const invocation = createInvocation(command);
      const startedMs = performance.now();
      const meter = await copy(invocation, from, to);
      const elapsedMs = Math.round(performance.now() - startedMs);
      if (to === "-") return;
      if (invocation.json) {
        invocation.printJson({ files: meter.files, bytes: meter.bytes, elapsed_ms: elapsedMs });
      } else if (process.stderr.isTTY) {
        const files = meter.files === 1 ? "1 file" : `${meter.files} files`;
        invocation.note(`copied ${files}, ${formatSize(meter.bytes)} in ${formatSpan(elapsedMs)}`);
      }
    });
}

async function copy(invocation: Invocation, from: string, to: string): Promise<Meter> {
  const source = parseCopySide(from);
  const destination = parseCopySide(to);
  if ((source.kind === "sandbox") === (destination.kind === "sandbox")) {
    const both = source.kind === "sandbox";
    throw new UsageError(
      both ? `${from} and ${to} are both in a sandbox` : `neither ${from} nor ${to} is in a sandbox`,
      both
        ? "copy to this machine first, then on: heyvm cp A:PATH FILE"
        : "write ID:PATH for the one that is",
    );
  }
  const heyvm = await invocation.connect();
  const { signal } = invocation;
  if (source.kind === "sandbox") {
    const sandbox = await heyvm.sandboxes.get(source.reference, { signal });
    return destination.kind === "local"
      ? await download(invocation, sandbox, source.path, destination.path)
      : await downloadToStream(invocation, sandbox, source.path);
  }
  if (destination.kind !== "sandbox") throw new UsageError("one side must be in a sandbox");
  const sandbox = await heyvm.sandboxes.get(destination.reference, { signal });
  return source.kind === "local"
    ? await upload(invocation, sandbox, source.path, destination.path)
    : await uploadStream(invocation, sandbox, destination.path);
}
