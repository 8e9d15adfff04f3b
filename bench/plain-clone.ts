/** The same clone by hand: QEMU alone with a template's files, and what `virsh` takes to launch that machine. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { copyFile, mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";

import { connectAgent } from "../src/agent/index.ts";
import { loadState } from "../src/backends/libvirt/template/template-files.ts";
import type { Sandbox } from "../src/sdk/index.ts";
import { findQemu } from "./qemu-process.ts";

const timeoutMs = 60_000;

/** A machine that runs, told in the ways in which it can be launched again. */
export interface ClonePattern {
  /** QEMU's command line as libvirt made it. */
  args: readonly string[];
  /** The domain as it runs. */
  xml: string;
  /** The template's files. */
  blank: string;
  state: Buffer;
}

/** What a sandbox that was cloned is, to be repeated without heyvm. */
export async function patternOf(sandbox: Sandbox, uri: string): Promise<ClonePattern> {
  const { args } = await findQemu(sandbox);
  const xml = await virsh(uri, "dumpxml", `heyvm-${sandbox.id}`);
  const ram = /mem-path=([^,]*)\.ram,/.exec(args.join(" "))?.[1];
  const state = ram === undefined ? undefined : await loadState(`${ram}.state`);
  if (ram === undefined || state === undefined) throw new Error(`${sandbox.id} is no clone`);
  return { args, xml, blank: `${ram}.blank`, state };
}

/** From nothing to the first byte of `echo`'s output, of a clone by QEMU alone. Milliseconds. */
export async function plainClone({ args, blank, state }: ClonePattern): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), "heyvm-plain-"));
  const paths = {
    disk: join(folder, "disk.qcow2"),
    monitor: join(folder, "monitor"),
    channel: join(folder, "channel"),
    state: join(folder, "state"),
  };
  let qemu: ChildProcess | undefined;
  const server = createServer();
  try {
    const begin = performance.now();
    await copyFile(blank, paths.disk);
    await listen(server, paths.monitor);
    const connected = firstConnection(server);
    const [program = "", ...own] = ownArgs(args, paths);
    qemu = spawn(program, own, { stdio: ["ignore", "ignore", "inherit"] });
    const monitor = monitorOn(await connected);
    await monitor("qmp_capabilities");
    await monitor("migrate-set-capabilities", {
      capabilities: [{ capability: "x-ignore-shared", state: true }],
    });
    await monitor("migrate-incoming", { uri: `unix:${paths.state}` });
    await give(state, paths.state);
    await monitor("cont");
    const agent = await connectAgent(() => Promise.resolve(connect(paths.channel)), { timeoutMs });
    const command = await agent.exec({ argv: ["echo", "ready"], stdin: false });
    await once(command.stdout, "data");
    const tookMs = performance.now() - begin;
    await agent.close();
    return tookMs;
  } finally {
    server.close();
    await end(qemu);
    await rm(folder, { recursive: true, force: true });
  }
}

/** One `virsh create --paused` of the machine's XML, from the process's start to its end. Milliseconds. */
export async function virshCreate({ xml, blank }: ClonePattern, uri: string): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), "heyvm-virsh-"));
  const [disk, file] = [join(folder, "disk.qcow2"), join(folder, "domain.xml")];
  const name = `heyvm-bench-${randomUUID().slice(0, 8)}`;
  try {
    await copyFile(blank, disk);
    await writeFile(file, ownXml(xml, name, disk));
    const begin = performance.now();
    await virsh(uri, "create", "--paused", file);
    const tookMs = performance.now() - begin;
    await virsh(uri, "destroy", name);
    return tookMs;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** libvirt hands descriptors to QEMU, and keeps a secret that nothing here needs. */
function ownArgs(args: readonly string[], paths: Record<"disk" | "monitor" | "channel", string>): string[] {
  const own: string[] = [];
  for (const [index, arg] of args.entries()) {
    const option = args[index - 1];
    if (arg === "-add-fd" || option === "-add-fd") continue;
    if (option === "-object" && arg.includes('"masterKey0"')) {
      own.pop();
      continue;
    }
    if (arg === "") continue;
    own.push(
      arg
        .replace(/(socket,id=charmonitor),fd=\d+,.*/, `$1,path=${paths.monitor}`)
        .replace(/(socket,id=charchannel0),fd=\d+,.*/, `$1,path=${paths.channel},server=on,wait=off`)
        .replace(/(,?)logfile=[^,]*,logappend=on/, "$1logfile=/dev/null")
        .replace(/"filename":"[^"]*sb-[^"]*\.qcow2"/, `"filename":${JSON.stringify(paths.disk)}`),
    );
  }
  return own;
}

function ownXml(xml: string, name: string, disk: string): string {
  return xml
    .replace(/^<domain type='(\w+)' id='\d+'/, "<domain type='$1'")
    .replace(/<name>.*<\/name>/, `<name>${name}</name>`)
    .replace(/<uuid>.*<\/uuid>/, `<uuid>${randomUUID()}</uuid>`)
    .replace(/<metadata>.*<\/metadata>/s, "")
    .replace(/<source file='[^']*\/sb-[^']*\.qcow2'/, `<source file='${disk}'`)
    .replace(/<source mode='bind' path='[^']*'\/>/, "")
    .replace(/<log file='[^']*' append='on'\/>/, "");
}

async function virsh(uri: string, ...args: string[]): Promise<string> {
  return (await promisify(execFile)("virsh", ["--connect", uri, ...args])).stdout;
}

async function listen(server: Server, path: string): Promise<void> {
  server.listen(path);
  await once(server, "listening");
}

/** QEMU comes to us, so that nothing has to be tried again and again. */
function firstConnection(server: Server): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const fail = (): void => reject(new Error("QEMU does not start"));
    const limit = setTimeout(fail, timeoutMs);
    server.once("connection", (socket) => {
      clearTimeout(limit);
      resolve(socket);
    });
  });
}

type Monitor = (execute: string, args?: Record<string, unknown>) => Promise<void>;

/** QEMU's monitor (QMP), one command at a time. */
function monitorOn(socket: Socket): Monitor {
  const lines = createInterface({ input: socket })[Symbol.asyncIterator]();
  return async (execute, args = {}) => {
    socket.write(`${JSON.stringify({ execute, arguments: args })}\n`);
    for (;;) {
      const { value, done } = await lines.next();
      if (done === true) throw new Error(`QEMU ended at ${execute}`);
      const answer: Record<string, unknown> = JSON.parse(value);
      if ("error" in answer) throw new Error(`${execute}: ${value}`);
      if ("return" in answer) return;
    }
  };
}

/** Ends when QEMU has taken all of it. */
async function give(state: Buffer, path: string): Promise<void> {
  const socket = connect(path);
  socket.resume().end(state);
  await once(socket, "close", { signal: AbortSignal.timeout(timeoutMs) });
}

async function end(qemu: ChildProcess | undefined): Promise<void> {
  if (qemu === undefined || qemu.exitCode !== null || qemu.signalCode !== null) return;
  const ended = once(qemu, "exit");
  qemu.kill("SIGKILL");
  await ended;
}
