import type { Writable } from "node:stream";

import type { WebSocket } from "ws";

/** Writes to a command's stdin; the socket is not read while more than `heldBytes` wait for the guest. */
export function writeInput(socket: WebSocket, stdin: Writable, bytes: Buffer, heldBytes = 0): void {
  // A command may end, or close its stdin, before it has read all.
  if (stdin.writableEnded || stdin.destroyed) return;
  if (stdin.write(bytes) || stdin.writableLength <= heldBytes || socket.isPaused) return;
  socket.pause();
  const goOn = (): void => {
    stdin.off("drain", goOn);
    stdin.off("close", goOn);
    socket.resume();
  };
  stdin.once("drain", goOn);
  stdin.once("close", goOn);
}
