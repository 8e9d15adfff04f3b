/** What every call takes beside its arguments. */
export interface CallOptions {
  /** Gives the call up. The daemon is not told and may still carry it out. */
  signal?: AbortSignal | undefined;
  /** Gives the call up after this long. The default is the connection's (30 s unless told otherwise). */
  timeoutMs?: number | undefined;
}
