import { once } from "node:events";
import { createServer } from "node:net";
import { expect, test } from "vitest";

import { inGuest, type Subject } from "./subject.ts";

/** A sandbox that was not told to have a network. */
export function noNetworkSuite(subject: () => Subject): void {
  test("has no network card", async () => {
    expect(await inGuest(subject(), "ls /sys/class/net")).toBe("lo\n");
  });
}

/** A sandbox with a network, on a host that has passt. */
export function networkSuite(subject: () => Subject): void {
  test("has its address when the sandbox is ready, and the gateway is no way to the host's loopback", async () => {
    const server = createServer((socket) => socket.end("the host's\n"));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    try {
      const address = server.address();
      const port = typeof address === "object" ? address?.port : undefined;
      const script = `
        ip -4 -o address show scope global | wc -l
        gateway=$(ip -4 route show default | sed -n 's/.* via \\([^ ]*\\).*/\\1/p')
        timeout 5 bash -c "cat < /dev/tcp/$gateway/${port}" 2>/dev/null || echo unreachable`;
      expect(await inGuest(subject(), script)).toBe("1\nunreachable\n");
    } finally {
      server.close();
    }
  });
}
