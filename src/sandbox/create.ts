/** Makes a sandbox, whole or not at all. */
import { claimWarmMachine } from "./claim.ts";
import type { SandboxContext } from "./context.ts";
import { makeHostKeysLater, putToUse } from "./guest-setup.ts";
import { enter, enterService, provisioningRecord, wholly } from "./making.ts";
import type { Progress } from "./progress.ts";
import { makeReadyMachine } from "./ready-machine.ts";
import type { LiveSandbox } from "./registry.ts";
import { checkMountsApart } from "./replaceable-mounts.ts";
import type { CreateRequest } from "./shape.ts";
import { checkNames, chooseId, mountHolders, reserveNames, resolveRequest, type Wanted } from "./wanted.ts";

/** On any failure, and when the signal aborts, nothing is left of the sandbox. */
export async function createSandbox(
  context: SandboxContext,
  request: CreateRequest,
  progress: Progress,
): Promise<LiveSandbox> {
  checkNames(request);
  using _hold = context.pool.hold();
  const wanted = await resolveRequest(context, request, progress.signal);
  for (const warning of wanted.warnings) progress.onWarning(warning);
  const claimed = await claimWarmMachine(context, request, wanted, progress);
  return claimed ?? (await makeSandbox(context, request, wanted, progress));
}

async function makeSandbox(
  context: SandboxContext,
  request: CreateRequest,
  wanted: Wanted,
  progress: Progress,
): Promise<LiveSandbox> {
  const { backend, spec, warnings } = wanted;
  const id = chooseId(wanted);
  const names = reserveNames(context, id, request);
  try {
    // With no pause until it is in the registry: of two creates at once the second sees the first.
    checkMountsApart(spec.mounts, mountHolders(context));
    const record = provisioningRecord(id, { ...spec, name: names.name, slug: names.slug }, warnings);
    const entering = enter(context, record, backend, { warm: false });
    names.release();
    const sandbox = await entering;
    await wholly(context, sandbox, backend, progress, async (progress) => {
      const { started, agent } = await makeReadyMachine(context, sandbox, wanted, progress);
      makeHostKeysLater(context, sandbox, agent);
      await putToUse(sandbox, agent, progress, true);
      progress.signal.throwIfAborted();
      await enterService(context, sandbox, agent, started);
    });
    return sandbox;
  } finally {
    names.release();
  }
}
