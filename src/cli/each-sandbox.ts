import type { Sandbox } from "../sdk/index.ts";
import type { Invocation } from "./invocation.ts";

/** How many sandboxes a verb works on at the same time. */
const concurrency = 8;

/**
 * Does `work` on every sandbox named, all of them also when one fails, and prints each result: `done` and the name for
 * people, the sandbox's document for programs. Throws what failed.
 */
export async function forEachSandbox(
  invocation: Invocation,
  references: readonly string[],
  done: string,
  work: (sandbox: Sandbox) => Promise<void>,
): Promise<void> {
  const heyvm = await invocation.connect();
  const failures: unknown[] = [];
  const one = async (reference: string): Promise<void> => {
    try {
      const sandbox = await heyvm.sandboxes.get(reference, { signal: invocation.signal });
      await work(sandbox);
      if (invocation.json)
        invocation.printJson(done === "removed" ? { id: sandbox.id, removed: true } : sandbox);
      else invocation.print(`${done} ${sandbox.name} ${invocation.style.dim(sandbox.id)}`);
    } catch (error) {
      failures.push(error);
    }
  };
  const waiting = [...new Set(references)];
  const worker = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) await one(next);
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, waiting.length) }, () => worker()));
  if (failures.length === 1) throw failures[0];
  if (failures.length > 1) throw new AggregateError(failures, "several sandboxes failed");
}
