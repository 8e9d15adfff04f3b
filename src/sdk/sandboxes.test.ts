import { inspect } from "node:util";
import { expect, onTestFinished, test } from "vitest";

import { createSandboxes } from "./sandboxes.ts";
import { webSandbox } from "./testing/sandbox-document.ts";
import { answerJson, startWireServer } from "./testing/wire-server.ts";
import { createTransport } from "./transport.ts";

async function serve() {
  const requests: string[] = [];
  const server = await startWireServer({
    http: (request, answer) => {
      requests.push(`${request.method} ${request.url}`);
      answerJson(answer, 200, { ...webSandbox, status: "paused", env_vars: { TOKEN: "secret" } });
    },
  });
  const transport = createTransport(server.endpoint);
  onTestFinished(async () => {
    transport.close();
    await server[Symbol.asyncDispose]();
  });
  return { requests, sandboxes: createSandboxes(transport) };
}

test("a sandbox at a reference asks for nothing before it is used, and then goes straight there", async () => {
  const { requests, sandboxes } = await serve();
  const sandbox = sandboxes.at("My Box/2");
  expect(requests).toEqual([]);
  await sandbox.pause();
  expect(await sandbox.refresh({ stats: true })).toMatchObject({ name: "web", status: "paused" });
  expect(requests).toEqual(["POST /sandboxes/My%20Box%2F2/pause", "GET /sandboxes/My%20Box%2F2?stats=true"]);
});

test.each(["", ".", ".."])(
  "a reference that would be a way through a path is no sandbox's: %j",
  async (reference) => {
    const { requests, sandboxes } = await serve();
    const notFound = { name: "NotFoundError", code: "sandbox_not_found", hint: "heyvm list --all" };
    expect(() => sandboxes.at(reference)).toThrow(expect.objectContaining(notFound));
    await expect(sandboxes.get(reference)).rejects.toMatchObject(notFound);
    expect(requests).toEqual([]);
  },
);

test("a sandbox shows what it is, and follows what becomes of it", async () => {
  const { sandboxes } = await serve();
  const sandbox = await sandboxes.get("web");
  expect(inspect(sandbox)).toMatch(/^Sandbox \{\n {2}id: 'sb-0000000a',\n {2}name: 'web',/);
  expect(inspect({ sandbox })).toContain("sandbox: Sandbox {");
  expect(inspect(sandbox)).not.toContain("Function");
  expect(inspect(sandbox)).toContain("env: [ 'TOKEN' ]");
  expect(inspect(sandbox)).not.toContain("secret");
  expect(inspect({ a: { b: { c: sandbox } } })).toContain("c: [Sandbox]");
  expect(await sandbox.pause()).toBe(sandbox);
  expect(sandbox.info.status).toBe("paused");
  expect(await sandboxes.at("web").pause()).toMatchObject({ id: sandbox.id, info: { status: "paused" } });
});
