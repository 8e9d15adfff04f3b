/** What the routes work with. */
import type { LoadedSettings } from "../config/settings.ts";
import type { DaemonInfo } from "./schema.ts";
import type { Log, SandboxContext } from "../sandbox/index.ts";

export interface ApiServices {
  context: SandboxContext;
  settings: LoadedSettings;
  daemon: DaemonInfo;
  /** Started by a client that needed it. */
  onDemand: boolean;
  /** Requests and web sockets that are under way. */
  activeRequests: () => number;
  log: Log;
}
