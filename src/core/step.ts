/** Long work as who waits for it watches it: step by step. The same from where it is done up to the API. */

import { AbortedError } from "../errors/index.ts";

/** `{id: "disk", title: "Preparing debian:12 for python (once)"}` */
export interface Step {
  id: string;
  title: string;
  state: "started" | "progress" | "done";
  /** Download or build progress, where there is a measure. */
  doneBytes?: number | undefined;
  totalBytes?: number | undefined;
  /** Where the step's log is, while it runs. */
  logPath?: string | undefined;
}

/** How work is ended, and whom it tells how far it is. */
export interface WorkContext {
  signal: AbortSignal;
  onStep: (step: Step) => void;
}

/** Tells that a step begins, does it, tells that it is done. Throws `AbortedError` before it begins one that nobody wants. */
export async function inStep<T>(
  { signal, onStep }: WorkContext,
  step: Pick<Step, "id" | "title">,
  work: () => Promise<T>,
): Promise<T> {
  if (signal.aborted) throw new AbortedError(step.title, signal.reason);
  onStep({ ...step, state: "started" });
  const result = await work();
  onStep({ ...step, state: "done" });
  return result;
}

/**
 * Does work that only tells what it is at and how far. Steps follow each other: one begins when it is first told of, and
 * the one before is done then.
 */
export async function inConsecutiveSteps<T>(
  onStep: WorkContext["onStep"] | undefined,
  work: (tell: WorkContext["onStep"]) => Promise<T>,
): Promise<T> {
  let current: Step | undefined;
  const finish = (): void => {
    if (current !== undefined) onStep?.({ ...current, state: "done" });
  };
  const result = await work((step) => {
    if (current?.id !== step.id) {
      finish();
      onStep?.({ ...step, doneBytes: undefined, state: "started" });
    }
    current = step;
    if (step.doneBytes !== undefined) onStep?.({ ...step, state: "progress" });
  });
  finish();
  return result;
}
