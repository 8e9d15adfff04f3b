import type { ProgressOptions, Sandbox } from "../sdk/index.ts";
import { forEachSandbox } from "./each-sandbox.ts";
import type { Invocation } from "./invocation.ts";

/** `start` and `restart`: steps of all sandboxes on stderr, told apart by name when there are several. */
export async function forEachWithProgress(
  invocation: Invocation,
  ids: readonly string[],
  done: string,
  work: (sandbox: Sandbox, options: ProgressOptions) => Promise<void>,
): Promise<void> {
  const progress = invocation.progress();
  const prefix = (sandbox: Sandbox): string => (ids.length > 1 ? `${sandbox.name}: ` : "");
  try {
    await forEachSandbox(invocation, ids, done, (sandbox) =>
      work(sandbox, {
        signal: invocation.signal,
        onStep: (step) => progress.onStep({ ...step, title: prefix(sandbox) + step.title }, sandbox.id),
        onWarning: (message) => progress.onWarning(prefix(sandbox) + message),
      }),
    );
    progress.finish();
  } catch (error) {
    progress.finish("failed");
    throw error;
  }
}
