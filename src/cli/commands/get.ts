import type { Command } from "commander";

import { formatSize } from "../../config/size.ts";
import type { HostMemory, Sandbox, SandboxInfo } from "../../sdk/index.ts";
import { createInvocation, type Invocation } from "../invocation.ts";
import { printable } from "../output/text.ts";
import { coarse, formatAgo } from "../output/time.ts";

export function define(command: Command): void {
  command.argument("<id...>", "sandboxes").action(async (ids: string[]) => {
    const invocation = createInvocation(command);
    const heyvm = await invocation.connect();
    for (const [index, id] of ids.entries()) {
      const sandbox = await heyvm.sandboxes.get(id, { stats: true, signal: invocation.signal });
      if (invocation.json) {
        invocation.printJson(sandbox);
      } else {
        if (index > 0) invocation.print("");
        printSandbox(invocation, sandbox);
      }
    }
  });
}

function printSandbox(invocation: Invocation, { info }: Sandbox): void {
  const rows = describe(info).filter((row): row is readonly [string, string] => row[1] !== undefined);
  const width = Math.max(...rows.map(([title]) => title.length));
  for (const [title, value] of rows) {
    invocation.print(`${invocation.style.bold(`${title}:`.padEnd(width + 2))}${printable(value)}`);
  }
}

function describe(info: SandboxInfo): (readonly [string, string | undefined])[] {
  return [
    ["id", info.id],
    ["name", info.name],
    ["slug", info.slug],
    ["description", info.description],
    ["status", info.status],
    ["error", info.errorMessage],
    ["type", info.type],
    ["image", info.image ?? undefined],
    ["backend", info.uri === undefined ? info.backend : `${info.backend} (${info.uri})`],
    [
      "cpus",
      info.cpuUsage === null ? String(info.cpus) : `${info.cpus} (${Math.round(info.cpuUsage)}% used)`,
    ],
    ["memory", used(info.memoryBytes, info.memoryUsageBytes)],
    ["host memory", info.hostMemory === null ? undefined : describeHostMemory(info.hostMemory)],
    ["disk", info.diskBytes === null ? undefined : formatSize(info.diskBytes)],
    ["working directory", info.workingDirectory],
    ["start command", info.startCommand],
    ["network", info.needsNetwork ? "yes" : "no"],
    ...info.openPorts.map((port) => ["open port", describePort(port)] as const),
    ...info.mounts.map((mount) => ["mount", describeMount(mount)] as const),
    ...Object.entries(info.env).map(([key, value]) => ["environment", `${key}=${value}`] as const),
    ...Object.entries(info.labels).map(([key, value]) => ["label", `${key}=${value}`] as const),
    ["machine", describeStart(info)],
    ["created", `${info.createdAt.toISOString()} (${formatAgo(info.createdAt)})`],
    ["up for", info.uptimeSeconds === null ? undefined : coarse(info.uptimeSeconds * 1000)],
    ["expires", info.expiresAt?.toISOString()],
    ...info.warnings.map((warning) => ["warning", warning] as const),
  ];
}

function used(total: number, usage: number | null): string {
  return usage === null ? formatSize(total) : `${formatSize(total)} (${formatSize(usage)} used)`;
}

function describeHostMemory({ privateBytes, proportionalBytes }: HostMemory): string {
  return `${formatSize(privateBytes)} private, ${formatSize(proportionalBytes)} with its share of what is shared`;
}

function describePort(port: SandboxInfo["openPorts"][number]): string {
  return typeof port === "number"
    ? `127.0.0.1:${port} → ${port}`
    : `127.0.0.1:${port.hostPort} → ${port.guestPort}`;
}

function describeStart({ startMode, startReason }: SandboxInfo): string | undefined {
  if (startMode === undefined) return undefined;
  return startReason === undefined ? startMode : `${startMode}: ${startReason}`;
}

function describeMount(mount: SandboxInfo["mounts"][number]): string {
  return `${mount.hostPath} → ${mount.sandboxPath}${mount.readOnly === true ? " (read-only)" : ""}`;
}
