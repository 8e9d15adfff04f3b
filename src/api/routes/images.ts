/** Cloud images on this host. */
import { z } from "@hono/zod-openapi";

import type { Api } from "../api-env.ts";
import { addEndpoint } from "../endpoint.ts";
import { answerWithProgress } from "../progress-answer.ts";
import {
  addImageSchema,
  imageListSchema,
  imageSchema,
  prunedSchema,
  pruneSchema,
  pullImageSchema,
  type Pruned,
  type SupportedImageAnswer,
  supportedImageListSchema,
} from "../schema.ts";
import type { ImageUse } from "../../images/index.ts";
import { askImageUse } from "../../sandbox/index.ts";
import type { ApiServices } from "../services.ts";
import { readBody } from "../validate.ts";
import { toImageAnswer } from "../wire.ts";

const tag = "images";
const imageParams = z.object({ name: z.string() });

export function addImageRoutes(api: Api, { context, log }: ApiServices): void {
  const { images, imageHolds, settings } = context;
  const inUse = async (signal: AbortSignal): Promise<Set<string>> =>
    (await askImageUse(context, signal)).inUse;

  /** Runs a removal that is told what may not go. Nobody takes an image meanwhile. */
  const whileUnused = async <T>(signal: AbortSignal, remove: (use: ImageUse) => Promise<T>): Promise<T> =>
    await imageHolds.whileRemoving(signal, async (held) => {
      const { inUse, unknown } = await askImageUse(context, signal);
      return await remove({ inUse: new Set([...held, ...inUse]), unknown });
    });

  addEndpoint(
    api,
    { method: "get", path: "/images", tag, summary: "Those that are here", answer: imageListSchema },
    async (c) => {
      const used = await inUse(c.get("signal"));
      return c.json((await images.list(c.get("signal"))).map((image) => toImageAnswer(image, used)));
    },
  );

  addEndpoint(
    api,
    {
      method: "get",
      path: "/images/supported",
      tag,
      summary: "Those that can be had by name",
      answer: supportedImageListSchema,
    },
    async (c) => {
      const supported = await images.supported(c.get("signal"));
      return c.json(
        supported.map(({ name, description, url, path }): SupportedImageAnswer => ({
          name,
          description,
          url,
          default: name === settings.image,
          path: path ?? null,
        })),
      );
    },
  );

  addEndpoint(
    api,
    {
      method: "post",
      path: "/images/pull",
      tag,
      summary: "Download and verify an image",
      body: pullImageSchema,
      answer: imageSchema,
      streams: true,
    },
    async (c) => {
      const { image, force = false } = await readBody(c, pullImageSchema);
      return await answerWithProgress(c, {
        type: "image",
        status: 200,
        work: async (progress) => {
          const download = force ? "always" : "missing";
          const pulled = await images.resolve(image, { ...progress, download });
          return toImageAnswer(pulled, await inUse(progress.signal));
        },
        onFailure: (error) => log.warn({ err: error, image }, "pull failed"),
      });
    },
  );

  addEndpoint(
    api,
    {
      method: "post",
      path: "/images",
      tag,
      summary: "Give a name to an image of your own",
      body: addImageSchema,
      status: 201,
      answer: imageSchema,
      streams: true,
    },
    async (c) => {
      const { name, source, checksum } = await readBody(c, addImageSchema);
      return await answerWithProgress(c, {
        type: "image",
        status: 201,
        work: async (progress) =>
          toImageAnswer(
            await images.add(name, source, { ...progress, checksum }),
            await inUse(progress.signal),
          ),
        onFailure: (error) => log.warn({ err: error, name }, "adding an image failed"),
      });
    },
  );

  addEndpoint(
    api,
    {
      method: "delete",
      path: "/images/{name}",
      tag,
      summary: "Remove an image that nobody uses",
      params: imageParams,
      answer: prunedSchema,
    },
    async (c) => {
      const signal = c.get("signal");
      const name = c.req.param("name") ?? "";
      const removed = await whileUnused(signal, async (use) => await images.remove(name, { ...use, signal }));
      return c.json({ removed } satisfies Pruned);
    },
  );

  addEndpoint(
    api,
    {
      method: "post",
      path: "/images/prune",
      tag,
      summary: "Remove what no sandbox needs",
      body: pruneSchema,
      answer: prunedSchema,
    },
    async (c) => {
      const { everything = false } = await readBody(c, pruneSchema);
      const signal = c.get("signal");
      const removed = await whileUnused(
        signal,
        async (use) => await images.prune({ ...use, everything, signal }),
      );
      return c.json({ removed } satisfies Pruned);
    },
  );
}
