/** Starts daemons for tests and talks to them over real HTTP and web sockets. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { type IncomingMessage, request as httpRequest } from "node:http";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { buffer } from "node:stream/consumers";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";

import { WebSocket } from "ws";

import { killAllMachines } from "../../sandbox/testing/machine-processes.ts";

const script = fileURLToPath(new URL("daemon-process.ts", import.meta.url));

export interface Answer {
  status: number;
  headers: IncomingMessage["headers"];
  text: string;
  /** The body as JSON; the tests know what they expect. */
  // oxlint-disable-next-line typescript/no-explicit-any -- a test asserts on whatever came
  json: any;
}

export interface TestDaemon extends AsyncDisposable {
  readonly pid: number;
  readonly folder: string;
  readonly socketPath: string;
  readonly info: Record<string, unknown>;
  readonly exited: Promise<number | null>;
  call(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>;
  /** The answer's body as it comes. */
  open(
    method: string,
    path: string,
    body?: Readable,
    headers?: Record<string, string>,
  ): Promise<IncomingMessage>;
  socket(path: string): WebSocket;
  kill(signal: NodeJS.Signals): Promise<void>;
}

/** A state folder with a short path, that takes the machines with it when it goes. */
export async function createTestState(): Promise<{ folder: string } & AsyncDisposable> {
  const folder = await mkdtemp(join(tmpdir(), "hv-"));
  return {
    folder,
    async [Symbol.asyncDispose]() {
      await killAllMachines(join(folder, "machines"));
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** What a daemon says first: where it is, or why it is not. */
export async function startTestDaemon(folder: string, env: NodeJS.ProcessEnv = {}): Promise<TestDaemon> {
  const child = spawn(process.execPath, ["--import", "tsx", script], {
    env: { ...process.env, MVM_DATA_DIR: folder, ...env },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = once(child, "exit").then(([code]) => (typeof code === "number" ? code : null));
  const info = await firstLine(child);
  const told = info["socket_path"];
  const socketPath = typeof told === "string" ? told : join(folder, "heyvm.sock");
  const daemon: TestDaemon = {
    pid: child.pid ?? 0,
    folder,
    socketPath,
    info,
    exited,
    async call(method, path, body, headers = {}) {
      const text = body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body);
      const answer = await send(socketPath, method, path, headers, (request) => request.end(text));
      const received = (await buffer(answer)).toString("utf8");
      return {
        status: answer.statusCode ?? 0,
        headers: answer.headers,
        text: received,
        json: answer.headers["content-type"]?.includes("json") ? parseLast(received) : undefined,
      };
    },
    open: async (method, path, body, headers = {}) =>
      await send(socketPath, method, path, headers, (request) => {
        if (body === undefined) request.end();
        else body.pipe(request);
      }),
    socket: (path) => new WebSocket(`ws+unix://${socketPath}:${path}`),
    async kill(signal) {
      child.kill(signal);
      await exited;
    },
    async [Symbol.asyncDispose]() {
      if (child.exitCode === null && child.signalCode === null) await daemon.kill("SIGTERM");
    },
  };
  return daemon;
}

async function firstLine(child: ChildProcess): Promise<Record<string, unknown>> {
  if (child.stdout === null) throw new Error("no stdout");
  for await (const line of createInterface({ input: child.stdout })) return JSON.parse(line);
  throw new Error("the daemon ended without a word");
}

async function send(
  socketPath: string,
  method: string,
  path: string,
  headers: Record<string, string>,
  write: (request: ReturnType<typeof httpRequest>) => void,
): Promise<IncomingMessage> {
  return await new Promise((resolve, reject) => {
    const request = httpRequest({ socketPath, method, path, headers, agent: false }, resolve);
    request.once("error", reject);
    write(request);
  });
}

/** The last line of a progress stream, or the whole document. */
function parseLast(text: string): unknown {
  return JSON.parse(text.trim().split("\n").at(-1) ?? "");
}
