/** A request that is refused while its body is still being sent: its sender is told why, not that the connection broke. */
import { type RequestOptions, request as httpRequest } from "node:http";
import { Readable } from "node:stream";
import { json } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { setTimeout as delay } from "node:timers/promises";

import { afterAll, beforeAll, expect, test } from "vitest";

import { createTestState, startTestDaemon, type TestDaemon } from "./testing/test-daemon.ts";

let api: TestDaemon;
let state: Awaited<ReturnType<typeof createTestState>>;

beforeAll(async () => {
  state = await createTestState();
  api = await startTestDaemon(state.folder, { TEST_TCP: "1", HEYVM_API_PORT: "0" });
});

afterAll(async () => {
  await api[Symbol.asyncDispose]();
  await state[Symbol.asyncDispose]();
});

/** Has no end: what ends the sending is the answer. */
async function* pieces(bytes: number): AsyncGenerator<Buffer> {
  for (;;) {
    yield Buffer.alloc(bytes, "x");
    await delay(1);
  }
}

/** Sends until the answer is there. Without an agent a request says `connection: close`. */
async function refusal(options: RequestOptions, pieceBytes: number): Promise<unknown> {
  const request = httpRequest({ ...options, agent: false });
  const answered = new Promise<unknown>((resolve, reject) => {
    request.once("response", (answer) => resolve(json(answer)));
    request.on("error", reject);
  });
  void pipeline(Readable.from(pieces(pieceBytes), { objectMode: false }), request).catch(() => undefined);
  return await answered.finally(() => request.destroy());
}

test("an upload to a sandbox that is not there", { timeout: 60_000 }, async () => {
  const request = { socketPath: api.socketPath, method: "PUT", path: "/sandboxes/nobody/files?path=/x" };
  for (let round = 0; round < 150; round += 1) {
    expect(await refusal(request, 4096)).toMatchObject({ code: "sandbox_not_found" });
  }
});

test("a document that is too long", { timeout: 60_000 }, async () => {
  const request = { socketPath: api.socketPath, method: "POST", path: "/sandboxes" };
  for (let round = 0; round < 20; round += 1) {
    expect(await refusal(request, 1_048_576)).toMatchObject({ code: "invalid_argument" });
  }
});

test("an upload without the token", { timeout: 60_000 }, async () => {
  const { hostname: host, port } = new URL(String(api.info["url"]));
  const request = { host, port, method: "PUT", path: "/sandboxes/nobody/files?path=/x" };
  for (let round = 0; round < 150; round += 1) {
    expect(await refusal(request, 4096)).toMatchObject({ code: "unauthorized" });
  }
});
