/**
 * heyvm from a program:
 *
 *     import { Heyvm } from "heyvm";
 *
 *     const heyvm = await Heyvm.connect();
 *     await using sandbox = await heyvm.sandboxes.create({ image: "debian:12", type: "python" });
 *     const { stdout, exitCode } = await sandbox.exec("python3", ["-c", "print(6 * 7)"]);
 */
export {
  type BackendInfo,
  type ConfigReport,
  type ConnectOptions,
  type DoctorReport,
  type HealthReport,
  Heyvm,
  type PruneOptions,
} from "./heyvm.ts";
export { CreateAbortedError, type Sandboxes } from "./sandboxes.ts";
export type {
  LogEntry,
  LookOptions,
  OwnedSandbox,
  RemovedSandbox,
  Sandbox,
  SandboxActions,
} from "./sandbox.ts";
export type { CreateSandboxOptions, HostMemory, Mount, PublishedPort, SandboxInfo } from "./sandbox-types.ts";
export type {
  CommandOptions,
  CommandResult,
  CommandStatus,
  ExecOptions,
  RunningCommand,
  SpawnOptions,
  TerminalSize,
} from "./commands.ts";
export type { Shell, ShellOptions } from "./shell.ts";
export {
  type DirectoryEntry,
  type FileContent,
  type Files,
  type FileStatus,
  TransferEndedError,
} from "./files.ts";
export type { ImageInfo, Images, SupportedImage } from "./images.ts";
export type { TemplateInfo, TemplateOptions, Templates } from "./templates.ts";
export type { Step, ProgressOptions } from "./progress.ts";
export type { CallOptions } from "../core/deadline.ts";
export {
  BackendError,
  ConflictError,
  InvalidRequestError,
  NotFoundError,
  RemoteError,
  TimeoutError,
} from "./remote-error.ts";
export { CertificateUntrustedError, ClientTimeoutError, DaemonUnavailableError } from "./client-errors.ts";
export { DaemonLostError } from "./daemon-lost.ts";
export { AbortedError, type ErrorCode, HeyvmError } from "../errors/index.ts";
