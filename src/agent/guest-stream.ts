import { AbortedError } from "../errors/index.ts";
import { agentError } from "./agent-errors.ts";
import { ChannelInput } from "./channel-input.ts";
import { ChannelOutput } from "./channel-output.ts";
import { createDeferred } from "../core/deferred.ts";
import { GuestMisbehavedError } from "./errors.ts";
import type { Frame } from "./frames.ts";
import { type GuestObject, parseGuestJson } from "./guest-json.ts";
import type { Link } from "./link.ts";
import { frameKind } from "./wire.ts";

/** Which channels an operation has. */
export interface StreamShape {
  /** Channels on which the guest sends. */
  outputs?: readonly number[];
  /** Whether the host sends, on channel 0. */
  input?: boolean;
  /** What happens when the reader of an output goes away: the operation is cancelled, or goes on unheard. */
  cancelWithReader?: boolean;
}

/** One operation in the guest: its channels, and the promises of its start and its result. */
export class GuestStream {
  readonly number: number;
  readonly input: ChannelInput | undefined;
  /** What the agent told at the start; or, if the operation has no separate start, at the end. */
  readonly opened: Promise<GuestObject>;
  readonly result: Promise<GuestObject>;
  readonly #link: Link;
  readonly #outputs: Map<number, ChannelOutput>;
  readonly #opened = createDeferred<GuestObject>();
  readonly #result = createDeferred<GuestObject>();
  readonly #over: () => void;
  #state: "open" | "closing" | "over" = "open";
  #isOpened = false;

  constructor(link: Link, number: number, shape: StreamShape, over: () => void) {
    this.number = number;
    this.#link = link;
    this.#over = over;
    this.opened = this.#opened.promise;
    this.result = this.#result.promise;
    this.opened.catch(() => {}); // whoever waits for it hears of it
    this.result.catch(() => {});
    this.input = shape.input === true ? new ChannelInput(link, number) : undefined;
    this.#outputs = new Map(
      (shape.outputs ?? []).map((channel) => [
        channel,
        new ChannelOutput(
          (bytes) => this.#grant(channel, bytes),
          () => {
            if (shape.cancelWithReader === true) this.close();
          },
        ),
      ]),
    );
  }

  output(channel: number): ChannelOutput {
    const output = this.#outputs.get(channel);
    if (output === undefined) throw new Error(`stream ${this.number} has no output ${channel}`);
    return output;
  }

  control(message: Record<string, unknown>): void {
    if (this.#state === "open") {
      this.#link.send(frameKind.control, this.number, 0, Buffer.from(JSON.stringify(message)));
    }
  }

  /** Cancels the operation. What waits for it gets `error`; the agent's own answer is still awaited, unseen. */
  close(error?: Error): void {
    if (this.#state !== "open") return;
    this.#state = "closing";
    this.#link.send(frameKind.close, this.number);
    this.#settle(error ?? new AbortedError("the operation"));
  }

  /** The session is over. */
  fail(error: Error): void {
    if (this.#state === "over") return;
    this.#state = "over";
    this.#settle(error);
  }

  /** A frame from the guest; throws when it breaks the protocol. */
  receive(frame: Frame): void {
    switch (frame.kind) {
      case frameKind.data:
        this.#known(frame.channel).receive(frame.payload);
        return;
      case frameKind.eof:
        this.#known(frame.channel).end(this.#state !== "open");
        return;
      case frameKind.credit:
        this.#credited(frame);
        return;
      case frameKind.opened:
        if (this.#isOpened) throw new GuestMisbehavedError("it opened a stream twice");
        this.#isOpened = true;
        this.#opened.resolve(parseGuestJson(frame.payload));
        return;
      case frameKind.result:
        this.#ended(parseGuestJson(frame.payload));
        return;
      case frameKind.error:
        this.#failed(agentError(parseGuestJson(frame.payload)));
        return;
      default:
        throw new GuestMisbehavedError(`it sent a frame of unknown kind ${frame.kind}`);
    }
  }

  #known(channel: number): ChannelOutput {
    const output = this.#outputs.get(channel);
    if (output === undefined)
      throw new GuestMisbehavedError(`it sent data on channel ${channel}, which has none`);
    return output;
  }

  #credited(frame: Frame): void {
    if (frame.payload.length !== 4 || frame.channel !== 0 || this.input === undefined) {
      throw new GuestMisbehavedError("it gave credit for a channel that takes none");
    }
    this.input.credit(frame.payload.readUInt32BE(0));
  }

  #ended(value: GuestObject): void {
    this.#state = "over";
    for (const output of this.#outputs.values()) output.end(true);
    this.#opened.resolve(value);
    this.#result.resolve(value);
    this.input?.close();
    this.#over();
  }

  #failed(error: Error): void {
    this.#state = "over";
    this.#settle(error);
    this.#over();
  }

  #settle(error: Error): void {
    this.#opened.reject(error);
    this.#result.reject(error);
    for (const output of this.#outputs.values()) output.fail(error);
    this.input?.close(error);
  }

  #grant(channel: number, bytes: number): void {
    if (this.#state !== "open") return;
    const payload = Buffer.allocUnsafe(4);
    payload.writeUInt32BE(bytes, 0);
    this.#link.send(frameKind.credit, this.number, channel, payload);
  }
}
