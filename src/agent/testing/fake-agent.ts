import { type Duplex, duplexPair } from "node:stream";
import { crc32 } from "node:zlib";

import { connectAgent } from "../connect.ts";
import { encodeFrame } from "../frames.ts";
import { parseGuestJson } from "../guest-json.ts";
import { agentMagic, frameKind, hostMagic, preambleBytes } from "../wire.ts";
import type { AgentSession, ConnectOptions } from "../types.ts";

/** An agent that does as a test says: the guest's side of one pipe, for lies. */
export interface FakeAgent {
  /** Bytes as they are. */
  raw(bytes: Buffer): void;
  /** A frame with the right token and number. */
  send(kind: number, stream: number, channel: number, payload?: Buffer | string): void;
  /** What follows on the stream of each operation that the host opens. */
  onOpen: (stream: number, operation: string, request: Readonly<Record<string, unknown>>) => void;
}

export const greeting = {
  protocol: 1,
  resumed: false,
  received: 0,
  agent_version: "1.0.0",
  kernel: "Linux 6.1",
  os_release: {},
  hostname: "h",
  boot_id: "b",
};

/** The bytes of an agent's answer to a hello. */
export function encodeGreeting(nonce: Buffer, reply: unknown): Buffer {
  const body = Buffer.from(JSON.stringify(reply));
  const head = Buffer.alloc(preambleBytes);
  agentMagic.copy(head, 0);
  nonce.copy(head, agentMagic.length);
  head.writeUInt32BE(body.length, 32);
  head.writeUInt32BE(crc32(body), 36);
  return Buffer.concat([head, body]);
}

/** A fake agent, and the host's end of its pipe. `reply` replaces fields of its greeting. */
export function createFakeAgent(reply: Record<string, unknown> = {}): { agent: FakeAgent; host: Duplex } {
  const [host, guest] = duplexPair();
  guest.on("error", () => {});
  return { agent: fakeAgent(guest, { ...greeting, ...reply }), host };
}

/** A fake agent and the session with it. `reply` replaces fields of its greeting. */
export async function connectFakeAgent(
  reply: Record<string, unknown> = {},
  options: ConnectOptions = {},
): Promise<{ agent: FakeAgent; session: AgentSession }> {
  const { agent, host } = createFakeAgent(reply);
  let opened = false;
  const open = () => {
    if (opened) return Promise.reject(new Error("the fake agent's pipe opens once"));
    opened = true;
    return Promise.resolve(host);
  };
  const session = await connectAgent(open, { timeoutMs: 2000, reconnectMs: 200, ...options });
  return { agent, session };
}

function fakeAgent(pipe: Duplex, reply: Record<string, unknown>): FakeAgent {
  let token = 0;
  let number = 0;
  let bytes = Buffer.alloc(0);
  const agent: FakeAgent = {
    raw: (raw) => void pipe.write(raw),
    send: (kind, stream, channel, payload = "") => {
      const own = kind >= frameKind.ack;
      agent.raw(
        encodeFrame(token, own ? 0 : ++number, { kind, stream, channel, payload: Buffer.from(payload) }),
      );
    },
    onOpen: () => {},
  };
  pipe.on("data", (chunk: Buffer) => {
    bytes = Buffer.concat([bytes, chunk]);
    if (token === 0) {
      const at = bytes.indexOf(hostMagic);
      const end = at + preambleBytes + (bytes.length >= at + preambleBytes ? bytes.readUInt32BE(at + 32) : 0);
      if (at < 0 || bytes.length < end) return;
      const nonce = Buffer.from(bytes.subarray(at + 16, at + 32));
      token = nonce.readUInt32BE(0);
      bytes = bytes.subarray(end);
      agent.raw(encodeGreeting(nonce, reply));
    }
    while (bytes.length >= 24) {
      const total = 24 + bytes.readUInt32BE(16);
      if (bytes.length < total) return;
      if (bytes[8] === frameKind.open) {
        const request = parseGuestJson(bytes.subarray(20, total - 4));
        agent.onOpen(bytes.readUInt32BE(12), String(request["op"]), request);
      }
      bytes = bytes.subarray(total);
    }
  });
  return agent;
}
