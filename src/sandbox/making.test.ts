import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect, onTestFinished, test } from "vitest";

import { statePaths } from "../config/paths.ts";
import { loadSettings } from "../config/settings.ts";
import { createImageStore } from "../images/index.ts";
import { enter, provisioningRecord, wholly } from "./making.ts";
import { silentProgress } from "./progress.ts";
import { removeSandbox } from "./remove.ts";
import { openSandboxes } from "./sandboxes.ts";
import { createProcessBackend } from "./testing/process-backend.ts";
import { resolveRequest } from "./wanted.ts";

const id = "sb-0123abcd";
const never = async () => await Promise.reject(new Error("nobody asks for it"));
const noLog = { info: () => undefined, warn: () => undefined, error: () => undefined };

test("one that is removed while its record is being written is gone, and its create ends as such", async () => {
  const folder = await mkdtemp(join(tmpdir(), "hv-making-"));
  onTestFinished(async () => await rm(folder, { recursive: true }));
  const state = statePaths(folder);
  const backend = createProcessBackend(join(folder, "machines"), { usesImages: false });
  const { values: settings } = await loadSettings({ path: state.settings, env: {} });
  const open = await openSandboxes({
    state,
    settings,
    backends: [{ ...backend, open: () => backend }],
    images: createImageStore({
      searchFolders: [folder],
      indexPath: state.imageIndex,
      copyFolder: state.imageCopies,
    }),
    connectAgent: never,
    log: noLog,
  });
  onTestFinished(async () => await open.close());
  const { context } = open;
  const progress = silentProgress(AbortSignal.timeout(10_000));
  const { spec } = await resolveRequest(context, {}, progress.signal);
  const record = provisioningRecord(id, { ...spec, name: "gone", slug: "gone" }, []);

  const entering = enter(context, record, backend, { warm: false });
  const known = context.registry.find(id);
  if (known === undefined) throw new Error("it is not known yet");
  const removing = removeSandbox(context, known, { signal: progress.signal });
  const making = wholly(context, await entering, backend, progress, never);
  await expect(making).rejects.toMatchObject({
    code: "wrong_state",
    message: "sandbox gone is being removed",
  });
  await removing;
  expect(context.registry.all()).toEqual([]);
  expect(await readdir(state.sandboxes)).toEqual([]);
});
