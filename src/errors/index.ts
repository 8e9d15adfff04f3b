export { type ErrorCode, errorCodes } from "./codes.ts";
export {
  AbortedError,
  DiskFullError,
  type ErrorContext,
  HeyvmError,
  InvalidArgumentError,
  makeRoomHint,
  toHeyvmError,
} from "./heyvm-error.ts";
export { shellQuoted } from "./shell-quoted.ts";
export { errnoOf, firstLine, isDiskFull, messageOf } from "./thrown.ts";
