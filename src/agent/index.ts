export { agentSourcePath, agentVersion } from "./agent-source.ts";
export { connectAgent } from "./connect.ts";
export {
  CallTimeoutError,
  CommandNotStartableError,
  GuestFailedError,
  GuestMisbehavedError,
  GuestPathNotFoundError,
  GuestPermissionError,
  GuestRefusedError,
  GuestUnresponsiveError,
  GuestUnsupportedError,
  SessionClosedError,
  SessionLostError,
} from "./errors.ts";
export { guestText } from "./guest-text.ts";
export type { OpenPipe } from "./pipe-keeper.ts";
export { type EndedCommand, runToEnd } from "./run-to-end.ts";
export type * from "./types.ts";
