/** Sandboxes: make, list, look at, remove. */
import { z } from "@hono/zod-openapi";

import { InvalidArgumentError } from "../../errors/index.ts";
import {
  type CreateRequest,
  createSandbox,
  findSandbox,
  fromWire,
  type LiveSandbox,
  removeSandbox,
  sandboxStatistics,
  toWire,
  viewSandbox,
  viewWithUsage,
} from "../../sandbox/index.ts";
import type { Api } from "../api-env.ts";
import { addEndpoint } from "../endpoint.ts";
import { answerWithProgress } from "../progress-answer.ts";
import {
  createSandboxSchema,
  type InactiveSandboxes,
  inactiveSandboxesSchema,
  type Removed,
  removedSchema,
  type Sandbox,
  sandboxListSchema,
  sandboxSchema,
  type Statistics,
  statisticsSchema,
} from "../schema.ts";
import type { ApiServices } from "../services.ts";
import { readBody, readQuery } from "../validate.ts";
import { flag, sandboxParams, wholeNumber } from "./parameters.ts";

const tag = "sandboxes";
const inactiveStatuses = new Set(["stopped", "failed", "unknown"]);
const listQuery = z.strictObject({
  all: flag.optional(),
  /** `key` or `key=value`. */
  label: z.string().optional(),
});
const removeQuery = z.strictObject({
  /** Its record goes also when its backend cannot be asked to remove its machine. */
  forget: flag.optional(),
});
const oneQuery = z.strictObject({
  /** Answers when no life cycle call, such as a start or its undo, is under way. */
  settled: flag.optional(),
  /** With what guest and host tell of its use of CPU and memory; a guest that hangs is waited for, but not for long. */
  stats: flag.optional(),
});
const inactiveQuery = z.strictObject({
  count: wholeNumber(1, 1000).optional(),
  cursor: z.string().optional(),
});

