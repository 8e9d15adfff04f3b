/** The client: one connection to one daemon. */
import type { BackendAnswer, Config, Doctor, Health, Pruned } from "../api/schema.ts";
import { connectDaemon } from "./daemon.ts";
import type { CallOptions } from "../core/deadline.ts";
import { createImages, type Images } from "./images.ts";
import { createSandboxes, type Sandboxes } from "./sandboxes.ts";
import { createTemplates, type Templates } from "./templates.ts";
import { createTransport, type RequestLog } from "./transport.ts";

export interface ConnectOptions {
  /** The daemon's unix socket. Default: `HEYVM_SOCKET`, what `daemon.json` says, or the default place: `~/.heyo/heyvm.sock`. */
  socketPath?: string | undefined;
  /** A daemon on TCP instead: `http://host:3000`. */
  url?: string | undefined;
  /** Bearer token for `url`. */
  token?: string | undefined;
  /** Start a daemon when none answers. Default: true; never with `url`. */
  autostart?: boolean | undefined;
  /** Told what the user should know: a daemon of another version, … */
  onNotice?: ((message: string) => void) | undefined;
  /** Told of each request, for debugging. */
  onRequest?: RequestLog | undefined;
  signal?: AbortSignal | undefined;
}

export type BackendInfo = BackendAnswer;
export type DoctorReport = Doctor;
export type ConfigReport = Config;
export type HealthReport = Health;

export interface Heyvm extends Disposable {
  readonly sandboxes: Sandboxes;
  readonly images: Images;
  readonly templates: Templates;
  /** Which backends exist, and which can run here. */
  backends(options?: CallOptions): Promise<BackendInfo[]>;
  /** Everything that the backends ask of the host, checked; slow. */
  doctor(
    options?: CallOptions & { backend?: string | undefined; uri?: string | undefined },
  ): Promise<DoctorReport>;
  /** The settings in force in the daemon, and where each comes from. */
  config(options?: CallOptions): Promise<ConfigReport>;
  /** Removes what nobody owns; answers in words what went. */
  prune(options?: PruneOptions): Promise<string[]>;
  health(options?: CallOptions): Promise<HealthReport>;
  /** Lets go of idle connections; a program ends without it, too. */
  close(): void;
}

export interface PruneOptions extends CallOptions {
  /** Also caches: prepared disks that nobody uses now. */
  everything?: boolean | undefined;
  /** Hears what was kept although nobody here needs it, and what removes it. */
  onWarning?: ((message: string) => void) | undefined;
}

/** Some checks boot a tiny guest to see whether it works. */
const doctorTimeoutMs = 300_000;
const pruneTimeoutMs = 300_000;

async function connect(options: ConnectOptions = {}): Promise<Heyvm> {
  const log = options.onRequest;
  const endpoint =
    options.url === undefined
      ? await connectDaemon(options)
      : ({ kind: "url", url: new URL(options.url), token: options.token } as const);
  const transport = createTransport(endpoint, log);
  return {
    sandboxes: createSandboxes(transport),
    images: createImages(transport),
    templates: createTemplates(transport),
    backends: (call) => transport.json<BackendInfo[]>("GET", "/backends", call),
    doctor: (call = {}) => {
      const { backend, uri, ...rest } = call;
      return transport.json<DoctorReport>("GET", "/doctor", {
        timeoutMs: doctorTimeoutMs,
        ...rest,
        query: { backend, uri },
      });
    },
    config: (call) => transport.json<ConfigReport>("GET", "/config", call),
    async prune(call = {}) {
      const { everything, onWarning, ...rest } = call;
      const request = { timeoutMs: pruneTimeoutMs, ...rest, body: { everything } };
      const { removed, warnings = [] } = await transport.json<Pruned>("POST", "/prune", request);
      for (const warning of warnings) onWarning?.(warning);
      return removed;
    },
    health: (call) => transport.json<HealthReport>("GET", "/health", call),
    close: () => transport.close(),
    [Symbol.dispose]: () => transport.close(),
  };
}

/** `const heyvm = await Heyvm.connect()`: the daemon is found, or started when there is none. */
export const Heyvm = { connect } as const;
