import { once } from "node:events";
import type { Duplex } from "node:stream";
import { randomBytes } from "node:crypto";

import { FrameParser, type NumberedFrame, encodeFrame, tokenOf } from "../frames.ts";
import { sayHello } from "../handshake.ts";
import { frameKind } from "../wire.ts";

/** A host that keeps to no rule but the hello's. */
export interface RawHost {
  readonly token: number;
  send(kind: number, stream: number, channel: number, payload?: Buffer | string): void;
  raw(bytes: Buffer): Promise<void>;
  /** The next frame that fits, or `undefined` when the pipe ends before. */
  next(fits: (frame: NumberedFrame) => boolean): Promise<NumberedFrame | undefined>;
}

/** Says hello properly, as a new session; what comes then is the caller's. */
export async function rawHost(pipe: Duplex): Promise<RawHost> {
  const hello = { session: randomBytes(16).toString("hex"), received: 0, resume: false };
  const { nonce, rest } = await sayHello(pipe, hello, AbortSignal.timeout(60_000), true);
  const parser = new FrameParser(nonce);
  const token = tokenOf(nonce);
  const frames: NumberedFrame[] = [...parser.parse(rest)];
  let number = 0;
  let ended = false;
  pipe.on("data", (chunk: Buffer) => {
    frames.push(...parser.parse(chunk));
    pipe.emit("heyvm-frames");
  });
  pipe.on("close", () => {
    ended = true;
    pipe.emit("heyvm-frames");
  });
  pipe.resume();
  return {
    token,
    send(kind, stream, channel, payload = "") {
      const own = kind >= frameKind.ack;
      pipe.write(
        encodeFrame(token, own ? 0 : ++number, { kind, stream, channel, payload: Buffer.from(payload) }),
      );
    },
    async raw(bytes) {
      if (!pipe.write(bytes)) await once(pipe, "drain");
    },
    async next(fits) {
      for (;;) {
        const at = frames.findIndex(fits);
        if (at >= 0) return frames.splice(0, at + 1).at(-1);
        frames.length = 0;
        if (ended) return undefined;
        await once(pipe, "heyvm-frames");
      }
    },
  };
}
