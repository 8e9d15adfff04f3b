import * as fc from "fast-check";
import { describe, expect, it } from "vitest";

import { domainCalls } from "./calls/domain.ts";
import { qemuCalls } from "./calls/qemu.ts";
import { domainStatisticsCalls } from "./calls/domain-statistics.ts";
import {
  LibvirtAbortError,
  LibvirtClientError,
  LibvirtConnectionLostError,
  LibvirtError,
  LibvirtProtocolError,
  LibvirtTimeoutError,
  LibvirtUnsupportedError,
} from "./errors.ts";
import { eventCalls } from "./events.ts";
import { eventProcedure, keepAliveProcedure, keepAliveProgram } from "./procedures.ts";
import { createRpc, nothing } from "./rpc.ts";
import { createFakeTransport } from "./testing/fake-transport.ts";
import { XdrWriter } from "./xdr.ts";

const timeoutMs = 60_000;

function errorBody(code: number, message: string): Buffer {
  const writer = new XdrWriter().i32(code).i32(10).optionalString(message).i32(2).bool(false);
  writer.optionalString("format %s").optionalString(message).optionalString(undefined);
  return writer.i32(-1).i32(-1).bool(false).finish();
}

describe("calls", () => {
  it("are answered whatever the order of the replies", async () => {
    const transport = createFakeTransport();
    const rpc = createRpc(transport, "test", timeoutMs);
    const first = rpc.call("connectGetHostname", nothing, (reader) => reader.string());
    const second = rpc.call("connectGetHostname", nothing, (reader) => reader.string());
    transport.sayPacket({ serial: 2 }, new XdrWriter().string("two").finish());
    transport.sayPacket({ serial: 1 }, new XdrWriter().string("one").finish());
    expect(await Promise.all([first, second])).toEqual(["one", "two"]);
  });

  it("fail with code, domain, level, message and strings as libvirt gives them", async () => {
    const transport = createFakeTransport();
    const calls = domainCalls(createRpc(transport, "test", timeoutMs));
    const lookup = calls.lookupByName("nope");
    transport.sayPacket({ status: 1 }, errorBody(42, "no such domain"));
    const error: unknown = await lookup.catch((error: unknown) => error);
    expect(error).toBeInstanceOf(LibvirtError);
    expect(error).toMatchObject({
      message: "no such domain",
      code: 42,
      codeName: "noDomain",
      domain: 10,
      level: 2,
      strings: ["format %s", "no such domain"],
      procedure: "domainLookupByName",
    });
    expect(error instanceof Error ? error.stack : "").toContain("rpc.test.ts");
    expect(LibvirtError.hasCode(error, "noDomain")).toBe(true);
    expect(LibvirtError.hasCode(error, "noStoragePool")).toBe(false);
  });

  it.each([
    ['{"return":{"version":"7.2"}}', { version: "7.2" }],
    ['{"return":{}}', {}],
    // A command of an agent that answers nothing, such as guest-shutdown.
    [undefined, undefined],
  ])("of the guest agent give its return value: %s", async (answer, value) => {
    const transport = createFakeTransport();
    const calls = qemuCalls(createRpc(transport, "test", timeoutMs));
    const domain = { name: "a", uuid: "00000000-0000-0000-0000-000000000000", id: 1 };
    const info = calls.agentCommand(domain, { execute: "guest-info" });
    transport.sayPacket({}, new XdrWriter().optionalString(answer).finish());
    expect(await info).toEqual(value);
  });

  it.each([
    [
      '{"error":{"class":"CommandNotFound","desc":"no"}}',
      { name: "QemuCommandError", errorClass: "CommandNotFound" },
    ],
    ["{", { name: "LibvirtProtocolError" }],
    ["[]", { name: "LibvirtProtocolError" }],
    ['{"error":null}', { name: "LibvirtProtocolError" }],
  ])("of the guest agent fail with what it says instead: %s", async (answer, error) => {
    const transport = createFakeTransport();
    const calls = qemuCalls(createRpc(transport, "test", timeoutMs));
    const domain = { name: "a", uuid: "00000000-0000-0000-0000-000000000000", id: 1 };
    const info = calls.agentCommand(domain, { execute: "guest-info" });
    transport.sayPacket({}, new XdrWriter().optionalString(answer).finish());
    await expect(info).rejects.toMatchObject(error);
  });

  it.each([
    [3, "this function is not supported by the connection driver: virDomainX"],
    [39, "unknown procedure: 9999"],
  ])("that the daemon does not know are unsupported (code %d)", async (code, message) => {
    const transport = createFakeTransport();
    const calls = domainCalls(createRpc(transport, "test", timeoutMs));
    const list = calls.list();
    transport.sayPacket({ status: 1 }, errorBody(code, message));
    await expect(list).rejects.toBeInstanceOf(LibvirtUnsupportedError);
  });

  it("all fail at once with one error when the connection is lost, and so do later ones", async () => {
    const transport = createFakeTransport();
    const rpc = createRpc(transport, "libvirt at x", timeoutMs);
    const pending = Array.from({ length: 20 }, () =>
      domainCalls(rpc)
        .list()
        .catch((error: unknown) => error),
    );
    transport.destroy();
    const errors = new Set(await Promise.all(pending));
    expect(errors.size).toBe(1);
    const [error] = errors;
    expect(error).toBeInstanceOf(LibvirtConnectionLostError);
    await expect(domainCalls(rpc).list()).rejects.toBe(error);
  });

  it("end at their deadline, and a late reply is nobody's", async () => {
    const transport = createFakeTransport();
    const rpc = createRpc(transport, "test", timeoutMs);
    await expect(domainCalls(rpc).list({}, { timeoutMs: 1 })).rejects.toBeInstanceOf(LibvirtTimeoutError);
    transport.sayPacket({ serial: 1 }, new XdrWriter().u32(0).u32(0).finish());
    const next = domainCalls(rpc).list();
    transport.sayPacket({ serial: 2 }, new XdrWriter().u32(0).u32(0).finish());
    expect(await next).toEqual([]);
  });

  it("end with their signal, before or after they were sent, and share it in any number", async () => {
    const warnings: string[] = [];
    const onWarning = (warning: Error): void => void warnings.push(warning.name);
    process.on("warning", onWarning);
    const rpc = createRpc(createFakeTransport(), "test", timeoutMs);
    const controller = new AbortController();
    const pending = Array.from({ length: 50 }, () =>
      domainCalls(rpc).list({}, { signal: controller.signal }),
    );
    const outcomes = Promise.allSettled(pending);
    const reason = new Error("enough");
    controller.abort(reason);
    for (const outcome of await outcomes) {
      expect(outcome).toMatchObject({ reason: expect.any(LibvirtAbortError) });
      expect(outcome).toMatchObject({ reason: { cause: reason } });
    }
    await expect(domainCalls(rpc).list({}, { signal: controller.signal })).rejects.toBeInstanceOf(
      LibvirtAbortError,
    );
    expect(rpc.callsInFlight).toBe(0);
    process.off("warning", onWarning);
    expect(warnings).toEqual([]);
  });

  it("answer pings", async () => {
    const transport = createFakeTransport();
    createRpc(transport, "test", timeoutMs);
    const written = new Promise<Buffer>((resolve) => transport.output.once("data", resolve));
    transport.sayPacket(
      { program: keepAliveProgram, procedure: keepAliveProcedure.ping, type: 2, serial: 0 },
      Buffer.alloc(0),
    );
    const pong = await written;
    expect(pong.readUInt32BE(4)).toBe(keepAliveProgram);
    expect(pong.readInt32BE(12)).toBe(keepAliveProcedure.pong);
  });
});

