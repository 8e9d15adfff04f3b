import { randomInt } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:net";

/** Below the ports that Linux gives to whoever asks for any (ip_local_port_range): nobody else gets it meanwhile. */
const range = { min: 20_000, max: 32_767 };

/** A TCP port of the loopback that nobody has at the moment, and that somebody else takes only by the same dice. */
export async function findFreePort(): Promise<number> {
  for (;;) {
    const port = randomInt(range.min, range.max);
    const server = createServer().listen(port, "127.0.0.1");
    try {
      await once(server, "listening");
    } catch {
      continue;
    }
    server.close();
    await once(server, "close");
    return port;
  }
}
