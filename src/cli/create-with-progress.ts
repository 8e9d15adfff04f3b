import type { CreateSandboxOptions, Heyvm, OwnedSandbox } from "../sdk/index.ts";
import type { Invocation } from "./invocation.ts";
import { formatSpan } from "./output/time.ts";

/** Creates, with steps on stderr. An interruption makes the daemon undo it, and waits for the undo. */
export async function createWithProgress(
  invocation: Invocation,
  heyvm: Heyvm,
  options: CreateSandboxOptions,
): Promise<OwnedSandbox> {
  const progress = invocation.progress();
  const { signal } = invocation;
  try {
    const sandbox = await heyvm.sandboxes.create(options, { signal, ...progress });
    progress.finish();
    const took = formatSpan(progress.elapsedMs());
    invocation.note(invocation.errorStyle.dim(`${sandbox.name} is ready after ${took}`));
    return sandbox;
  } catch (error) {
    progress.finish("failed");
    throw error;
  }
}
