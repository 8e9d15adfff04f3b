import { type Command, Option } from "commander";

import { formatSize } from "../../config/size.ts";
import type { Sandbox } from "../../sdk/index.ts";
import { keyValueOption, type KeyValues } from "../arguments/repeated.ts";
import { createInvocation, type Invocation } from "../invocation.ts";
import type { Style } from "../output/style.ts";
import type { Column } from "../output/table.ts";
import { formatAgo } from "../output/time.ts";

interface ListFlags {
  all?: boolean;
  stopped?: boolean;
  label?: KeyValues;
}

export function define(command: Command): void {
  command
    .addOption(new Option("-a, --all", "in whatever state; default: those that are up"))
    .addOption(new Option("--stopped", "only those that are stopped"))
    .addOption(keyValueOption("--label <key=value>", "only those with this label; repeats"))
    .action(async (flags: ListFlags) => {
      const invocation = createInvocation(command);
      const heyvm = await invocation.connect();
      const all = flags.all === true || flags.stopped === true;
      const sandboxes = await heyvm.sandboxes.list({ all, signal: invocation.signal });
      const wanted = sandboxes.filter((sandbox) => isWanted(sandbox, flags, invocation.backend));
      if (invocation.json) invocation.printJson(wanted);
      else if (wanted.length === 0) invocation.note(emptyNote(all, sandboxes.length));
      else invocation.printTable(columns(invocation), wanted);
    });
}

function isWanted({ info }: Sandbox, flags: ListFlags, backend: string | undefined): boolean {
  if (flags.stopped === true && info.status !== "stopped") return false;
  if (backend !== undefined && info.backend !== backend) return false;
  return Object.entries(flags.label ?? {}).every(([key, value]) => info.labels[key] === value);
}

function emptyNote(all: boolean, listed: number): string {
  if (listed > 0) return "no sandbox fits";
  return all
    ? "no sandboxes; make one: heyvm create"
    : "no sandbox is up; `heyvm list --all` shows the others, too";
}

function columns({ style }: Invocation): Column<Sandbox>[] {
  return [
    { title: "ID", value: ({ id }) => id, paint: (cell) => style.dim(cell) },
    { title: "NAME", value: ({ name }) => name, flexible: true },
    {
      title: "STATUS",
      value: ({ info }) => info.status,
      paint: (cell, { info }) => statusColor(style, info.status)(cell),
    },
    { title: "TYPE", optional: true, value: ({ info }) => info.type },
    { title: "IMAGE", value: ({ info }) => info.image ?? "-", flexible: true },
    { title: "BACKEND", optional: true, value: ({ info }) => info.backend },
    { title: "CPUS", optional: true, value: ({ info }) => String(info.cpus) },
    { title: "MEMORY", optional: true, value: ({ info }) => formatSize(info.memoryBytes) },
    { title: "CREATED", optional: true, value: ({ info }) => formatAgo(info.createdAt) },
  ];
}

/** Green is up, red is broken, yellow is in between. */
export function statusColor(style: Style, status: string): (text: string) => string {
  if (status === "running") return style.green;
  if (status === "failed") return style.red;
  return status === "stopped" ? style.dim : style.yellow;
}
