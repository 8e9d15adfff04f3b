/**
 * What a sandbox is, field by field, and what a create may say of it. The names on the wire (`wire-names.ts`), the API's schemas
 * and its OpenAPI document, the record on disk and the SDK's types (`script/generate-sdk-types.ts`) are derived from here.
 */
import { z } from "zod";

import { sandboxTypes, sizeClasses } from "../config/machine-kinds.ts";

const textMap = z.record(z.string(), z.string());
const portNumber = z.int().min(1).max(65_535);

/** A moment, on the wire. */
export const momentShape = z.string().describe("ISO 8601.");

/** A host folder that the guest sees at `sandboxPath`. */
export const mountShape = z.strictObject({
  hostPath: z.string().min(1),
  sandboxPath: z.string().min(1),
  readOnly: z.boolean().default(false),
});

/** A guest port, published on 127.0.0.1 of the host: the same number, or `hostPort`. */
export const openPortShape = z.union([
  portNumber,
  z.strictObject({ guestPort: portNumber, hostPort: portNumber }),
]);

/** What a create may say and is shown as it was said: a new field of that kind is one line here. */
const saidAndShown = {
  description: z.string().min(1).max(4096).optional().describe("What it is for, in words."),
  startCommand: z
    .string()
    .min(1)
    .max(65_536)
    .optional()
    .describe("Shell command line that runs in the background once the sandbox is ready."),
};

/**
 * All is optional: what is absent comes from the daemon's settings. All is kept in the record, except what `resolveSpec` takes out.
 */
export const createShape = z.strictObject({
  name: z.string().optional().describe("Default: made up."),
  slug: z.string().optional().describe("Default: made of the name."),
  type: z.enum(sandboxTypes).optional().describe("Default: `shell`."),
  image: z.string().min(1).optional().describe("`debian:12`, a path or a URL. Default: the setting `image`."),
  backend: z.string().min(1).optional().describe("Default: the setting `backend_type`."),
  uri: z
    .string()
    .min(1)
    .optional()
    .describe("libvirt connection, for the libvirt backend alone. Default: the setting `libvirt.uri`."),
  cpus: z.number().optional(),
  memoryBytes: z.number().optional().describe("Bytes."),
  diskBytes: z.number().optional().describe("Bytes of the guest's disk. Default: the image's own size."),
  sizeClass: z.enum(sizeClasses).optional().describe("CPUs and memory by name."),
  mounts: z.array(mountShape).max(32).optional(),
  ttlSeconds: z
    .int()
    .min(1)
    .max(31_536_000)
    .nullable()
    .optional()
    .describe("How long it lives; `null`: for ever, whatever the settings say."),
  ...saidAndShown,
  workingDirectory: z.string().min(1).optional().describe("Default: `/workspace`."),
  openPorts: z.array(openPortShape).max(64).optional(),
  env: textMap.optional(),
  setupHooks: z
    .array(z.string().min(1).max(65_536))
    .max(64)
    .optional()
    .describe("Shell command lines, run in order before the sandbox is ready."),
  needsNetwork: z.boolean().optional(),
  labels: textMap.optional(),
  clone: z
    .boolean()
    .optional()
    .describe(
      "`false`: its machine boots, also where it could be a clone of a template, or one of the warm pool. Default: `true`.",
    ),
});

/** What a template is for. */
export const templateShape = createShape.pick({
  image: true,
  type: true,
  backend: true,
  uri: true,
  cpus: true,
  memoryBytes: true,
  sizeClass: true,
});

export const sandboxStatuses = ["provisioning", "running", "paused", "stopped", "failed", "unknown"] as const;

/** What a sandbox's machine takes of its host's memory. Clones share their template's. */
export const hostMemoryShape = z.object({
  privateBytes: z.number().describe("What would be free if it ended."),
  proportionalBytes: z.number().describe("With its share of what it has in common with others (PSS)."),
});

/** A sandbox as every answer shows it. */
export const sandboxShape = z.object({
  id: z.string(),
  name: z.string(),
  slug: z.string(),
  status: z.enum(sandboxStatuses),
  type: z.enum(sandboxTypes),
  image: z.string().nullable().describe("As it was asked for; `null` where the backend needs none."),
  backend: z.string(),
  uri: z.string().optional().describe("libvirt connection, for the libvirt backend alone."),
  cpus: z.number(),
  memoryBytes: z.number().describe("Bytes."),
  diskBytes: z.number().nullable().describe("Bytes; `null`: the image's own size."),
  mounts: z.array(mountShape),
  workingDirectory: z.string(),
  ...withoutLimits(saidAndShown),
  env: textMap,
  needsNetwork: z.boolean(),
  ttlSeconds: z.number().nullable().describe("`null`: for ever."),
  createdAt: momentShape,
  startedAt: momentShape.nullable(),
  expiresAt: momentShape.nullable(),
  uptimeSeconds: z.number().nullable().describe("Since the last start; `null` when not running."),
  cpuUsage: z
    .number()
    .nullable()
    .describe(
      "Per cent of its CPUs since the last look; `null` when not known, and when nobody asked for it (`stats`).",
    ),
  memoryUsageBytes: z
    .number()
    .nullable()
    .describe("Bytes used in the guest, as the guest tells; `null` as the use of CPUs is."),
  hostMemory: hostMemoryShape
    .nullable()
    .describe(
      "`null` as the use of CPUs is, and where its machine is off, on another host, or another user's.",
    ),
  openPorts: z.array(openPortShape),
  labels: textMap,
  warnings: z.array(z.string()).describe("What the user should know: software emulation, rounded sizes, …"),
  startMode: z
    .enum(["cloned", "booted"])
    .optional()
    .describe(
      "How the machine came up: as a clone of a template, or by a boot; absent where neither is meant.",
    ),
  startReason: z.string().optional().describe("Why it had to boot, where that is worth knowing."),
  errorMessage: z.string().optional(),
});

export type CreateRequest = z.infer<typeof createShape>;
export type TemplateBuildRequest = z.infer<typeof templateShape>;
export type SandboxDescription = z.infer<typeof sandboxShape>;
export type SandboxStatus = SandboxDescription["status"];

/** As what there is was within the limits of its time, it stays when they change. */
export function withoutLimits<Fields extends z.ZodRawShape>(fields: Fields): Fields {
  const loose: z.ZodRawShape = Object.fromEntries(
    Object.entries(fields).map(([field, held]) => [field, loosened(held)]),
  );
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- limits are no part of a schema's type
  return loose as Fields;
}

function loosened(schema: unknown): z.ZodType {
  if (!(schema instanceof z.ZodType)) throw new TypeError("a field without a schema");
  const words = schema.description;
  const loose = schema.clone({ ...schema.def, checks: [], ...loosenedInside(schema) });
  return words === undefined ? loose : loose.describe(words);
}

function loosenedInside(schema: z.ZodType): object {
  if (schema instanceof z.ZodArray) return { element: loosened(schema.element) };
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodNullable || schema instanceof z.ZodDefault) {
    return { innerType: loosened(schema.unwrap()) };
  }
  return {};
}

const shownFields = Object.keys(sandboxShape.shape);

/** What may be shown of `all`, in the order of the fields, and nothing that is not meant to be. */
export function shownOf(all: SandboxDescription): SandboxDescription {
  const values = new Map(Object.entries(all));
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- fields are left out that the type has not, and no others
  return Object.fromEntries(
    shownFields.flatMap((field) => (values.get(field) === undefined ? [] : [[field, values.get(field)]])),
  ) as SandboxDescription;
}
