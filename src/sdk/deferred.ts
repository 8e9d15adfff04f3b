/** A promise with its resolvers, as `Promise.withResolvers` of newer Nodes gives it. */
export interface Deferred<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (reason: unknown) => void;
}

export function createDeferred<T>(): Deferred<T> {
  let settle: Pick<Deferred<T>, "resolve" | "reject"> | undefined;
  const promise = new Promise<T>((resolve, reject) => {
    settle = { resolve, reject };
  });
  // The executor has run.
  if (settle === undefined) throw new Error("a promise without its resolvers");
  return { promise, ...settle };
}
