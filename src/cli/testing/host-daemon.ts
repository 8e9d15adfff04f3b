/**
 * A stand-in for the daemon whose one sandbox, `web`, is a folder and processes of this machine. It speaks the API's wire
 * format, so that the command line can be tested as a real process, without a virtual machine.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createReadStream, createWriteStream } from "node:fs";
import { lstat, mkdir, readdir, readlink, rename } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { basename, join } from "node:path";
import { text } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";

import type { WebSocket } from "ws";

import type { Doctor, Pruned } from "../../api/schema.ts";
import { packageVersion } from "../../config/version.ts";
import { webSandbox } from "../../sdk/testing/sandbox-document.ts";
import { answerJson, startWireServer, type WireServer } from "../../sdk/testing/wire-server.ts";
import { parseMessage } from "../../sdk/wire.ts";

export interface HostDaemon extends AsyncDisposable {
  readonly socketPath: string;
  /** `METHOD path` of every request, in order. */
  readonly requests: readonly string[];
  /** Signals that clients sent to commands. */
  readonly signals: readonly string[];
  /** Sizes that a shell's terminal was given, `COLSxROWS`. */
  readonly sizes: readonly string[];
}

interface Play {
  /** Plays `POST /sandboxes`; absent: made at once. */
  create?: (answer: ServerResponse, request: IncomingMessage) => void;
  /** Plays `DELETE /sandboxes/:id`; absent: removed at once. */
  remove?: (answer: ServerResponse) => void;
  /** Plays `POST /sandboxes/:id/start`; absent: there is no such sandbox. */
  start?: (answer: ServerResponse) => void;
  /** Plays `GET /sandboxes/:id?settled=true`; absent: answered at once. */
  settled?: (answer: ServerResponse) => void;
  /** What `GET /doctor` finds; absent: nothing to check. */
  doctor?: () => Doctor;
  /** What `POST /prune` answers. */
  prune?: Pruned;
}

/** `root` is the sandbox's file system: guest paths are taken below it. */
export async function startHostDaemon(root: string, play: Play = {}): Promise<HostDaemon> {
  const requests: string[] = [];
  const signals: string[] = [];
  const sizes: string[] = [];
  const children = new Set<ChildProcess>();
  const server: WireServer = await startWireServer({
    http: (request, answer) => {
      requests.push(`${request.method} ${request.url?.split("?")[0]}`);
      void route(request, answer, root, play).catch((error: NodeJS.ErrnoException) =>
        answerJson(answer, error.code === "ENOENT" ? 404 : 500, {
          error: error.message,
          code: error.code === "ENOENT" ? "path_not_found" : "internal",
        }),
      );
    },
    webSocket: (socket, request) => {
      requests.push(`WS ${request.url}`);
      if (request.url?.endsWith("/exec") === true) playExec(socket, root, children, signals);
      else if (request.url?.endsWith("/shell-stream") === true) playShell(socket, sizes);
    },
  });
  return {
    socketPath: server.endpoint.socketPath,
    requests,
    signals,
    sizes,
    async [Symbol.asyncDispose]() {
      for (const child of children) child.kill("SIGKILL");
      await server[Symbol.asyncDispose]();
    },
  };
}

async function route(
  request: IncomingMessage,
  answer: ServerResponse,
  root: string,
  play: Play,
): Promise<void> {
  const url = new URL(request.url ?? "/", "http://daemon");
  const what = `${request.method} ${url.pathname}`;
  const path = join(root, url.searchParams.get("path") ?? "");
  const base = `/sandboxes/${webSandbox.id}`;
  if (what === "GET /health") answerJson(answer, 200, { status: "ok", version: packageVersion(), pid: 1 });
  else if (what === "POST /prune" && play.prune !== undefined) answerJson(answer, 200, play.prune);
  else if (what === "GET /doctor") answerJson(answer, 200, play.doctor?.() ?? { verdict: "ok", checks: [] });
  else if (what === "GET /sandboxes") answerJson(answer, 200, [webSandbox]);
  else if (url.searchParams.has("settled") && play.settled !== undefined) play.settled(answer);
  else if (what === "GET /sandboxes/web" || what === `GET ${base}`) answerJson(answer, 200, webSandbox);
  else if (what === "POST /sandboxes") (play.create ?? createAtOnce)(answer, request);
  else if (what === `DELETE ${base}`) (play.remove ?? removeAtOnce)(answer);
  else if (what === `POST ${base}/start` && play.start !== undefined) play.start(answer);
  else if (what === `GET ${base}/files/stat`) answerJson(answer, 200, await statusOf(path, root));
  else if (what === `GET ${base}/files/list`) {
    const entries = (await readdir(path)).map(async (name) => ({
      ...(await statusOf(join(path, name), root)),
      name,
    }));
    answerJson(answer, 200, { path, entries: await Promise.all(entries) });
  } else if (what === `GET ${base}/files`) await pipeline(createReadStream(path), answer);
  else if (what === `PUT ${base}/files`) {
    await mkdir(join(path, ".."), { recursive: true });
    const mode = Number.parseInt(url.searchParams.get("mode") ?? "644", 8);
    await pipeline(request, createWriteStream(`${path}.part`, { mode }));
    await rename(`${path}.part`, path);
    answerJson(answer, 200, { path, size: (await lstat(path)).size });
  } else if (what === `POST ${base}/files/mkdir`) {
    const body = parseMessage<{ path: string; mode?: number }>(await text(request));
    await mkdir(join(root, body.path), { recursive: true, mode: body.mode });
    answerJson(answer, 200, { path: body.path });
  } else {
    answerJson(answer, 404, {
      error: `there is no sandbox here: ${what}`,
      code: "sandbox_not_found",
      hint: "heyvm list --all",
    });
  }
}

