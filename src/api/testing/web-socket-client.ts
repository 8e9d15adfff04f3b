/** One end of a stream for tests: what came, in order. */
import { once } from "node:events";

import type { RawData, WebSocket } from "ws";

export interface StreamClient {
  readonly socket: WebSocket;
  /** Text messages as JSON. */
  // oxlint-disable-next-line typescript/no-explicit-any -- a test asserts on whatever came
  readonly messages: any[];
  /** Binary messages. */
  readonly frames: readonly Buffer[];
  /** Bytes of a channel, joined. */
  bytes(channel: number): Buffer;
  /** Until the text message of this type has come. */
  // oxlint-disable-next-line typescript/no-explicit-any -- a test asserts on whatever came
  message(type: string): Promise<any>;
  /** Until the server has closed it. */
  readonly closed: Promise<void>;
}

export async function openStream(socket: WebSocket, init: object): Promise<StreamClient> {
  const messages: { type: string }[] = [];
  const frames: Buffer[] = [];
  const waiters = new Set<() => void>();
  const closed = once(socket, "close").then(() => undefined);
  socket.on("message", (data: RawData, isBinary: boolean) => {
    const bytes = Buffer.isBuffer(data) ? data : Buffer.concat([]);
    if (isBinary) frames.push(bytes);
    else messages.push(JSON.parse(bytes.toString("utf8")));
    for (const wake of waiters) wake();
  });
  await once(socket, "open");
  socket.send(JSON.stringify(init));
  return {
    socket,
    messages,
    frames,
    closed,
    bytes: (channel) =>
      Buffer.concat(frames.filter(([first]) => first === channel).map((frame) => frame.subarray(1))),
    message: async (type) =>
      await new Promise((resolve) => {
        const look = (): void => {
          const found = messages.find((message) => message.type === type);
          if (found === undefined) return;
          waiters.delete(look);
          resolve(found);
        };
        waiters.add(look);
        look();
      }),
  };
}
