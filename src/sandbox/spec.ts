/** From what a caller asks for to what a sandbox is, with every value checked. */
import { InvalidArgumentError } from "../errors/index.ts";
import type { Backend } from "../backends/backend.ts";
import { checkEnvironment, checkGuestPath, checkLabels } from "./guest-values.ts";
import { resolveSize } from "./machine-size.ts";
import { type MountSurroundings, resolveMounts } from "./mounts.ts";
import type { SandboxSpec } from "./record.ts";
import type { CreateRequest } from "./shape.ts";

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
  const {
    name: _name,
    slug: _slug,
    image,
    needsNetwork,
    mounts = [],
    openPorts = [],
    sizeClass: _sizeClass,
    clone: _clone,
    ...same
  } = request;
  const imageReference = backend.usesImages ? (image ?? defaults.image) : undefined;
  const { warnings, ...size } = resolveSize(request, defaults, imageReference);
  checkEnvironment("env_vars", request.env ?? {});
  checkLabels(request.labels ?? {});
  const ports = openPorts.map((port) =>
    typeof port === "number" ? { guestPort: port, hostPort: port } : port,
  );
  checkPorts(ports);
  if (!backend.usesImages && image !== undefined) {
    warnings.push(`backend ${backend.name} uses no images: ${image} is not used`);
  }
  const resolved = await resolveMounts(
    mounts.map(({ sandboxPath, ...mount }) => ({ ...mount, guestPath: sandboxPath })),
    surroundings,
  );
  const spec = {
    ...same,
    ...size,
    type: request.type ?? ("shell" as const),
    backend: backend.name,
    imageReference,
    mounts: resolved.mounts,
    network: needsNetwork ?? false,
    ttlSeconds: request.ttlSeconds === undefined ? defaults.ttlSeconds : request.ttlSeconds,
    workingDirectory: checkGuestPath(
      "working_directory",
      request.workingDirectory ?? defaultWorkingDirectory,
    ),
    openPorts: ports,
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
