/** Templates: what sandboxes are cloned from. */
import { z } from "@hono/zod-openapi";

import {
  buildTemplate,
  fromWire,
  listTemplates,
  pruneTemplates,
  removeTemplate,
  type TemplateBuildRequest,
} from "../../sandbox/index.ts";
import type { Api } from "../api-env.ts";
import { addEndpoint } from "../endpoint.ts";
import { answerWithProgress } from "../progress-answer.ts";
import {
  buildTemplateSchema,
  type Pruned,
  prunedSchema,
  type RemovedTemplate,
  removedTemplateSchema,
  templateListSchema,
  templateSchema,
} from "../schema.ts";
import type { ApiServices } from "../services.ts";
import { readBody } from "../validate.ts";
import { toTemplateAnswer } from "../wire.ts";

const tag = "templates";
const templateParams = z.object({ key: z.string() });

export function addTemplateRoutes(api: Api, { context, log }: ApiServices): void {
  addEndpoint(
    api,
    { method: "get", path: "/templates", tag, summary: "Those that are here", answer: templateListSchema },
    async (c) => c.json((await listTemplates(context, c.get("signal"))).map(toTemplateAnswer)),
  );

  addEndpoint(
    api,
    {
      method: "post",
      path: "/templates",
      tag,
      summary: "Make one now, if there is none",
      body: buildTemplateSchema,
      answer: templateSchema,
      streams: true,
    },
    async (c) => {
      const body = await readBody(c, buildTemplateSchema);
      return await answerWithProgress(c, {
        type: "template",
        status: 200,
        work: async (progress) =>
          toTemplateAnswer(await buildTemplate(context, fromWire<TemplateBuildRequest>(body), progress)),
        onFailure: (error) => log.warn({ err: error, ...body }, "making a template failed"),
      });
    },
  );

  addEndpoint(
    api,
    {
      method: "delete",
      path: "/templates/{key}",
      tag,
      summary: "Remove one that no sandbox stands on",
      params: templateParams,
      answer: removedTemplateSchema,
    },
    async (c) => {
      const key = await removeTemplate(context, c.req.param("key") ?? "", c.get("signal"));
      return c.json({ key, removed: true } satisfies RemovedTemplate);
    },
  );

  addEndpoint(
    api,
    {
      method: "post",
      path: "/templates/prune",
      tag,
      summary: "Remove all that no sandbox stands on",
      answer: prunedSchema,
    },
    async (c) => c.json({ removed: await pruneTemplates(context, c.get("signal")) } satisfies Pruned),
  );
}
