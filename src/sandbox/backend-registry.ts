/** The backends that may be used here, opened when first asked for; of one that takes a connection URI, one per URI. */
import { isPausable, type Pausable } from "../backends/abilities.ts";
import type { Backend, BackendAvailability, BackendDescription, MachineStatus } from "../backends/backend.ts";
import { nearest } from "../config/nearest.ts";
import { HeyvmError, InvalidArgumentError } from "../errors/index.ts";

/** A backend that can be opened; called once, or once per URI. */
export interface OpenableBackend extends BackendDescription {
  open(uri: string): Backend | Promise<Backend>;
}

export interface BackendRegistry {
  /** Permitted by the settings. */
  readonly kinds: readonly BackendDescription[];
  /** Permitted by the settings, with the default URI. */
  all(): Promise<readonly Backend[]>;
  /** Every backend that was opened, of all URIs. */
  opened(): readonly { backend: Backend; uri: string | undefined }[];
  /** Throws `invalid_argument` for one that does not exist or is not permitted. */
  get(name: string, uri?: string): Promise<Backend>;
  /** As `get`, but throws `backend_unavailable` when it cannot make machines here. */
  getAvailable(name: string, uri: string | undefined, signal: AbortSignal): Promise<Backend>;
  /** The URI that belongs to a sandbox for ever, so that a change of the settings does not lose its machine. */
  uriFor(name: string, asked: string | undefined): string | undefined;
  close(): Promise<void>;
}

export interface BackendRegistryOptions {
  kinds: readonly OpenableBackend[];
  defaultUri: string;
  /** `null`: all. */
  permitted: readonly string[] | null;
  onChange: (backend: Backend, status: MachineStatus) => void;
}

/** A backend that cannot make machines on this host, or at the URI that was asked for. */
export class BackendUnavailableError extends HeyvmError {
  constructor(
    name: string,
    uri: string | undefined,
    { reason, hint }: BackendAvailability,
    usable: readonly string[],
  ) {
    const where = uri === undefined ? "cannot run here" : `cannot be used at ${uri}`;
    const alternatives =
      usable.length === 0 ? "no other backend can run here" : `can run here: ${usable.join(", ")}`;
    super(
      "backend_unavailable",
      `backend ${name} ${where}: ${reason ?? "no reason given"}; ${alternatives}`,
      {
        hint: hint ?? (usable[0] === undefined ? "heyvm doctor" : `heyvm create --backend-type ${usable[0]}`),
        details: { backend: name, available: usable },
      },
    );
  }
}

export function createBackendRegistry(options: BackendRegistryOptions): BackendRegistry {
  const { permitted, defaultUri } = options;
  const kinds = options.kinds.filter(({ name }) => permitted === null || permitted.includes(name));
  const pending = new Map<string, Promise<Backend>>();
  const opened: { backend: Backend; uri: string | undefined }[] = [];
  const unwatch: (() => void)[] = [];

  const openOnce = async (kind: OpenableBackend, uri: string | undefined): Promise<Backend> => {
    const backend = await kind.open(uri ?? defaultUri);
    opened.push({ backend, uri });
    unwatch.push(backend.watch((status) => options.onChange(backend, status)));
    return backend;
  };
  const open = async (kind: OpenableBackend, asked: string | undefined): Promise<Backend> => {
    const uri = kind.takesUri ? (asked ?? defaultUri) : undefined;
    const key = JSON.stringify([kind.name, uri]);
    const opening = pending.get(key) ?? openOnce(kind, uri);
    pending.set(key, opening);
    opening.catch(() => pending.delete(key));
    return await opening;
  };

  const registry: BackendRegistry = {
    kinds,
    all: async () => await Promise.all(kinds.map(async (kind) => await open(kind, undefined))),
    opened: () => opened,
    async get(name, uri) {
      const kind = kinds.find((candidate) => candidate.name === name);
      if (kind === undefined) throw unknownBackend(name, kinds);
      if (uri !== undefined && !kind.takesUri) {
        const able = kinds.find(({ takesUri }) => takesUri);
        throw new InvalidArgumentError("uri", `backend ${name} has no connection URI`, {
          hint: `leave --uri out${able === undefined ? "" : `, or use --backend-type ${able.name}`}`,
        });
      }
      return await open(kind, uri);
    },
    async getAvailable(name, uri, signal) {
      const backend = await registry.get(name, uri);
      const availability = await backend.availability(signal);
      if (availability.available) return backend;
      if (availability.code === "invalid_argument") {
        throw new InvalidArgumentError("uri", availability.reason ?? "it is no URI", {
          hint: availability.hint,
        });
      }
      const usable = await usableBackends(await registry.all(), signal);
      throw new BackendUnavailableError(name, uri, availability, usable);
    },
    uriFor: (name, asked) =>
      kinds.some((kind) => kind.name === name && kind.takesUri) ? (asked ?? defaultUri) : undefined,
    async close() {
      for (const stop of unwatch) stop();
      await Promise.allSettled(opened.map(async ({ backend }) => await backend.close()));
    },
  };
  return registry;
}

/** Whether the backend can pause; throws `unsupported` with the ones that can, if not. */
export function asPausable(backend: Backend, others: readonly Backend[]): Backend & Pausable {
  if (isPausable(backend)) return backend;
  const able = others.filter(isPausable).map(({ name }) => name);
  throw new HeyvmError("unsupported", `backend ${backend.name} cannot pause a sandbox`, {
    hint: able[0] === undefined ? undefined : `heyvm create --backend-type ${able[0]}`,
    details: { backend: backend.name, able },
  });
}

function unknownBackend(name: string, backends: readonly BackendDescription[]): InvalidArgumentError {
  const names = backends.map((backend) => backend.name);
  const suggestion = nearest(name, names) ?? names[0];
  return new InvalidArgumentError(
    "backend_type",
    `there is no backend ${JSON.stringify(name.slice(0, 80))}; there is: ${names.join(", ") || "none"}`,
    {
      hint: suggestion === undefined ? "heyvm backends" : `heyvm create --backend-type ${suggestion}`,
      details: { backends: names },
    },
  );
}

async function usableBackends(backends: readonly Backend[], signal: AbortSignal): Promise<string[]> {
  const verdicts = await Promise.all(
    backends.map(async (backend) => {
      const { available } = await backend.availability(signal).catch(() => ({ available: false }));
      return available ? backend.name : undefined;
    }),
  );
  return verdicts.filter((name) => name !== undefined);
}
