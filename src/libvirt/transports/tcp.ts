/** A daemon that listens on TCP. Nothing is encrypted: for a loopback or a private network only. */
import type { Transport } from "../transport.ts";
import type { ConnectionUri } from "../uri.ts";
import { dialSocket } from "./socket.ts";

const defaultPort = 16_509;

export function dialTcp(uri: ConnectionUri, signal: AbortSignal): Promise<Transport> {
  const host = uri.host ?? "localhost";
  return dialSocket({ host, port: uri.port ?? defaultPort, noDelay: true, keepAlive: true }, signal);
}
