/** The TCP listener at addresses that other machines can reach, and its TLS. */
import { once } from "node:events";
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { request } from "node:https";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";

import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { WebSocket } from "ws";

import { loadSettings } from "../config/settings.ts";
import { findTcpAddress, isLoopback } from "./tcp-address.ts";
import { makeCertificate } from "./testing/certificate.ts";
import { createTestState, startTestDaemon, type TestDaemon } from "./testing/test-daemon.ts";
import { openStream } from "../api/testing/web-socket-client.ts";

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "hv-tls-"));
});
afterAll(async () => await rm(folder, { recursive: true }));

async function find(flags: Record<string, unknown>, insecureHttp = false) {
  const settings = await loadSettings({ path: join(folder, "none.json"), flags, env: {} });
  return await findTcpAddress(settings, insecureHttp);
}

test("an address that others can reach is refused without TLS, unless that is asked for by its name", async () => {
  const refused = { code: "settings_invalid", hint: expect.stringContaining("--tls-cert") };
  for (const host of ["0.0.0.0", "::", "192.0.2.1", "::ffff:192.0.2.1"]) {
    await expect(find({ "api.host": host })).rejects.toMatchObject(refused);
    expect(await find({ "api.host": host }, true)).toMatchObject({ host, tls: undefined });
  }
  for (const host of ["127.0.0.1", "127.9.9.9", "::1", "localhost"]) {
    expect(isLoopback((await find({ "api.host": host })).address)).toBe(true);
  }
  await expect(find({ "api.host": "no such name" })).rejects.toMatchObject({ code: "settings_invalid" });
});

describe("TLS files", () => {
  test("that cannot be used are each told", async () => {
    const [one, other] = [await makeCertificate(folder, "one"), await makeCertificate(folder, "other")];
    const garbage = join(folder, "garbage");
    await writeFile(garbage, "garbage");
    const cases: [cert: string | undefined, key: string | undefined, message: string][] = [
      [one.cert, undefined, "no key"],
      [undefined, one.key, "no certificate"],
      [join(folder, "missing"), one.key, "ENOENT"],
      [garbage, one.key, "no certificate in PEM"],
      [one.cert, garbage, "no private key"],
      [one.cert, other.key, "does not belong"],
    ];
    for (const [cert, key, message] of cases) {
      await expect(find({ "api.tls_cert": cert, "api.tls_key": key })).rejects.toMatchObject({
        code: "settings_invalid",
        message: expect.stringContaining(message),
      });
    }
    const flags = { "api.host": "0.0.0.0", "api.tls_cert": one.cert, "api.tls_key": one.key };
    expect(await find(flags)).toMatchObject({ address: "0.0.0.0", tls: { key: await readFile(one.key) } });
  });

  test("of which others may read the key are told of, and used", async () => {
    const { cert, key } = await makeCertificate(folder, "open");
    const flags = { "api.tls_cert": cert, "api.tls_key": key };
    await chmod(key, 0o640);
    expect(await find(flags)).toMatchObject({ warning: undefined });
    await chmod(key, 0o644);
    expect(await find(flags)).toMatchObject({
      tls: { key: await readFile(key) },
      warning: expect.stringMatching(/^mode 0644 lets every user read .*open\.key, .*: chmod 600 /),
    });
  });

  test("of another time are refused", async () => {
    const { cert, key } = await makeCertificate(folder, "timely", "-days", "10");
    onTestFinished(() => void vi.useRealTimers());
    const day = 86_400_000;
    const now = Date.now();
    for (const [days, message] of [
      [11, "ended on"],
      [-1, "begins on"],
    ] as const) {
      vi.useFakeTimers({ toFake: ["Date"], now: now + days * day });
      await expect(find({ "api.tls_cert": cert, "api.tls_key": key })).rejects.toThrow(message);
    }
  });
});

describe("a daemon with TLS", () => {
  let api: TestDaemon;
  let url: URL;
  let authorization: string;
  let ca: Buffer;

  beforeAll(async () => {
    const { cert, key } = await makeCertificate(folder, "served");
    ca = await readFile(cert);
    await chmod(key, 0o644);
    const state = await createTestState();
    api = await startTestDaemon(state.folder, {
      TEST_TCP: "1",
      HEYVM_API_HOST: "0.0.0.0",
      HEYVM_API_PORT: "0",
      HEYVM_API_TLS_CERT: cert,
      HEYVM_API_TLS_KEY: key,
    });
    url = new URL(String(api.info["url"]));
    url.hostname = "localhost";
    authorization = `Bearer ${(await readFile(join(state.folder, "token"), "utf8")).trim()}`;
    await api.call("POST", "/sandboxes", { name: "box" });
    return async () => {
      await api[Symbol.asyncDispose]();
      await state[Symbol.asyncDispose]();
    };
  });

  async function get(path: string, headers: Record<string, string>): Promise<[number | undefined, string]> {
    const asked = request(new URL(path, url), { ca, headers, agent: false }).end();
    const [answer] = await once(asked, "response");
    return [answer.statusCode, await text(answer)];
  }

  test("notes in its log that others may read the key", async () => {
    expect(await readFile(join(api.folder, "daemon.log"), "utf8")).toContain("chmod 600");
  });

  test("answers requests and web sockets", async () => {
    expect(url.protocol).toBe("https:");
    expect(await get("/health", {})).toEqual([200, '{"status":"ok"}']);
    expect((await get("/sandboxes", {}))[0]).toBe(401);
    const [status, list] = await get("/sandboxes", { authorization });
    expect([status, JSON.parse(list)]).toMatchObject([200, [{ name: "box" }]]);

    const socket = new WebSocket(new URL("/sandboxes/box/exec", url.href.replace("https", "wss")), {
      ca,
      headers: { authorization },
    });
    const stream = await openStream(socket, { type: "init", command: "echo over TLS" });
    await stream.closed;
    expect(stream.bytes(1).toString()).toBe("over TLS\n");
    expect(stream.messages.at(-1)).toMatchObject({ type: "exit", code: 0 });
  });

  test("outlives clients that speak no TLS, or nothing, and cuts them off", async () => {
    const sockets = ["GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\xff\xff", ""].map((bytes) => {
      const socket = connect({ host: "127.0.0.1", port: Number(url.port) }, () => socket.write(bytes));
      socket.on("error", () => undefined).resume();
      onTestFinished(() => void socket.destroy());
      return once(socket, "close");
    });
    await Promise.all(sockets);
    expect((await get("/health", {}))[0]).toBe(200);
  });
});
