/** What every use case works with. */
import type { ConnectAgent } from "../agent/types.ts";
import type { StatePaths } from "../config/paths.ts";
import type { Settings } from "../config/settings.ts";
import type { ImageStore } from "../images/index.ts";
import type { BackendRegistry } from "./backend-registry.ts";
import type { Deadlines } from "./deadlines.ts";
import type { ImageHolds } from "./image-holds.ts";
import type { RecordStore } from "./record-store.ts";
import type { SandboxRegistry } from "./registry.ts";
import type { WarmMachine, WarmPool } from "./warm-pool.ts";

/** A log as pino has it. */
export interface Log {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface SandboxContext {
  state: StatePaths;
  settings: Settings;
  backends: BackendRegistry;
  images: ImageStore;
  imageHolds: ImageHolds;
  connectAgent: ConnectAgent;
  records: RecordStore;
  registry: SandboxRegistry;
  deadlines: Deadlines;
  pool: WarmPool<WarmMachine>;
  log: Log;
  /** Aborts when the daemon is about to leave. */
  shutdown: AbortSignal;
}
