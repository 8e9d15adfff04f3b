/** Verbs that change a sandbox's status. */
import { z } from "@hono/zod-openapi";

import {
  findSandbox,
  killSandbox,
  type LiveSandbox,
  pauseSandbox,
  restartSandbox,
  resumeSandbox,
  startSandbox,
  stopSandbox,
  toWire,
  viewSandbox,
} from "../../sandbox/index.ts";
import type { Api, ApiContext } from "../api-env.ts";
import { addEndpoint } from "../endpoint.ts";
import { answerWithProgress } from "../progress-answer.ts";
import { type Sandbox, sandboxSchema, stopSandboxSchema } from "../schema.ts";
import type { ApiServices } from "../services.ts";
import { readBody } from "../validate.ts";
import { sandboxParams } from "./parameters.ts";

const noBody = z.strictObject({});
const tag = "life cycle";

export function addLifecycleRoutes(api: Api, { context, log }: ApiServices): void {
  const find = async (c: ApiContext): Promise<LiveSandbox> =>
    await findSandbox(context, c.req.param("id") ?? "");
  const show = async (sandbox: LiveSandbox): Promise<Sandbox> => toWire(await viewSandbox(context, sandbox));

  addEndpoint(api, verb("start", "Start it again", true), async (c) => {
    await readBody(c, noBody);
    const sandbox = await find(c);
    return await answerWithProgress(c, {
      type: "sandbox",
      status: 200,
      work: async (progress) => {
        await startSandbox(context, sandbox, progress);
        return await show(sandbox);
      },
      onFailure: (error) => log.warn({ err: error, id: sandbox.record.id }, "start failed"),
    });
  });

  addEndpoint(api, verb("restart", "Stop it and start it again", true, stopSandboxSchema), async (c) => {
    const body = await readBody(c, stopSandboxSchema);
    const sandbox = await find(c);
    return await answerWithProgress(c, {
      type: "sandbox",
      status: 200,
      work: async (progress) => {
        await restartSandbox(context, sandbox, { graceMs: toMs(body.grace_seconds), progress });
        return await show(sandbox);
      },
      onFailure: (error) => log.warn({ err: error, id: sandbox.record.id }, "restart failed"),
    });
  });

  const stopSummary = "Ask the guest to power off, and cut it after a grace";
  addEndpoint(api, verb("stop", stopSummary, false, stopSandboxSchema), async (c) => {
    const body = await readBody(c, stopSandboxSchema);
    const sandbox = await find(c);
    await stopSandbox(context, sandbox, { graceMs: toMs(body.grace_seconds), signal: c.get("signal") });
    return c.json(await show(sandbox));
  });

  const simple = { pause: pauseSandbox, resume: resumeSandbox, kill: killSandbox };
  const summaries = {
    pause: "Hold it still",
    resume: "Let it go on",
    kill: "Cut it at once; its disk stays",
  };
  for (const name of ["pause", "resume", "kill"] as const) {
    addEndpoint(api, verb(name, summaries[name], false), async (c) => {
      await readBody(c, noBody);
      const sandbox = await find(c);
      await simple[name](context, sandbox, c.get("signal"));
      return c.json(await show(sandbox));
    });
  }
}

function toMs(seconds: number | undefined): number | undefined {
  return seconds === undefined ? undefined : seconds * 1000;
}

function verb(
  name: string,
  summary: string,
  streams: boolean,
  body?: z.ZodType,
): Parameters<typeof addEndpoint>[1] {
  return {
    method: "post",
    path: `/sandboxes/{id}/${name}`,
    tag,
    summary,
    params: sandboxParams,
    ...(body !== undefined && { body }),
    answer: sandboxSchema,
    streams,
  };
}
