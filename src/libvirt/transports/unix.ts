/** A daemon's unix socket. */
import { LibvirtConnectError } from "../errors.ts";
import type { Transport } from "../transport.ts";
import { dialSocket } from "./socket.ts";

/** The kernel's limit, with the NUL at the end. */
const maxPathBytes = 108;

export async function dialUnix(path: string, signal: AbortSignal): Promise<Transport> {
  if (Buffer.byteLength(path) >= maxPathBytes) {
    throw new LibvirtConnectError(
      `the socket's path is longer than the ${maxPathBytes - 1} bytes that may be: ${path}`,
    );
  }
  return await dialSocket({ path }, signal);
}
