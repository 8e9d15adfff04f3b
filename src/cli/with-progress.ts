/** Work whose steps are shown on stderr. */
import type {
  CreateSandboxOptions,
  Heyvm,
  OwnedSandbox,
  ProgressOptions,
  SandboxActions,
} from "../sdk/index.ts";
import { forEachSandbox, type Outcome } from "./each-sandbox.ts";
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

/** For verbs that take several: the steps are told apart by what the sandboxes were called then. */
export async function forEachWithProgress(
  invocation: Invocation,
  references: readonly string[],
  work: (sandbox: SandboxActions, options: ProgressOptions) => Promise<Outcome>,
): Promise<void> {
  await withProgress(invocation, async (progress) => {
    await forEachSandbox(invocation, references, (sandbox, reference) => {
      const prefix = references.length > 1 ? `${reference}: ` : "";
      return work(sandbox, {
        signal: progress.signal,
        onStep: (step) => progress.onStep({ ...step, title: prefix + step.title }, reference),
        onWarning: (message) => progress.onWarning(prefix + message),
      });
    });
  });
}