describe("events", () => {
  it("that come with the answer to the subscription are not missed, and name what they know", async () => {
    const transport = createFakeTransport();
    const events: unknown[] = [];
    const subscription = eventCalls(createRpc(transport, "test", timeoutMs)).onAgent((event) =>
      events.push(event),
    );
    const tell = (state: number, reason: number): void => {
      const writer = new XdrWriter()
        .i32(7)
        .string("a")
        .fixedOpaque(Buffer.alloc(16))
        .i32(3)
        .i32(state)
        .i32(reason);
      const header = { procedure: eventProcedure.agentLifecycle, type: 2, serial: 0 };
      transport.sayPacket(header, writer.finish());
    };
    tell(1, 2);
    transport.sayPacket({ serial: 1 }, new XdrWriter().i32(7).finish());
    tell(2, 99);
    await subscription;
    const domain = { name: "a", uuid: "00000000-0000-0000-0000-000000000000", id: 3 };
    await expect.poll(() => events).toHaveLength(2);
    expect(events).toEqual([
      { domain, state: "connected", reason: "channel" },
      { domain, state: "disconnected", reason: "unknown" },
    ]);
  });
});

describe("a hostile daemon", () => {
  const header = fc.record({
    program: fc.constantFrom(0x20008086, 0x20008087, keepAliveProgram, 1),
    procedure: fc.constantFrom(eventProcedure.lifecycle, eventProcedure.agentLifecycle, 273, 344, 7),
    type: fc.integer({ min: 0, max: 7 }),
    serial: fc.integer({ min: 0, max: 6 }),
    status: fc.integer({ min: 0, max: 3 }),
  });

  // oxlint-disable-next-line vitest/expect-expect -- in the property
  it("causes errors of this client and nothing else, and no call waits for ever", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(header, fc.uint8Array({ maxLength: 120 })), { maxLength: 12 }),
        fc.uint8Array({ maxLength: 64 }),
        async (packets, garbage) => {
          const transport = createFakeTransport();
          const rpc = createRpc(transport, "test", timeoutMs);
          const events = eventCalls(rpc).onLifecycle(() => undefined);
          const pending = Promise.allSettled([
            events,
            domainCalls(rpc).list(),
            domainCalls(rpc).state({ name: "a", uuid: "00000000-0000-0000-0000-000000000000", id: 1 }),
            domainStatisticsCalls(rpc).all(),
            domainCalls(rpc).lookupByName("b"),
          ]);
          for (const [fields, body] of packets) transport.sayPacket(fields, Buffer.from(body));
          transport.say(Buffer.from(garbage));
          transport.hangUp();
          for (const outcome of await pending) {
            const isOurs = outcome.status === "fulfilled" || outcome.reason instanceof LibvirtClientError;
            expect(isOurs).toBe(true);
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  it("that does not speak libvirt's protocol loses its connection", async () => {
    const transport = createFakeTransport();
    const rpc = createRpc(transport, "test", timeoutMs);
    const list = domainCalls(rpc).list();
    transport.say(Buffer.from("HTTP/1.1 400 Bad Request\r\n\r\n"));
    await expect(list).rejects.toBeInstanceOf(LibvirtProtocolError);
    expect(transport.isDestroyed()).toBe(true);
  });
});
