/** The constants of the agent protocol, version 1. They are described in docs/agent-protocol.md. */

export const protocolVersion = 1;

export const hostMagic = Buffer.from("\x00\xffHEYVM-HOST\r\n\x1a\n", "latin1");
export const agentMagic = Buffer.from("\x00\xffHEYVM-AGNT\r\n\x1a\n", "latin1");
export const nonceBytes = 16;
/** Magic, nonce, length and CRC-32 of the JSON that follows. */
export const preambleBytes = 40;
export const maxHelloBytes = 16_384;

export const headerBytes = 20;
export const trailerBytes = 4;
export const maxPayloadBytes = 65_536;
export const maxFrameBytes = headerBytes + maxPayloadBytes + trailerBytes;

export const frameKind = {
  open: 1,
  opened: 2,
  data: 3,
  eof: 4,
  credit: 5,
  control: 6,
  result: 7,
  error: 8,
  close: 9,
  // The link's own, without a number.
  ack: 16,
  ping: 17,
  pong: 18,
  bye: 19,
} as const;

export type FrameKind = (typeof frameKind)[keyof typeof frameKind];

/** Credit that each channel of each stream starts with, in both directions. */
export const windowBytes = 256 * 1024;
/** Senders of bulk data wait when this much is not acknowledged. */
export const replayLimitBytes = 4 * 1024 * 1024;
/** The other side misbehaves when it lets this much go without an acknowledgement. */
export const replayHardLimitBytes = 8 * 1024 * 1024;
/** What may come before the answer to a hello: twice what an agent can have on its way. */
export const maxRemainsBytes = 2 * replayHardLimitBytes;
/** What a frame counts for beside its payload, so that tiny frames are bounded, too. */
export const frameCostBytes = 64;
/** A receiver acknowledges at the latest after this many bytes or frames. */
export const ackAfterBytes = 256 * 1024;
export const ackAfterFrames = 64;