function createAtOnce(answer: ServerResponse): void {
  const step = { type: "step", id: "machine", title: "Creating the machine" };
  answer.write(`${JSON.stringify({ ...step, state: "started", elapsed_ms: 0 })}\n`);
  answer.write(`${JSON.stringify({ ...step, state: "done", elapsed_ms: 1200 })}\n`);
  answer.end(`${JSON.stringify({ ...webSandbox, type: "sandbox" })}\n`);
}

function removeAtOnce(answer: ServerResponse): void {
  answerJson(answer, 200, { id: webSandbox.id, removed: true });
}

async function statusOf(path: string, root: string): Promise<object> {
  const status = await lstat(path);
  const type = status.isFile()
    ? "file"
    : status.isDirectory()
      ? "directory"
      : status.isSymbolicLink()
        ? "symlink"
        : "other";
  return {
    path: path.slice(root.length),
    name: basename(path),
    type,
    size: status.size,
    mode: status.mode & 0o7777,
    uid: 0,
    gid: 0,
    modified_at: status.mtime.toISOString(),
    ...(type === "symlink" ? { link_target: await readlink(path) } : {}),
  };
}

/** Commands run here, below `root`; one that asks for a terminal only gets told its size. */
function playExec(socket: WebSocket, root: string, children: Set<ChildProcess>, signals: string[]): void {
  socket.once("message", (first: Buffer) => {
    const init = parseMessage<{
      command: string;
      args?: string[];
      env?: Record<string, string>;
      terminal?: object;
    }>(first.toString("utf8"));
    const args = (init.args ?? []).map((word) => word.replaceAll("{root}", root));
    const child = spawn(init.command, args, {
      cwd: root,
      env: { ...process.env, ...init.env, TERMINAL: JSON.stringify(init.terminal) },
      detached: true,
      stdio: "pipe",
    });
    children.add(child);
    const send = (message: object): void => socket.send(JSON.stringify(message));
    child.once("error", (error: NodeJS.ErrnoException) =>
      send({
        type: "error",
        error: error.message,
        code: "command_not_startable",
        details: { reason: error.code === "ENOENT" ? "program_not_found" : "not_executable" },
      }),
    );
    child.once("spawn", () => send({ type: "started", pid: child.pid }));
    child.stdin.on("error", () => undefined);
    socket.on("message", (data: Buffer, isBinary: boolean) => {
      if (isBinary && data.length > 1) child.stdin.write(data.subarray(1));
      else if (isBinary) child.stdin.end();
      else {
        const message = parseMessage<{ type: string; signal?: NodeJS.Signals }>(data.toString("utf8"));
        if (message.signal === undefined || child.pid === undefined) return;
        signals.push(message.signal);
        process.kill(-child.pid, message.signal);
      }
    });
    const pump = async (channel: number, from: AsyncIterable<Buffer>): Promise<void> => {
      for await (const chunk of from) {
        await new Promise((resolve) => socket.send(Buffer.concat([Buffer.of(channel), chunk]), resolve));
      }
    };
    void Promise.all([pump(1, child.stdout), pump(2, child.stderr)]).then(() => {
      const end = (): void =>
        send({ type: "exit", code: child.exitCode, signal: child.signalCode, timed_out: false });
      if (child.exitCode !== null || child.signalCode !== null) end();
      else child.once("exit", end);
      return undefined;
    });
    socket.once("close", () => {
      if (child.pid !== undefined && child.exitCode === null) child.kill("SIGKILL");
    });
  });
}

/**
 * A shell that shows what it is told: `exit` and Enter end it with 5, `drop` and Enter break the connection, a new size is
 * written out, other keys come back in brackets.
 */
function playShell(socket: WebSocket, sizes: string[]): void {
  let sequence = 0n;
  let typed = "";
  const show = (words: string): void => {
    sequence += 1n;
    const head = Buffer.alloc(9);
    head.writeUInt8(2, 0);
    head.writeBigUInt64BE(sequence, 1);
    socket.send(Buffer.concat([head, Buffer.from(words)]));
  };
  const obey = (message: { type: string; cols?: number; rows?: number }): void => {
    if (message.type === "close") socket.close(1000);
    if (message.cols !== undefined) sizes.push(`${message.cols}x${message.rows}`);
    if (message.type === "resize") show(`size ${message.cols}\r\n`);
  };
  socket.on("message", (data: Buffer, isBinary: boolean) => {
    if (!isBinary) {
      const message = parseMessage<{ type: string; cols?: number; rows?: number }>(data.toString("utf8"));
      obey(message);
      if (message.type !== "init") return;
      socket.send(JSON.stringify({ type: "ready", sessionId: "s" }));
      show("ready$ ");
      return;
    }
    typed += data.subarray(1).toString("utf8");
    show(`[${JSON.stringify(data.subarray(1).toString("utf8"))}]`);
    if (typed.includes("exit\r")) socket.send(JSON.stringify({ type: "exit", code: 5 }));
    if (typed.includes("drop\r")) socket.terminate();
  });
}
