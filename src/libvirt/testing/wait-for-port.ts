import { once } from "node:events";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

const startTimeoutMs = 20_000;

/** Resolves when something listens at a TCP port of the loopback. */
export async function waitForPort(port: number): Promise<void> {
  const deadline = AbortSignal.timeout(startTimeoutMs);
  for (;;) {
    const socket = connect(port, "127.0.0.1");
    const isUp = await once(socket, "connect", { signal: deadline }).then(
      () => true,
      () => false,
    );
    socket.destroy();
    if (isUp) return;
    await sleep(20, undefined, { signal: deadline });
  }
}
