/** What is kept on disk of a sandbox: `sandboxes/<id>/record.json`. */
import { z } from "zod";

import { createShape, sandboxStatuses, withoutLimits } from "./shape.ts";

/** Changes when a daemon of today could not read what one of yesterday wrote. */
export const recordVersion = 1;

const imageSchema = z.object({
  reference: z.string(),
  path: z.string(),
  format: z.enum(["qcow2", "raw"]),
  virtualSizeBytes: z.number(),
  fingerprint: z.string(),
  architecture: z.enum(["x86_64", "aarch64"]),
});

/**
 * What was asked for, and what was made of it. Fields that a later version knows are left out, as are those that say nothing
 * of the sandbox itself.
 */
const specSchema = z
  .object(withoutLimits(createShape.shape))
  .omit({ image: true, sizeClass: true, needsNetwork: true, clone: true })
  .required({
    name: true,
    slug: true,
    type: true,
    backend: true,
    cpus: true,
    memoryBytes: true,
    workingDirectory: true,
    env: true,
    setupHooks: true,
    labels: true,
  })
  .extend({
    /** As the user named it. */
    imageReference: z.string().optional(),
    /** What the reference was at the create; a start needs the same one. */
    image: imageSchema.optional(),
    mounts: z.array(
      z.object({
        hostPath: z.string(),
        guestPath: z.string(),
        readOnly: z.boolean(),
        /** Which folder that was at the last start: `folderIdentity`; absent before the first. */
        folder: z.string().optional(),
      }),
    ),
    network: z.boolean(),
    ttlSeconds: z.number().nullable(),
    openPorts: z.array(z.object({ guestPort: z.number(), hostPort: z.number() })),
  });

export const recordSchema = z.object({
  version: z.literal(recordVersion),
  id: z.string(),
  /** `unknown` is never stored: it is what a sandbox is while its backend cannot be asked. */
  status: z.enum(sandboxStatuses).exclude(["unknown"]),
  /** A removal began: it is tried again when it failed, also by the next daemon. */
  removing: z.boolean(),
  /** A start began: until it has ended, the machine may run without what its user counts on. */
  starting: z.boolean().optional(),
  errorMessage: z.string().optional(),
  spec: specSchema,
  createdAtMs: z.number(),
  startedAtMs: z.number().nullable(),
  expiresAtMs: z.number().nullable(),
  warnings: z.array(z.string()),
  /** What a guest that reboots by itself needs again, and which boot of it has that; absent in records of earlier versions. */
  setUp: z
    .object({
      bootId: z.string(),
      guestMounts: z.array(z.object({ tag: z.string(), guestPath: z.string(), readOnly: z.boolean() })),
    })
    .optional(),
  /** How its machine came up the last time. */
  start: z.object({ how: z.enum(["cloned", "booted"]), reason: z.string().optional() }).optional(),
});

export type GuestSetUp = NonNullable<SandboxRecord["setUp"]>;
export type SandboxSpec = z.infer<typeof specSchema>;
export type SandboxRecord = z.infer<typeof recordSchema>;
export type StoredStatus = SandboxRecord["status"];
