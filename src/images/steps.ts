/** What the store is at, as a step that is shown to its user. Looking and storing are over in a moment, and none. */
import type { Step } from "../core/step.ts";

const titles = {
  checksum: "Asking what is current for",
  // For another process that already downloads the same.
  wait: "Waiting for another download of",
  download: "Downloading",
  verify: "Verifying",
  "own-copy": "Making a private copy of",
};

export type ImageAction = keyof typeof titles;

/** `reference`: as the user named the image. */
export function imageStep(
  action: ImageAction,
  reference: string,
  measure: Pick<Step, "doneBytes" | "totalBytes"> = {},
): Step {
  return { id: `image-${action}`, title: `${titles[action]} ${reference}`, state: "progress", ...measure };
}
