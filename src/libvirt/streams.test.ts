/** Consoles, channels and screenshots of a real session daemon. */
import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import {
  connectLibvirt,
  LibvirtAbortError,
  LibvirtConnectionLostError,
  type LibvirtConnection,
} from "./index.ts";
import { startSessionHost, type SessionHost } from "./testing/session-daemon.ts";
import { echo, echoIsReady } from "./testing/echo-machine.ts";
import { tinyChannelName, withDomain } from "./testing/tiny-domain.ts";

let host: SessionHost;
let connection: LibvirtConnection;

beforeAll(async () => {
  host = await startSessionHost();
  connection = await connectLibvirt(host.uri);
});

afterAll(async () => {
  await connection?.close();
  await host?.stop();
});

async function readUntil(stream: AsyncIterable<Buffer>, text: string): Promise<string> {
  let seen = "";
  for await (const chunk of stream) {
    seen += chunk.toString("latin1");
    if (seen.includes(text)) return seen;
  }
  throw new Error(`the stream ended without ${text}: ${seen}`);
}

describe("a console", () => {
  it("has what the machine prints, and ends with the machine", async () => {
    await using running = await withDomain(connection, "printer", { start: true });
    const console = await connection.devices.openConsole(running.domain);
    const chunks = console.iterator({ destroyOnReturn: false });
    await connection.domains.resume(running.domain);
    expect(await readUntil(chunks, "SeaBIOS")).toContain("SeaBIOS");
    const ended = once(console.resume(), "close");
    await connection.domains.destroy(running.domain);
    await ended;
    expect(console.errored).toBeNull();
  });

  it("carries bytes both ways", async () => {
    await using running = await withDomain(connection, "echo", echo(host));
    const console = await connection.devices.openConsole(running.domain);
    const read = (text: string) => readUntil(console.iterator({ destroyOnReturn: false }), text);
    await connection.domains.resume(running.domain);
    await read(echoIsReady);
    for (const words of ["one by one", "again: äöü\0"]) {
      console.write(words);
      const bytes = Buffer.from(words).toString("latin1");
      expect(await read(bytes)).toBe(bytes);
    }
    console.destroy();
    await once(console, "close");
  });

  it("belongs to one client until another takes it by force", async () => {
    await using running = await withDomain(connection, "wanted", { start: true });
    const first = await connection.devices.openConsole(running.domain);
    // It is told by an error, or by an end where the daemon is quicker.
    first.on("error", () => undefined).resume();
    const firstEnded = new Promise((resolve) => first.once("close", resolve));
    await expect(connection.devices.openConsole(running.domain)).rejects.toMatchObject({
      codeName: "operationFailed",
    });
    const second = await connection.devices.openConsole(running.domain, "serial0", { force: true });
    await firstEnded;
    expect(second.destroyed).toBe(false);
    second.destroy();
    await once(second, "close");
  });

  it("closes at the daemon when it is destroyed here, and can be opened again", async () => {
    await using running = await withDomain(connection, "reopened", { start: true });
    for (let round = 0; round < 5; round++) {
      const console = await connection.devices.openConsole(running.domain, undefined, { force: round > 0 });
      expect(console.destroyed).toBe(false);
      console.destroy();
      await once(console, "close");
    }
  });
});

describe("a channel", () => {
  it("can be written to and ends when it is ended", async () => {
    await using running = await withDomain(connection, "talker", { start: true });
    const channel = await connection.devices.openChannel(running.domain, tinyChannelName);
    await expect(connection.devices.openChannel(running.domain, "no.such.channel")).rejects.toMatchObject({
      codeName: expect.any(String),
    });
    channel.end("nobody listens in there");
    await once(channel.resume(), "close");
    expect(channel.errored).toBeNull();
  });

  it("ends with the signal that opened it", async () => {
    await using running = await withDomain(connection, "aborted", { start: true });
    const controller = new AbortController();
    const channel = await connection.devices.openChannel(running.domain, tinyChannelName, {
      signal: controller.signal,
    });
    const failed = once(channel, "error");
    controller.abort(new Error("enough"));
    expect(await failed).toMatchObject([expect.any(LibvirtAbortError)]);
  });

  it("ends with the connection that opened it", async () => {
    await using running = await withDomain(connection, "orphan", { start: true });
    const other = await connectLibvirt(host.uri);
    const channel = await other.devices.openChannel(running.domain, tinyChannelName);
    const failed = once(channel, "error");
    await other.close();
    expect(await failed).toMatchObject([expect.any(LibvirtConnectionLostError)]);
    await expect(other.closed).resolves.toBeUndefined();
  });
});

describe("a screenshot", () => {
  it("is an image of the kind that it says", async () => {
    const extraDevices =
      "<video><model type='vga'/></video><graphics type='vnc' socket='" + host.folder + "/vnc'/>";
    await using running = await withDomain(connection, "seen", { start: true, extraDevices });
    const { mimeType, image } = await connection.devices.screenshot(running.domain);
    const bytes = Buffer.concat(await image.toArray());
    const magic = mimeType === "image/png" ? "\x89PNG" : "P6";
    expect(bytes.subarray(0, magic.length).toString("latin1")).toBe(magic);
    expect(bytes.length).toBeGreaterThan(100);
  });
});
