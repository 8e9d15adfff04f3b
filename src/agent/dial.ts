import { Duplex } from "node:stream";

import { openStream } from "./calls.ts";
import type { GuestStream } from "./guest-stream.ts";
import type { Mux } from "./mux.ts";
import type { CallOptions } from "../core/deadline.ts";
import type { DialTarget } from "./types.ts";

/** Connects to a TCP port or unix socket inside the guest. Each direction ends by itself. */
export async function dialGuest(mux: Mux, target: DialTarget, options: CallOptions = {}): Promise<Duplex> {
  const where = "path" in target ? target.path : `${target.host ?? "127.0.0.1"} port ${target.port}`;
  const call = { operation: "dial", params: { ...target }, what: `connecting to ${where} in the guest` };
  const { stream } = await openStream(
    mux,
    call,
    { outputs: [1], input: true, cancelWithReader: true },
    options,
  );
  return connectionOf(stream);
}

function connectionOf(stream: GuestStream): Duplex {
  const writable = stream.input?.writable;
  if (writable === undefined) throw new Error("a connection has an input");
  const connection = Duplex.from({ readable: stream.output(1).readable, writable });
  connection.on("error", () => {}); // see ChannelOutput
  connection.once("close", () => stream.close());
  return connection;
}
