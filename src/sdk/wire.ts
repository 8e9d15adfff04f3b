/**
 * Reads what the daemon sent. `T` is what the API's schema promises there: daemon and client are of one version (see
 * daemon.ts), and loading the schema's validator would double the start-up time of every CLI command.
 */
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- the caller names what the schema promises
export function parseMessage<T>(text: string): T {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- trusted as explained above
  return JSON.parse(text) as T;
}
