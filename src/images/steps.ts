/** Progress of the store as the steps that a create or a pull shows to its user. */
import type { ImagePhase, ImageProgress } from "./types.ts";

interface ImageStep {
  id: string;
  title: string;
  state: "started" | "progress" | "done";
  doneBytes?: number | undefined;
  totalBytes?: number | undefined;
}

const titles: Record<ImagePhase, string> = {
  lookup: "Looking for",
  checksum: "Asking what is current for",
  wait: "Waiting for another download of",
  download: "Downloading",
  verify: "Verifying",
  place: "Storing",
  "own-copy": "Making a private copy of",
};

/** Turns events into steps: one begins when the phase changes, and the one before is done then. */
export function progressAsSteps(onStep: (step: ImageStep) => void): {
  onProgress: (progress: ImageProgress) => void;
  /** The work has succeeded: the last step is done. */
  finish: () => void;
} {
  let current: ImageStep | undefined;
  const finish = (): void => {
    if (current !== undefined) onStep({ ...current, state: "done" });
    current = undefined;
  };
  return {
    onProgress({ phase, reference, doneBytes, totalBytes }) {
      // Over in a moment, and part of what the caller announces anyway.
      if (phase === "lookup" || phase === "place") return;
      const id = `image-${phase}`;
      if (current?.id !== id) {
        finish();
        onStep({ id, title: `${titles[phase]} ${reference}`, state: "started", totalBytes });
      }
      current = { id, title: `${titles[phase]} ${reference}`, state: "progress", doneBytes, totalBytes };
      if (doneBytes !== undefined) onStep(current);
    },
    finish,
  };
}
