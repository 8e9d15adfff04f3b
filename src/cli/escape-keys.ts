import { Transform } from "node:stream";

const enter = 0x0d;
const lineFeed = 0x0a;
const tilde = 0x7e;
const dot = 0x2e;

/**
 * Passes keys on, but for `~.` at the beginning of a line, which calls `onLeave`: the way out of a guest that doesn't
 * answer any more, known from ssh.
 */
export function createEscapeFilter(onLeave: () => void): Transform {
  let state: "line start" | "tilde" | "inside" = "line start";
  return new Transform({
    transform(chunk: Buffer, _encoding, callback) {
      const out: number[] = [];
      for (const byte of chunk) {
        if (state === "tilde") {
          if (byte === dot) {
            onLeave();
            callback();
            return;
          }
          // `~~` is one tilde; before anything else it was an ordinary key.
          if (byte !== tilde) out.push(tilde);
          out.push(byte);
          state = isLineEnd(byte) ? "line start" : "inside";
        } else if (state === "line start" && byte === tilde) {
          state = "tilde";
        } else {
          out.push(byte);
          state = isLineEnd(byte) ? "line start" : "inside";
        }
      }
      callback(null, Buffer.from(out));
    },
  });
}

function isLineEnd(byte: number): boolean {
  return byte === enter || byte === lineFeed;
}
