import { GuestMisbehavedError, GuestRefusedError } from "./errors.ts";
import type { Frame } from "./frames.ts";
import { GuestStream, type StreamShape } from "./guest-stream.ts";
import type { Link } from "./link.ts";
import { frameKind, maxPayloadBytes } from "./wire.ts";

const maxOpenBytes = 1024 * 1024;
/** The channel of an OPEN frame says whether another part of its JSON follows. */
const lastPart = 0;
const morePartsFollow = 1;

/** The streams of one session. */
export class Mux {
  readonly #link: Link;
  readonly #streams = new Map<number, GuestStream>();
  #lastNumber = 0;
  #failure: Error | undefined;

  constructor(link: Link) {
    this.#link = link;
  }

  /** How many operations are under way: while there are any, silence is worth a question. */
  get size(): number {
    return this.#streams.size;
  }

  /** Starts an operation as soon as the link has room for it. Settles when the frame is on its way. */
  async open(operation: string, params: Record<string, unknown>, shape: StreamShape): Promise<GuestStream> {
    const content = Buffer.from(JSON.stringify({ ...params, op: operation }));
    if (content.length > maxOpenBytes) {
      throw new GuestRefusedError(
        `the arguments of ${operation} are ${content.length} bytes; 1 MiB is the limit`,
      );
    }
    if (!this.#link.hasRoom && this.#failure === undefined) {
      await new Promise<void>((resolve) => this.#link.whenRoom(resolve));
    }
    if (this.#failure !== undefined) throw this.#failure;
    const number = ++this.#lastNumber;
    const stream = new GuestStream(this.#link, number, shape, () => this.#streams.delete(number));
    this.#streams.set(number, stream);
    for (let at = 0; at < content.length; at += maxPayloadBytes) {
      const part = content.subarray(at, at + maxPayloadBytes);
      const channel = at + part.length < content.length ? morePartsFollow : lastPart;
      this.#link.send(frameKind.open, number, channel, part);
    }
    return stream;
  }

  /** A frame from the guest; throws when it breaks the protocol. */
  receive(frame: Frame): void {
    const stream = this.#streams.get(frame.stream);
    if (stream === undefined) {
      throw new GuestMisbehavedError(`it sent a frame for stream ${frame.stream}, which is not open`);
    }
    stream.receive(frame);
  }

  /** Reads what the guest answered. When it cannot be what it should be, the session ends. */
  async read<T>(work: () => T | Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof GuestMisbehavedError) this.#link.fail(error);
      throw error;
    }
  }

  /** Ends all streams: the session is over. */
  fail(error: Error): void {
    this.#failure = error;
    const streams = [...this.#streams.values()];
    this.#streams.clear();
    for (const stream of streams) stream.fail(error);
  }
}