export function addSandboxRoutes(api: Api, { context, log }: ApiServices): void {
  const { registry } = context;
  const show = async (sandboxes: readonly LiveSandbox[]): Promise<Sandbox[]> =>
    await Promise.all(sandboxes.map(async (sandbox) => toWire(await viewSandbox(context, sandbox))));

  addEndpoint(
    api,
    {
      method: "post",
      path: "/sandboxes",
      tag,
      summary: "Make a sandbox and start it",
      body: createSandboxSchema,
      status: 201,
      answer: sandboxSchema,
      streams: true,
    },
    async (c) => {
      const request = fromWire<CreateRequest>(await readBody(c, createSandboxSchema));
      return await answerWithProgress(c, {
        type: "sandbox",
        status: 201,
        work: async (progress) =>
          toWire(await viewSandbox(context, await createSandbox(context, request, progress))),
        onFailure: (error) => log.warn({ err: error, request_id: c.get("requestId") }, "create failed"),
      });
    },
  );

  addEndpoint(
    api,
    {
      method: "get",
      path: "/sandboxes",
      tag,
      summary: "Those that are up; with all=true, all",
      query: listQuery,
      answer: sandboxListSchema,
    },
    async (c) => {
      const { all = false, label } = readQuery(c, listQuery);
      const shown = await show(registry.list().filter((sandbox) => hasLabel(sandbox, label)));
      const wanted = all ? shown : shown.filter(({ status }) => !inactiveStatuses.has(status));
      return c.json(wanted.toSorted(byCreation));
    },
  );

  addEndpoint(
    api,
    {
      method: "get",
      path: "/sandboxes/inactive",
      tag,
      summary: "Those that are not up, newest first, page by page",
      query: inactiveQuery,
      answer: inactiveSandboxesSchema,
    },
    async (c) => {
      const { count = 10, cursor } = readQuery(c, inactiveQuery);
      const shown = await show(registry.list());
      const inactive = shown.filter(({ status }) => inactiveStatuses.has(status)).toSorted(byCreation);
      return c.json(page(inactive.toReversed(), count, cursor));
    },
  );

  addEndpoint(
    api,
    {
      method: "get",
      path: "/sandboxes/{id}",
      tag,
      summary:
        "Everything about one; with stats=true, its use of CPU and memory, too; with settled=true, when no start, stop or undo is under way",
      params: sandboxParams,
      query: oneQuery,
      answer: sandboxSchema,
    },
    async (c) => {
      const { settled = false, stats = false } = readQuery(c, oneQuery);
      const reference = c.req.param("id") ?? "";
      let sandbox = registry.resolve(reference);
      if (settled) {
        await sandbox.lock.run("waiting for the sandbox", () => Promise.resolve(), c.get("signal"));
        // What was under way may have been its removal.
        sandbox = registry.resolve(reference);
      }
      const view = stats ? viewWithUsage : viewSandbox;
      return c.json(toWire(await view(context, sandbox)));
    },
  );

  addEndpoint(
    api,
    {
      method: "delete",
      path: "/sandboxes/{id}",
      tag,
      summary:
        "Remove it with everything that belongs to it; with forget=true, its record also while its backend is away",
      params: sandboxParams,
      query: removeQuery,
      answer: removedSchema,
    },
    async (c) => {
      const { forget = false } = readQuery(c, removeQuery);
      const sandbox = registry.resolve(c.req.param("id") ?? "");
      const { forgotten } = await removeSandbox(context, sandbox, { signal: c.get("signal"), forget });
      const { id, spec } = sandbox.record;
      const removed: Removed = { id, name: spec.name, removed: true, ...(forgotten && { forgotten }) };
      return c.json(removed);
    },
  );

  addEndpoint(
    api,
    {
      method: "get",
      path: "/sandboxes/{id}/stats",
      tag,
      summary: "What the guest says of its use of CPU, memory and disk",
      params: sandboxParams,
      answer: statisticsSchema,
    },
    async (c) => {
      const sandbox = await findSandbox(context, c.req.param("id") ?? "");
      const { guest, cpuUsagePercent } = await sandboxStatistics(sandbox, c.get("signal"));
      const statistics: Statistics = {
        uptime_secs: guest.uptimeSeconds,
        load_average: guest.loadAverage,
        cpu_seconds: guest.cpuSeconds,
        cpu_usage: cpuUsagePercent ?? null,
        memory_total: guest.memoryTotalBytes,
        memory_usage: guest.memoryTotalBytes - guest.memoryAvailableBytes,
        disk_total: guest.diskTotalBytes,
        disk_usage: guest.diskTotalBytes - guest.diskAvailableBytes,
        processes: guest.processes,
      };
      return c.json(statistics);
    },
  );
}

function hasLabel({ record }: LiveSandbox, label: string | undefined): boolean {
  if (label === undefined) return true;
  const [key = "", ...rest] = label.split("=");
  const { labels } = record.spec;
  return Object.hasOwn(labels, key) && (rest.length === 0 || labels[key] === rest.join("="));
}

function byCreation(a: Sandbox, b: Sandbox): number {
  return a.created_at.localeCompare(b.created_at) || a.id.localeCompare(b.id);
}

/** A cursor is the id of the last one that was shown. */
function page(sandboxes: readonly Sandbox[], count: number, cursor: string | undefined): InactiveSandboxes {
  const after = cursor === undefined ? -1 : sandboxes.findIndex(({ id }) => id === cursor);
  if (cursor !== undefined && after < 0) {
    throw new InvalidArgumentError(
      "cursor",
      `cursor ${JSON.stringify(cursor.slice(0, 80))} is not known (any more)`,
      {
        hint: "begin again without a cursor",
      },
    );
  }
  const shown = sandboxes.slice(after + 1, after + 1 + count);
  const isLast = after + 1 + count >= sandboxes.length;
  return {
    sandboxes: shown,
    cursor: cursor ?? null,
    next_cursor: isLast ? null : (shown.at(-1)?.id ?? null),
  };
}
