/** A pipe to a daemon, however it came about. */
import type { Readable, Writable } from "node:stream";

export interface Transport {
  readonly input: Readable;
  readonly output: Writable;
  /**
   * Resolves when the pipe has ended, whoever ended it, with what is known of the reason; never rejects. Nothing is read
   * or written after that.
   */
  readonly ended: Promise<string | undefined>;
  /** Ends it at once, with everything that belongs to it. */
  destroy(): void;
}
