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
  test("gets an address, and has no way to the host's loopback", async () => {
    const server = createServer((socket) => socket.end("the host's\n"));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    try {
      const address = server.address();
      const port = typeof address === "object" ? address?.port : undefined;
      // The address comes by DHCP, a moment after the agent. 10.0.2.2 would be the host in QEMU's own network.
      const script = `
        for i in $(seq 300); do gateway=$(ip -4 route show default | sed -n 's/.* via \\([^ ]*\\).*/\\1/p')
          [ -n "$gateway" ] && break; sleep 0.2; done
        ip -4 -o address show scope global | wc -l
        for host in $gateway 10.0.2.2; do
          timeout 5 bash -c "cat < /dev/tcp/$host/${port}" 2>/dev/null || echo unreachable; done`;
      expect(await inGuest(subject(), script)).toBe("1\nunreachable\nunreachable\n");
    } finally {
      server.close();
    }
  });
}
