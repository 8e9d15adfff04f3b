import type { MachineContext, MachineStep } from "../backends/backend.ts";

/** How long work tells of itself, and is ended. */
export interface Progress extends MachineContext {
  onWarning: (message: string) => void;
  /** Told the id of what is being made as soon as it can be removed, so that whoever gives up can wait for the undo. */
  onAccepted?: ((id: string) => void) | undefined;
}

/** For work that nobody watches. */
export function silentProgress(signal: AbortSignal): Progress {
  return { signal, onStep: () => {}, onWarning: () => {} };
}

/** Tells that a step begins, does it, tells that it is done. */
export async function inStep<T>(
  progress: Progress,
  step: Pick<MachineStep, "id" | "title">,
  work: () => Promise<T>,
): Promise<T> {
  progress.signal.throwIfAborted();
  progress.onStep({ ...step, state: "started" });
  const result = await work();
  progress.onStep({ ...step, state: "done" });
  return result;
}
