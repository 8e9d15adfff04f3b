import type { WorkContext } from "../core/step.ts";

/** How long work tells of itself, and is ended. */
export interface Progress extends WorkContext {
  onWarning: (message: string) => void;
  /** Told the id of what is being made as soon as it can be removed, so that whoever gives up can wait for the undo. */
  onAccepted?: ((id: string) => void) | undefined;
}

/** For work that nobody watches. */
export function silentProgress(signal: AbortSignal): Progress {
  return { signal, onStep: () => {}, onWarning: () => {} };
}
