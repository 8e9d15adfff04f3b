import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Duplex } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";

import { connectAgent } from "../agent/connect.ts";
import type { ConnectAgent } from "../agent/types.ts";
import type { Backend, CloneReport, GuestMount, StartedMachine } from "../backends/backend.ts";
import { statePaths } from "../config/paths.ts";
import { loadSettings } from "../config/settings.ts";
import { createImageStore } from "../images/index.ts";
import { enter, provisioningRecord, wholly } from "./making.ts";
import { silentProgress } from "./progress.ts";
import { makeReadyMachine } from "./ready-machine.ts";
import { type OpenSandboxes, openSandboxes } from "./sandboxes.ts";
import type { CreateRequest } from "./shape.ts";
import { createProcessBackend } from "./testing/process-backend.ts";
import { chooseId, resolveRequest } from "./wanted.ts";

const noLog = { info: () => undefined, warn: () => undefined, error: () => undefined };

let folder: string;
let backend: Backend;
let open: OpenSandboxes;
/** What was made, in order: `clone`, or why it boots. */
let made: string[];
/** What the backend was told of its clones. */
let told: string[];
/** What is wrong with a clone. */
let fault: "ends" | "silent" | undefined;
let guestMounts: GuestMount[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "hv-ready-"));
  [made, told, fault, guestMounts] = [[], [], undefined, []];
  works = async () => await Promise.resolve();
  const state = statePaths(folder);
  const machines = createProcessBackend(join(folder, "machines"), { usesImages: false });
  let isClone = false;
  backend = {
    ...machines,
    async create(spec, context): Promise<StartedMachine> {
      const started = { ...(await machines.create(spec, context)), guestMounts };
      isClone = context.boot === undefined;
      made.push(context.boot ?? "clone");
      if (!isClone) return started;
      if (fault === "ends") await machines.stop(spec.id, context.signal);
      return { ...started, start: { how: "cloned" }, clone: report };
    },
    openChannel: async (id, signal) =>
      isClone && fault === "silent"
        ? new Duplex({ read: () => undefined, write: (_chunk, _encoding, done) => done() })
        : await machines.openChannel(id, signal),
  };
  const { values: settings } = await loadSettings({ path: state.settings, env: {} });
  open = await openSandboxes({
    state,
    settings,
    backends: [{ ...backend, open: () => backend }],
    images: createImageStore({
      searchFolders: [folder],
      indexPath: state.imageIndex,
      copyFolder: state.imageCopies,
    }),
    connectAgent: connectToProcess,
    log: noLog,
  });
});
afterEach(async () => {
  await open.close();
  await rm(folder, { recursive: true });
});

let works: () => Promise<void>;
const report: CloneReport = {
  works: async () => {
    told.push("works");
    await works();
  },
  fails: async (reason) => await Promise.resolve(void told.push(reason)),
};

/** A process has no clock, no random pool and no boot of its own. */
const connectToProcess: ConnectAgent = async (pipe, options) => {
  const session = await connectAgent(pipe, options);
  const identify = session.identify.bind(session);
  session.identify = async ({ machineId }, call) => await identify({ machineId }, call);
  return session;
};

/** Returns how its machine started. */
async function makeReady(cloneMs?: number, request: CreateRequest = {}): Promise<StartedMachine["start"]> {
  const { context } = open;
  const progress = silentProgress(AbortSignal.timeout(60_000));
  const wanted = await resolveRequest(context, request, progress.signal);
  const id = chooseId(wanted);
  const record = provisioningRecord(id, { ...wanted.spec, name: id, slug: id }, []);
  const sandbox = await enter(context, record, backend, { warm: false });
  const { started, agent } = await wholly(context, sandbox, backend, progress, async (whole) => {
    return await makeReadyMachine(context, sandbox, wanted, whole, cloneMs);
  });
  expect(agent.info.hostname).not.toBe("");
  await sandbox.session.close();
  await backend.destroy(id, progress.signal);
  return started.start;
}

test("a clone whose guest gets ready is said to work", async () => {
  expect(await makeReady()).toEqual({ how: "cloned" });
  expect({ made, told }).toEqual({ made: ["clone"], told: ["works"] });
});

test.each(["ends", "silent"] as const)(
  "one whose guest %s is made again and boots, with the reason",
  async (what) => {
    fault = what;
    const { how, reason } = await makeReady(what === "silent" ? 1000 : undefined);
    expect(how).toBe("booted");
    expect(reason).toMatch(/^a clone of its template did not get ready: (the machine of|it took longer)/);
    expect({ made, told }).toEqual({ made: ["clone", reason], told: [reason] });
  },
);

test("one that works and then waits for its network is not made again", async () => {
  const cloneMs = 10_000;
  works = async () => await delay(cloneMs + 500);
  expect(await makeReady(cloneMs, { needsNetwork: true })).toEqual({ how: "cloned" });
  expect(made).toEqual(["clone"]);
});

test("what would fail a guest that boots, too, is not tried twice", async () => {
  guestMounts = [{ tag: "mount0", guestPath: "/etc/passwd/below", readOnly: true }];
  await expect(makeReady()).rejects.toMatchObject({ code: "invalid_argument" });
  expect({ made, told }).toEqual({ made: ["clone"], told: [] });
  expect(await backend.list(AbortSignal.timeout(10_000))).toEqual([]);
});
