import { expect, test } from "vitest";

import { runCli } from "./testing/run-cli.ts";

test.each([
  ["--host", "127.0.0.1"],
  ["--port", "3000"],
  ["--tls-cert", "cert.pem"],
  ["--tls-key", "key.pem"],
  ["--insecure-http"],
])("serve %s is refused without --api", async (...words) => {
  const { exitCode, stdout, stderr } = await runCli(["serve", ...words], {
    // Where no daemon could begin anything.
    env: { MVM_DATA_DIR: "/dev/null/none" },
  });
  expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
  expect(stderr).toContain(`${words[0]} is for --api`);
  expect(stderr).toContain("heyvm serve --api");
});
