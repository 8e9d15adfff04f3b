/** A pipe whose other end is the test. */
import { PassThrough } from "node:stream";

import { createDeferred } from "../deferred.ts";
import { encodePacket, type PacketHeader } from "../packet.ts";
import { programVersion, remoteProgram } from "../procedures.ts";
import type { Transport } from "../transport.ts";

export interface FakeTransport extends Transport {
  /** What the peer says. */
  say(bytes: Buffer): void;
  /** The peer's packet; a reply to the first call unless told. */
  sayPacket(header: Partial<PacketHeader>, body: Buffer): void;
  /** The peer goes away after what it has said. */
  hangUp(): void;
  isDestroyed(): boolean;
}

export function createFakeTransport(): FakeTransport {
  const input = new PassThrough();
  const output = new PassThrough();
  const ended = createDeferred<string | undefined>();
  output.resume();
  const say = (bytes: Buffer): void => void (input.destroyed || input.write(bytes));
  const destroy = (): void => {
    input.destroy();
    output.destroy();
    ended.resolve(undefined);
  };
  return {
    input,
    output,
    ended: ended.promise,
    destroy,
    say,
    hangUp: () => void input.once("end", destroy).end(),
    sayPacket(header, body) {
      const base = {
        program: remoteProgram,
        version: programVersion,
        procedure: 0,
        type: 1,
        serial: 1,
        status: 0,
      };
      say(encodePacket({ ...base, ...header }, body));
    },
    isDestroyed: () => input.destroyed,
  };
}
