import { z } from "@hono/zod-openapi";

/** An image that is on this host. */
export const imageSchema = z
  .object({
    /** As it is asked for: `debian:12`, or the name it was added under. */
    name: z.string(),
    path: z.string(),
    format: z.enum(["qcow2", "raw"]),
    /** Bytes of the file. */
    size: z.number(),
    /** Bytes of the disk that a guest sees. */
    virtual_size: z.number(),
    fingerprint: z.string(),
    architecture: z.string(),
    /** Whether its bytes were compared with the publisher's checksum, or with the one that was given. */
    verified: z.boolean(),
    /** Whether a sandbox or a prepared disk stands on it. */
    in_use: z.boolean(),
  })
  .openapi("Image");

/** `GET /images`. */
export const imageListSchema = z.array(imageSchema).openapi("ImageList");

/** `GET /images/supported`: what can be had by name. */
export const supportedImageSchema = z
  .object({
    name: z.string(),
    description: z.string(),
    /** Where it comes from, mirror applied. */
    url: z.string(),
    default: z.boolean(),
    /** Where it is on this host already, if so. */
    path: z.string().nullable(),
  })
  .openapi("SupportedImage");

export const supportedImageListSchema = z.array(supportedImageSchema).openapi("SupportedImageList");

/** `POST /images/pull`. */
export const pullImageSchema = z
  .strictObject({ image: z.string().min(1), force: z.boolean().optional() })
  .openapi("PullImage");

/** `POST /images`: `source` is a path on the daemon's host or a URL. */
export const addImageSchema = z
  .strictObject({
    name: z.string().min(1).max(128),
    source: z.string().min(1),
    /** `sha256:…` or `sha512:…` that the source must have. */
    checksum: z.string().optional(),
  })
  .openapi("AddImage");

/** Answer of what removes: prune, image removal. */
export const prunedSchema = z
  .object({
    /** Each says in words what went. */
    removed: z.array(z.string()),
    /** What was kept although nobody here needs it, and what removes it. */
    warnings: z.array(z.string()).optional(),
  })
  .openapi("Pruned");

/** `POST /images/prune` and `POST /prune`. */
export const pruneSchema = z
  .strictObject({
    /** Also what is only a cache: prepared disks, downloaded images that nobody uses. */
    everything: z.boolean().optional(),
  })
  .openapi("Prune");

export type ImageAnswer = z.infer<typeof imageSchema>;
export type SupportedImageAnswer = z.infer<typeof supportedImageSchema>;
export type PullImageRequest = z.infer<typeof pullImageSchema>;
export type AddImageRequest = z.infer<typeof addImageSchema>;
export type Pruned = z.infer<typeof prunedSchema>;
export type PruneRequest = z.infer<typeof pruneSchema>;
