import { PassThrough, type Duplex } from "node:stream";
import { finished } from "node:stream/promises";
import { describe, expect, it } from "vitest";

import { LibvirtProtocolError } from "./errors.ts";
import {
  createPacketReader,
  maxStreamPayloadBytes,
  packetStatus,
  packetType,
  type Packet,
} from "./packet.ts";
import { createRpc, nothing } from "./rpc.ts";
import { openStream, type StreamCall } from "./stream.ts";
import { createFakeTransport, type FakeTransport } from "./testing/fake-transport.ts";
import { XdrWriter } from "./xdr.ts";

const timeoutMs = 60_000;
const streamPacket = { type: packetType.stream, serial: 1, status: packetStatus.continue };

interface Opened {
  transport: FakeTransport;
  stream: Duplex;
  /** What the client has sent on the stream. */
  sent: Packet[];
}

async function open(direction: StreamCall<void>["direction"], beforeReply?: Buffer): Promise<Opened> {
  const transport = createFakeTransport();
  const sent: Packet[] = [];
  const reader = createPacketReader((packet) => sent.push(packet));
  if (transport.output instanceof PassThrough)
    transport.output.on("data", (chunk: Buffer) => reader.push(chunk));
  const rpc = createRpc(transport, "test", timeoutMs);
  const opening = openStream(
    rpc,
    { name: "domainOpenChannel", direction, write: nothing, read: nothing },
    {},
  );
  if (beforeReply !== undefined) transport.sayPacket(streamPacket, beforeReply);
  transport.sayPacket({}, Buffer.alloc(0));
  return { transport, stream: (await opening).stream, sent };
}

function errorBody(message: string): Buffer {
  const writer = new XdrWriter().i32(38).i32(0).optionalString(message).i32(2).bool(false);
  return writer.bool(false).bool(false).bool(false).i32(0).i32(0).bool(false).finish();
}

describe("a stream", () => {
  it("misses nothing that comes before the answer to its call", async () => {
    const { stream } = await open("both", Buffer.from("early"));
    const [first] = await stream.take(1).toArray();
    expect(String(first)).toBe("early");
  });

  it("comes to the answer behind more than anybody takes yet", async () => {
    const { transport, stream } = await open("in", Buffer.alloc(262_120, 1));
    expect(transport.input.isPaused()).toBe(true);
    transport.sayPacket(streamPacket, Buffer.alloc(0));
    transport.sayPacket({ ...streamPacket, status: packetStatus.ok }, Buffer.alloc(0));
    expect(Buffer.concat(await stream.toArray())).toHaveLength(262_120);
  });

  it("stops reading when nobody takes what it has, and goes on when somebody does", async () => {
    const { transport, stream } = await open("in");
    for (let index = 0; index < 10; index++) transport.sayPacket(streamPacket, Buffer.alloc(16_384, index));
    await new Promise((resolve) => stream.once("readable", resolve));
    expect(transport.input.isPaused()).toBe(true);
    transport.sayPacket(streamPacket, Buffer.alloc(0));
    transport.sayPacket({ ...streamPacket, status: packetStatus.ok }, Buffer.alloc(0));
    expect(Buffer.concat(await stream.toArray())).toHaveLength(10 * 16_384);
  });

  it("sends a large piece in packets that every libvirt takes, then says that it is all", async () => {
    const { transport, stream, sent } = await open("out");
    stream.end(Buffer.alloc(maxStreamPayloadBytes * 2 + 1));
    const done = finished(stream);
    await new Promise((resolve) => setImmediate(resolve));
    transport.sayPacket({ ...streamPacket, status: packetStatus.ok }, Buffer.alloc(0));
    await done;
    const ofStream = sent.filter(({ type }) => type === packetType.stream);
    expect(ofStream.map(({ body }) => body.length)).toEqual([
      maxStreamPayloadBytes,
      maxStreamPayloadBytes,
      1,
      0,
    ]);
    expect(ofStream.at(-1)?.status).toBe(packetStatus.ok);
    expect(transport.isDestroyed()).toBe(true);
  });

  it("is not finished when the daemon ends it before it has everything", async () => {
    const { transport, stream } = await open("out");
    stream.write("half");
    transport.sayPacket({ ...streamPacket, status: packetStatus.ok }, Buffer.alloc(0));
    await expect(finished(stream)).rejects.toBeInstanceOf(LibvirtProtocolError);
  });

  it("fails with the daemon's own error", async () => {
    const { transport, stream } = await open("in");
    transport.sayPacket({ ...streamPacket, status: packetStatus.error }, errorBody("disk on fire"));
    await expect(stream.toArray()).rejects.toMatchObject({
      codeName: "systemError",
      message: "disk on fire",
    });
    expect(transport.isDestroyed()).toBe(true);
  });

  it("fails when it gets what nobody asked for", async () => {
    const { transport, stream } = await open("in");
    transport.sayPacket({ ...streamPacket, type: packetType.streamHole }, Buffer.alloc(12));
    await expect(stream.toArray()).rejects.toBeInstanceOf(LibvirtProtocolError);
  });

  it("is given up by the end of its connection, without a word that would wait behind what nobody reads", async () => {
    const { transport, stream, sent } = await open("both");
    stream.destroy();
    await new Promise((resolve) => transport.input.once("close", resolve));
    expect(sent.filter(({ type }) => type === packetType.stream)).toEqual([]);
  });
});
