/** Opens streams, each on a connection of its own that ends with it or with the main one. */
import type { Duplex } from "node:stream";

import type { CallOptions } from "./call-options.ts";
import type { Rpc } from "./rpc.ts";
import { openStream, type OpenedStream, type StreamCall } from "./stream.ts";

export interface StreamOpener {
  open<T>(call: StreamCall<T>, options: CallOptions | undefined): Promise<OpenedStream<T>>;
}

export function createStreamOpener(
  main: Rpc,
  dial: (signal: AbortSignal | undefined, timeoutMs: number | undefined) => Promise<Rpc>,
): StreamOpener {
  const streams = new Set<Duplex>();
  main.onLost((error) => {
    for (const stream of streams) stream.destroy(error);
  });

  return {
    async open(call, options = {}) {
      if (main.lostBecause !== undefined) throw main.lostBecause;
      const rpc = await dial(options.signal, options.timeoutMs);
      const opened = await openStream(rpc, call, options);
      streams.add(opened.stream);
      opened.stream.once("close", () => streams.delete(opened.stream));
      // It may have been lost while this one was dialled.
      if (main.lostBecause !== undefined) opened.stream.destroy(main.lostBecause);
      return opened;
    },
  };
}
