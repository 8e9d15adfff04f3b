/** What has to be done at the end, last begun first. (Node 20 has no `AsyncDisposableStack`.) */
export interface Cleanup extends AsyncDisposable {
  defer(work: () => void | Promise<void>): void;
}

/** Every piece is done, also when one fails; the first failure is thrown at the end. */
export function createCleanup(): Cleanup {
  const pieces: (() => void | Promise<void>)[] = [];
  return {
    defer: (work) => void pieces.push(work),
    async [Symbol.asyncDispose]() {
      const failures: unknown[] = [];
      for (const piece of pieces.splice(0).toReversed()) {
        try {
          await piece();
        } catch (error) {
          failures.push(error);
        }
      }
      if (failures.length > 0) throw failures[0];
    },
  };
}
