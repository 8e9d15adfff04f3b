import { expect, test } from "vitest";

import type { TestHost } from "../../fixtures/host.ts";
import { expectFailure, succeed } from "./subject.ts";

/** Takes the place of the agent's program, writes what is no frame of its protocol, and never stops. */
const liar = `
import os, sys
port = os.open(sys.argv[sys.argv.index("--port") + 1], os.O_RDWR)
noise = os.urandom(1 << 16)
while True:
    try:
        os.write(port, noise)
    except OSError:
        pass`;

/** A guest whose agent cannot be trusted. A template of the python type is there. */
export function lyingAgentSuite(host: () => TestHost): void {
  test("an agent that writes garbage fails the commands in its guest, with a reason and a remedy, and nothing else", async () => {
    await host().leavesNothing(async () => {
      await succeed(host(), "create", "--image", "debian:12", "--type", "python", "--name", "liar");
      const words = ["the guest's agent broke the protocol", "hint: restart the sandbox"];
      // The service manager starts again what was killed, and what it finds is the liar.
      const replace = `cat > /usr/local/lib/heyvm/agent.py <<'END'\n${liar}\nEND
        kill -KILL $(pgrep -of heyvm/agent.py); sleep 1000`;
      await expectFailure(host(), inLiar(replace), 125, ...words);
      await expectFailure(host(), inLiar("echo there"), 125, ...words);
      expect(JSON.parse(await succeed(host(), "get", "liar", "--format", "json"))).toMatchObject({
        name: "liar",
        status: "running",
      });
      expect(await succeed(host(), "list")).toContain("liar");
      await succeed(host(), "rm", "--yes", "liar");
    });
  });
}

function inLiar(script: string): string[] {
  return ["exec", "--no-stdin", "liar", "--", "sh", "-c", script];
}
