/** A promise with its ends outside. */
export interface Deferred<T> {
  promise: Promise<T>;
  resolve(value: T): void;
  reject(error: Error): void;
}

/** What `Promise.withResolvers` gives in later versions of Node. */
export function createDeferred<T>(): Deferred<T> {
  let ends: Pick<Deferred<T>, "resolve" | "reject"> | undefined;
  const promise = new Promise<T>((resolve, reject) => {
    ends = { resolve, reject };
  });
  if (ends === undefined) throw new Error("unreachable: the executor runs at once");
  return { promise, ...ends };
}
