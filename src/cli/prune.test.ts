import { expect, test } from "vitest";

import { startHostDaemon } from "./testing/host-daemon.ts";
import { runCli } from "./testing/run-cli.ts";

test("prune prints what went, and warns of what may be somebody else's", async () => {
  const prune = { removed: ["machine sb-0000000b"], warnings: ["kept sb-0000000a.qcow2"] };
  await using daemon = await startHostDaemon("/nonexistent", { prune });
  expect(await runCli(["prune"], daemon)).toMatchObject({
    exitCode: 0,
    stdout: "removed machine sb-0000000b\n",
    stderr: "warning: kept sb-0000000a.qcow2\n",
  });
  const { stdout } = await runCli(["prune", "--format", "json"], daemon);
  expect(JSON.parse(stdout)).toEqual(prune);
});
