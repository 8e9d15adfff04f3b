import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { type Socket, connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { agentSourcePath } from "../agent-source.ts";
import { connectAgent } from "../connect.ts";
import type { AgentSession, ConnectOptions } from "../types.ts";

/** The real agent as a process of this machine, at a unix socket in a folder of its own. */
export interface LocalAgent extends AsyncDisposable {
  readonly folder: string;
  readonly socketPath: string;
  /** The one that runs at the moment: `crash` begins another one. */
  readonly process: ChildProcess;
  open(signal: AbortSignal): Promise<Socket>;
  connect(options?: ConnectOptions): Promise<AgentSession>;
  /** Ends the process at once, and starts another one in its place, as a guest's service manager does. */
  crash(): Promise<void>;
  /** Resident memory of the agent. */
  residentBytes(): number;
}

/** Starts an agent; it and its folder are gone after the `await using` block. */
export function startLocalAgent(): LocalAgent {
  const folder = mkdtempSync(join(tmpdir(), "heyvm-agent-"));
  const socketPath = join(folder, "agent.sock");
  const options = ["--listen-unix", socketPath, "--journal", join(folder, "journal")];
  const start = (): ChildProcess =>
    spawn("python3", ["-I", "-S", "-B", agentSourcePath(), ...options], {
      stdio: ["ignore", "inherit", "inherit"],
    });
  let agent = start();
  const open = (signal: AbortSignal) => connectSocket(socketPath, signal);
  return {
    folder,
    socketPath,
    get process() {
      return agent;
    },
    open,
    connect: (options) => connectAgent(open, { timeoutMs: 60_000, ...options }),
    async crash() {
      agent.kill("SIGKILL");
      await once(agent, "exit");
      agent = start();
    },
    residentBytes: () => residentBytes(agent.pid ?? 0),
    async [Symbol.asyncDispose]() {
      if (agent.exitCode === null && agent.signalCode === null) {
        agent.kill("SIGTERM");
        await once(agent, "exit");
      }
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Resident memory of a process, from the kernel. */
export function residentBytes(pid: number): number {
  const found = /^VmRSS:\s+(\d+) kB/mu.exec(readFileSync(`/proc/${pid}/status`, "utf8"));
  return Number(found?.[1]) * 1024;
}

/** Connects to a unix socket. */
export async function connectSocket(path: string, signal: AbortSignal): Promise<Socket> {
  const socket = connect({ path, signal });
  await once(socket, "connect", { signal });
  return socket;
}
