/** The sandbox that a comparison runs in. */
import { parseArgs } from "node:util";

import type { Heyvm, Sandbox } from "../src/sdk/index.ts";

export interface BenchSandbox extends AsyncDisposable {
  sandbox: Sandbox;
  /** What is on the command line beside the options. */
  positionals: string[];
}

/**
 * A new sandbox that disposal removes, or with `--sandbox ID` one that runs already and is left as it was. `--image` is
 * that of a new one.
 */
export async function openBenchSandbox(heyvm: Heyvm): Promise<BenchSandbox> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { sandbox: { type: "string" }, image: { type: "string", default: "debian:12" } },
  });
  if (values.sandbox !== undefined) {
    const sandbox = await heyvm.sandboxes.get(values.sandbox);
    return { sandbox, positionals, [Symbol.asyncDispose]: async () => undefined };
  }
  console.error(`creating a sandbox of ${values.image} …`);
  const sandbox = await heyvm.sandboxes.create({ image: values.image, backend: "libvirt", type: "shell" });
  return { sandbox, positionals, [Symbol.asyncDispose]: () => sandbox[Symbol.asyncDispose]() };
}
