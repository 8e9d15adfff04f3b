/**
 * Every request and answer of the API, once: validation, the OpenAPI document and the types of server and clients all
 * come from here. Snake case, as on the wire. Clients that only need the types import them with `import type`.
 */
export * from "./schema/sandbox.ts";
export * from "./schema/execute.ts";
export * from "./schema/files.ts";
export * from "./schema/images.ts";
export * from "./schema/templates.ts";
export * from "./schema/system.ts";
export * from "./schema/progress.ts";
