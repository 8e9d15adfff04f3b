/** From what a caller asks for to what a sandbox is, with every value checked. */
import { InvalidArgumentError } from "../errors/index.ts";
import type { Backend } from "../backends/backend.ts";
import type { SandboxType, SizeClass } from "../config/machine-kinds.ts";
import { checkEnvironment, checkGuestPath, checkLabels } from "./guest-values.ts";
import { resolveSize } from "./machine-size.ts";
import { type MountRequest, type MountSurroundings, resolveMounts } from "./mounts.ts";
import type { SandboxSpec } from "./record.ts";

/** What a create may say; all else comes from the settings. */
export interface CreateRequest {
  name?: string | undefined;
  slug?: string | undefined;
  type?: SandboxType | undefined;
  image?: string | undefined;
  backend?: string | undefined;
  uri?: string | undefined;
  cpus?: number | undefined;
  memoryBytes?: number | undefined;
  diskBytes?: number | undefined;
  sizeClass?: SizeClass | undefined;
  mounts?: readonly MountRequest[] | undefined;
  /** `null`: never ends by itself; absent: as the settings say. */
  ttlSeconds?: number | null | undefined;
  startCommand?: string | undefined;
  workingDirectory?: string | undefined;
  openPorts?: readonly { guestPort: number; hostPort: number }[] | undefined;
  env?: Readonly<Record<string, string>> | undefined;
  setupHooks?: readonly string[] | undefined;
  network?: boolean | undefined;
  labels?: Readonly<Record<string, string>> | undefined;
  /** `false`: its machine boots, also where it could be a clone. Nothing that the sandbox remembers. */
  clone?: boolean | undefined;
}

export interface SpecDefaults {
  image: string;
  cpus: number;
  memoryBytes: number;
  ttlSeconds: number | null;
}

const defaultWorkingDirectory = "/workspace";

/** Checks all but the name and the slug, whose uniqueness is the registry's business. Throws `invalid_argument`. */
export async function resolveSpec(
  request: CreateRequest,
  backend: Backend,
  defaults: SpecDefaults,
  surroundings: MountSurroundings,
): Promise<{ spec: Omit<SandboxSpec, "name" | "slug">; warnings: string[] }> {
  const imageReference = backend.usesImages ? (request.image ?? defaults.image) : undefined;
  const { warnings, ...size } = resolveSize(request, defaults, imageReference);
  checkEnvironment("env_vars", request.env ?? {});
  checkLabels(request.labels ?? {});
  checkPorts(request.openPorts ?? []);
  if (!backend.usesImages && request.image !== undefined) {
    warnings.push(`backend ${backend.name} uses no images: ${request.image} is not used`);
  }
  const resolved = await resolveMounts(request.mounts ?? [], surroundings);
  const spec = {
    ...size,
    type: request.type ?? ("shell" as const),
    backend: backend.name,
    uri: request.uri,
    imageReference,
    mounts: resolved.mounts,
    network: request.network ?? false,
    ttlSeconds: request.ttlSeconds === undefined ? defaults.ttlSeconds : request.ttlSeconds,
    startCommand: request.startCommand,
    workingDirectory: checkGuestPath(
      "working_directory",
      request.workingDirectory ?? defaultWorkingDirectory,
    ),
    openPorts: [...(request.openPorts ?? [])],
    env: { ...request.env },
    setupHooks: [...(request.setupHooks ?? [])],
    labels: { ...request.labels },
  };
  return { spec, warnings: [...warnings, ...resolved.warnings] };
}

function checkPorts(ports: readonly { guestPort: number; hostPort: number }[]): void {
  const seen = new Set<number>();
  for (const { hostPort } of ports) {
    if (seen.has(hostPort)) {
      throw new InvalidArgumentError("open_ports", `open_ports: host port ${hostPort} is asked for twice`);
    }
    seen.add(hostPort);
  }
}
