import { HeyvmError, toHeyvmError } from "../errors/index.ts";
import type { Sandbox } from "../sdk/index.ts";
import type { Invocation } from "./invocation.ts";
import { printable } from "./output/text.ts";

/** How many sandboxes a verb works on at the same time. */
const concurrency = 8;

/** What became of a sandbox, if that is not the same for all. */
export interface Outcome {
  done: string;
  document: object;
}

/**
 * Does `work` on every sandbox named, all of them also when one fails, and prints each result: `done` and the name for
 * people, the sandbox's document for programs, unless `work` returns something else. Throws what failed.
 */
export async function forEachSandbox(
  invocation: Invocation,
  references: readonly string[],
  done: string,
  work: (sandbox: Sandbox) => Promise<Outcome | void>,
): Promise<void> {
  const heyvm = await invocation.connect();
  const failures: Failure[] = [];
  const one = async (reference: string): Promise<void> => {
    try {
      const sandbox = await heyvm.sandboxes.get(reference, { signal: invocation.signal });
      const outcome = (await work(sandbox)) ?? { done, document: sandbox };
      if (invocation.json) invocation.printJson(outcome.document);
      else invocation.print(`${outcome.done} ${sandbox.name} ${invocation.style.dim(sandbox.id)}`);
    } catch (error) {
      failures.push({ reference, error: toHeyvmError(error) });
    }
  };
  const waiting = [...new Set(references)];
  const worker = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) await one(next);
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, waiting.length) }, () => worker()));
  if (failures.length > 1) throw new SeveralFailedError(failures);
  if (failures[0] !== undefined) throw failures[0].error;
}

interface Failure {
  reference: string;
  error: HeyvmError;
}

/** Has the code that all failures share, so that a script sees it in the exit code. */
class SeveralFailedError extends HeyvmError {
  constructor(failures: readonly Failure[]) {
    const codes = new Set(failures.map(({ error }) => error.code));
    const [shared = "guest_failed"] = codes.size === 1 ? codes : [];
    const lines = failures.map(({ reference, error }) => `  ${printable(reference)}: ${error.message}`);
    const hints = new Set(failures.flatMap(({ error }) => error.hint ?? []));
    super(shared, [`${failures.length} sandboxes failed`, ...lines].join("\n"), {
      hint: hints.size === 1 ? [...hints][0] : undefined,
      details: {
        failures: failures.map(({ reference, error }) => ({
          reference,
          code: error.code,
          error: error.message,
        })),
      },
    });
  }
}
