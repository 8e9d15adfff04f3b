/** The daemon itself, its backends and settings. */
import { z } from "@hono/zod-openapi";

import { isPausable } from "../../backends/abilities.ts";
import type { DoctorCheck } from "../../backends/backend.ts";
import { buildId } from "../../config/version.ts";
import { messageOf } from "../../errors/index.ts";
import { prune } from "../../sandbox/index.ts";
import type { Api } from "../api-env.ts";
import { addEndpoint } from "../endpoint.ts";
import {
  type BackendAnswer,
  backendListSchema,
  type Config,
  configSchema,
  type Doctor,
  type DoctorCheckAnswer,
  doctorSchema,
  type Health,
  healthSchema,
  type Pruned,
  prunedSchema,
  pruneSchema,
} from "../schema.ts";
import type { ApiServices } from "../services.ts";
import { readBody, readQuery } from "../validate.ts";

const tag = "system";
const doctorQuery = z.strictObject({
  backend: z.string().min(1).optional(),
  /** In place of the settings' own. */
  uri: z.string().min(1).optional(),
});

export function addSystemRoutes(
  api: Api,
  { context, daemon, settings, onDemand, activeRequests }: ApiServices,
): void {
  // Now: later the files may be those of another build.
  const build = buildId();
  addEndpoint(
    api,
    { method: "get", path: "/health", tag, summary: "Whether the daemon answers", answer: healthSchema },
    async (c) => {
      const health: Health = {
        status: "ok",
        version: daemon.version,
        ...(build !== undefined && { build }),
        pid: daemon.pid,
        started_at: daemon.started_at,
        data_dir: context.state.root,
        on_demand: onDemand,
        active_requests: activeRequests() - 1,
        ...(daemon.restart_reason !== undefined && { restart_reason: daemon.restart_reason }),
      };
      return await Promise.resolve(c.json(health));
    },
  );

  addEndpoint(
    api,
    { method: "get", path: "/backends", tag, summary: "What can run here", answer: backendListSchema },
    async (c) => {
      const backends = await context.backends.all();
      const { backend_type, "pool.size": size } = context.settings;
      const answers = backends.map(async (backend): Promise<BackendAnswer> => {
        const { available, reason, hint } = await backend
          .availability(c.get("signal"))
          .catch((error: unknown) => ({ available: false, reason: messageOf(error), hint: undefined }));
        return {
          name: backend.name,
          description: backend.description,
          available,
          default: backend.name === backend_type,
          uses_images: backend.usesImages,
          pausable: isPausable(backend),
          ...(reason !== undefined && { reason }),
          ...(hint !== undefined && { hint }),
          ...(size > 0 && backend.name === backend_type && { pool: { ready: context.pool.ready, size } }),
        };
      });
      return c.json(await Promise.all(answers));
    },
  );

  addEndpoint(
    api,
    {
      method: "get",
      path: "/doctor",
      tag,
      summary: "What the backends ask of the host, checked",
      query: doctorQuery,
      answer: doctorSchema,
    },
    async (c) => {
      const { uri, ...query } = readQuery(c, doctorQuery);
      const taking = context.backends.kinds.find(({ takesUri }) => takesUri);
      const backend = query.backend ?? (uri === undefined ? undefined : taking?.name);
      const backends =
        backend === undefined ? await context.backends.all() : [await context.backends.get(backend, uri)];
      const checks = await Promise.all(
        backends.map(async (backend) =>
          (await backend.diagnose(c.get("signal"))).map((check) => toCheck(backend.name, check)),
        ),
      );
      const all = checks.flat();
      const doctor: Doctor = { verdict: worst(all), checks: all };
      return c.json(doctor);
    },
  );

  addEndpoint(
    api,
    { method: "get", path: "/config", tag, summary: "The settings in force", answer: configSchema },
    async (c) => {
      const config: Config = {
        path: context.state.settings,
        settings: settings.entries.map(({ key, value, source, origin, description }) => ({
          key,
          value,
          source,
          ...(origin !== undefined && { origin }),
          description,
        })),
      };
      return await Promise.resolve(c.json(config));
    },
  );

  addEndpoint(
    api,
    {
      method: "post",
      path: "/prune",
      tag,
      summary: "Remove what nobody owns",
      body: pruneSchema,
      answer: prunedSchema,
    },
    async (c) => {
      const { everything = false } = await readBody(c, pruneSchema);
      return c.json((await prune(context, { everything, signal: c.get("signal") })) satisfies Pruned);
    },
  );
}

function toCheck(backend: string, check: DoctorCheck): DoctorCheckAnswer {
  const { remedy, ...rest } = check;
  return { ...rest, ...(remedy !== undefined && { remedy }), backend };
}

function worst(checks: readonly DoctorCheckAnswer[]): Doctor["verdict"] {
  const verdicts = new Set(checks.map(({ verdict }) => verdict));
  if (verdicts.has("failure")) return "failure";
  return verdicts.has("warning") ? "warning" : "ok";
}
