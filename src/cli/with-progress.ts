import type { ImageInfo, ProgressOptions } from "../sdk/index.ts";
import type { Invocation } from "./invocation.ts";

/** Shows the steps of `work` on stderr. */
export async function withProgress<T>(
  invocation: Invocation,
  work: (options: ProgressOptions) => Promise<T>,
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

export function printImage(invocation: Invocation, image: ImageInfo): void {
  if (invocation.json) invocation.printJson(image);
  else invocation.print(`${image.name}  ${image.path}`);
}
