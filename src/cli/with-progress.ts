/** Work whose steps are shown on stderr. */
import type { CreateSandboxOptions, Heyvm, OwnedSandbox, ProgressOptions, Sandbox } from "../sdk/index.ts";
import { forEachSandbox } from "./each-sandbox.ts";
import type { Invocation } from "./invocation.ts";
import type { Progress } from "./output/progress.ts";
import { formatSpan } from "./output/time.ts";

/** Shows the steps of `work`, which gets what tells of them. */
export async function withProgress<T>(
  invocation: Invocation,
  work: (options: ProgressOptions & Progress) => Promise<T>,
): Promise<T> {
  const progress = invocation.progress();
  try {
    const result = await work({ signal: invocation.signal, ...progress });
    progress.finish();
    return result;
  } catch (error) {
    progress.finish("failed");
    throw error;
  }
}

/** Creates. An interruption makes the daemon undo it, and waits for the undo. */
export async function createWithProgress(
  invocation: Invocation,
  heyvm: Heyvm,
  options: CreateSandboxOptions,
): Promise<OwnedSandbox> {
  const { sandbox, took } = await withProgress(invocation, async (progress) => {
    const sandbox = await heyvm.sandboxes.create(options, progress);
    return { sandbox, took: formatSpan(progress.elapsedMs()) };
  });
  invocation.note(invocation.errorStyle.dim(`${sandbox.name} is ready after ${took}`));
  return sandbox;
}

/** For verbs that take several: the steps are told apart by the sandboxes' names then. */
export async function forEachWithProgress(
  invocation: Invocation,
  ids: readonly string[],
  done: string,
  work: (sandbox: Sandbox, options: ProgressOptions) => Promise<void>,
): Promise<void> {
  const prefix = (sandbox: Sandbox): string => (ids.length > 1 ? `${sandbox.name}: ` : "");
  await withProgress(invocation, async (progress) => {
    await forEachSandbox(invocation, ids, done, (sandbox) =>
      work(sandbox, {
        signal: progress.signal,
        onStep: (step) => progress.onStep({ ...step, title: prefix(sandbox) + step.title }, sandbox.id),
        onWarning: (message) => progress.onWarning(prefix(sandbox) + message),
      }),
    );
  });
}
