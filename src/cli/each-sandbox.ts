import { HeyvmError, toHeyvmError } from "../errors/index.ts";
import type { SandboxActions } from "../sdk/index.ts";
import type { Invocation } from "./invocation.ts";
import { printable } from "./output/text.ts";

/** How many sandboxes a verb works on at the same time. */
const concurrency = 8;

/** What became of a sandbox: `done` in a word for people, `document` for programs. */
export interface Outcome {
  done: string;
  id: string;
  name: string;
  document: object;
}

/**
 * Does `work` on every sandbox named, all of them also when one fails, and prints what became of each. Asks for none of
 * them first: `work` finds it, or fails. Throws what failed.
 */
export async function forEachSandbox(
  invocation: Invocation,
  references: readonly string[],
  work: (sandbox: SandboxActions, reference: string) => Promise<Outcome>,
): Promise<void> {
  const heyvm = await invocation.connect();
  const failures: Failure[] = [];
  const one = async (reference: string): Promise<void> => {
    try {
      const { done, id, name, document } = await work(heyvm.sandboxes.at(reference), reference);
      if (invocation.json) invocation.printJson(document);
      else invocation.print(`${done} ${name} ${invocation.style.dim(id)}`);
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
