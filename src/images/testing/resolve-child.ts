/** A process of its own that resolves one image: `resolve-child.ts <options as JSON> <reference>`. */
import { createImageStore } from "../store.ts";
import type { ImageStoreOptions } from "../types.ts";

const [, , optionsText = "{}", reference = ""] = process.argv;
// Written by the test beside this file.
const options: ImageStoreOptions = JSON.parse(optionsText);
const tell = (message: object): void => void process.stdout.write(`${JSON.stringify(message)}\n`);

try {
  const image = await createImageStore(options).resolve(reference, {
    architecture: "x86_64",
    signal: AbortSignal.timeout(600_000),
    onStep: (step) => tell({ step }),
  });
  tell({ image });
} catch (error) {
  tell({ error: error instanceof Error ? error.message : String(error) });
  process.exitCode = 1;
}
