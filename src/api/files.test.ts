import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { json } from "node:stream/consumers";

import { afterAll, beforeAll, expect, test } from "vitest";

import { createTestState, startTestDaemon, type TestDaemon } from "../daemon/testing/test-daemon.ts";

const MiB = 1_048_576;
const largeBytes = 1024 * MiB;
/** Far less than the file, far more than the buffers on the way. */
const growthBytes = 96 * MiB;

let api: TestDaemon;
let state: Awaited<ReturnType<typeof createTestState>>;

beforeAll(async () => {
  state = await createTestState();
  api = await startTestDaemon(state.folder);
  const created = await api.call("POST", "/sandboxes", { name: "box" });
  if (created.status !== 201) throw new Error(created.text);
});

afterAll(async () => {
  await api[Symbol.asyncDispose]();
  await state[Symbol.asyncDispose]();
});

const url = (path: string, rest = ""): string =>
  `/sandboxes/box/files?path=${encodeURIComponent(path)}${rest}`;

test("a file goes up and comes down as it was, with its mode", async () => {
  const up = await api.call("PUT", url("/workspace/a/b.sh", "&mode=0750&parents=true"), "#!/bin/sh\n");
  expect(up.json).toEqual({ path: "/workspace/a/b.sh", size: 10 });
  const down = await api.call("GET", url("/workspace/a/b.sh"));
  expect(down.text).toBe("#!/bin/sh\n");
  expect(down.headers["x-file-mode"]).toBe("750");
  const stat = await api.call("GET", "/sandboxes/box/files/stat?path=/workspace/a/b.sh");
  expect(stat.json).toMatchObject({ type: "file", size: 10, mode: 0o750 });
  const list = await api.call("GET", "/sandboxes/box/files/list?path=/workspace/a");
  expect(list.json).toMatchObject({ entries: [{ name: "b.sh" }] });
});

test("a name that is no UTF-8 is its bytes in a query and lone surrogates in JSON", async () => {
  const path = "/workspace/bytes/a%FF%25FF";
  const up = await api.call("PUT", `/sandboxes/box/files?path=${path}&parents=true`, "x");
  expect(up).toMatchObject({ status: 200, json: { path: "/workspace/bytes/a\udcff%FF" } });
  const list = await api.call("GET", url("/workspace/bytes").replace("/files?", "/files/list?"));
  expect(list.json).toMatchObject({ entries: [{ name: "a\udcff%FF" }] });
  expect((await api.call("GET", `/sandboxes/box/files?path=${path}`)).text).toBe("x");
  const names = { from: "/workspace/bytes/a\udcff%FF", to: "/workspace/bytes/\udcfe" };
  expect((await api.call("POST", "/sandboxes/box/files/rename", names)).status).toBe(200);
  expect((await api.call("GET", "/sandboxes/box/files?path=/workspace/bytes/%fe")).text).toBe("x");
});

test("folders are made, renamed and removed", async () => {
  await api.call("POST", "/sandboxes/box/files/mkdir", { path: "/workspace/x/y", recursive: true });
  const renamed = await api.call("POST", "/sandboxes/box/files/rename", {
    from: "/workspace/x/y",
    to: "/workspace/z",
  });
  expect(renamed.json).toEqual({ path: "/workspace/z" });
  expect((await api.call("DELETE", url("/workspace/z", "&recursive=true"))).status).toBe(200);
  const gone = await api.call("GET", "/sandboxes/box/files/stat?path=/workspace/z");
  expect(gone).toMatchObject({ status: 404, json: { code: "path_not_found" } });
});

test.each([
  ["a relative path", "/sandboxes/box/files?path=a", "path"],
  ["no path", "/sandboxes/box/files", "path"],
  ["a folder", "/sandboxes/box/files?path=/workspace", "path"],
  ["an unknown parameter", "/sandboxes/box/files?path=/etc/passwd&recurse=1", "recurse"],
])("a download with %s is refused with the field", async (_what, path, field) => {
  expect(await api.call("GET", path)).toMatchObject({
    status: 400,
    json: { code: "invalid_argument", details: { field } },
  });
});

test("zeros take no room in the guest", async () => {
  const zeros = Readable.from(Array.from({ length: 64 }, () => Buffer.alloc(MiB)));
  const answer = await api.open("PUT", url("/workspace/sparse"), zeros);
  expect(await json(answer)).toMatchObject({ size: 64 * MiB });
  const found = await api.call("POST", "/sandboxes/box/execute", {
    command: "stat -c '%s %b' /workspace/sparse",
  });
  expect(found.json).toMatchObject({ stdout: `${64 * MiB} 0\n` });
});

test("a gigabyte goes up and down in flat memory, the agent's, too, with equal checksums", async () => {
  const block = Buffer.from(Array.from({ length: MiB }, (_, index) => (index * 31) % 251));
  const sent = createHash("sha256");
  const source = Readable.from(
    (function* blocks() {
      for (let offset = 0; offset < largeBytes; offset += block.length) {
        block.writeUInt32BE(offset, 0);
        const copy = Buffer.from(block);
        sent.update(copy);
        yield copy;
      }
    })(),
  );
  const agentBefore = await agentPeakBytes();
  const before = await residentBytes(api.pid);
  let highest = before;
  const sampler = setInterval(
    () => void residentBytes(api.pid).then((now) => (highest = Math.max(highest, now))),
    50,
  );
  try {
    const up = await api.open("PUT", url("/workspace/large"), source);
    expect(await json(up)).toMatchObject({ size: largeBytes });
    const received = createHash("sha256");
    await pipeline(await api.open("GET", url("/workspace/large")), received);
    expect(received.digest("hex")).toBe(sent.digest("hex"));
  } finally {
    clearInterval(sampler);
  }
  expect(highest - before).toBeLessThan(growthBytes);
  expect((await agentPeakBytes()) - agentBefore).toBeLessThan(growthBytes);
}, 240_000);

/** Of the agent, which is a process of this host and every command's parent. */
async function agentPeakBytes(): Promise<number> {
  const command = "grep -E '^(Name|VmHWM)' /proc/$PPID/status";
  const { json } = await api.call("POST", "/sandboxes/box/execute", { command });
  expect(json.stdout).toMatch(/^Name:\s+python3\nVmHWM:\s+\d+ kB\n$/);
  return Number(/\d+(?= kB)/.exec(json.stdout)) * 1024;
}

async function residentBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1024;
}
