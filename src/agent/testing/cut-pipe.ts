import { Duplex } from "node:stream";

/** How many bytes a pipe carries in each direction before it breaks. */
export interface Cut {
  up: number;
  down: number;
}

/** A pipe on top of another that breaks at exactly the given bytes. The one below is left to `onCut`. */
export function cutPipe(below: Duplex, cut: Cut, onCut: () => void): Duplex {
  let { up, down } = cut;
  const pipe: Duplex = new Duplex({
    read: () => {
      below.resume();
    },
    write: (chunk: Buffer, _encoding, callback) => {
      const bytes = chunk.subarray(0, up);
      up -= bytes.length;
      if (bytes.length < chunk.length) {
        below.write(bytes);
        callback();
        pipe.destroy();
      } else below.write(bytes, () => callback());
    },
    destroy: (error, callback) => {
      below.off("data", data).off("close", closed);
      onCut();
      callback(error);
    },
  });
  const data = (chunk: Buffer) => {
    const bytes = chunk.subarray(0, down);
    down -= bytes.length;
    if (!pipe.push(bytes)) below.pause();
    if (bytes.length < chunk.length) pipe.destroy();
  };
  const closed = () => pipe.destroy();
  below.on("data", data).on("close", closed);
  return pipe;
}
