/** One route: its place in the OpenAPI document and its handler, registered together. */
import type { RouteConfig } from "@hono/zod-openapi";
import type { z } from "@hono/zod-openapi";

import type { Api, ApiContext } from "./api-env.ts";
import { problemSchema } from "./schema.ts";

export interface Endpoint {
  method: "get" | "post" | "put" | "delete";
  /** `/sandboxes/{id}`. */
  path: string;
  tag: string;
  summary: string;
  params?: z.ZodObject;
  query?: z.ZodObject;
  body?: z.ZodType;
  /** Raw bytes instead of JSON, in the body or in the answer. */
  rawBody?: boolean;
  status?: number;
  answer?: z.ZodType;
  rawAnswer?: boolean;
  /** With `Accept: application/x-ndjson` the answer is a stream of progress. */
  streams?: boolean;
}

const rawContent = { "application/octet-stream": { schema: { type: "string", format: "binary" } } } as const;

/** Adds the route to the server and to the document. */
export function addEndpoint(
  api: Api,
  endpoint: Endpoint,
  handler: (c: ApiContext) => Promise<Response>,
): void {
  api.openAPIRegistry.registerPath(describe(endpoint));
  api.on(endpoint.method.toUpperCase(), endpoint.path.replaceAll(/\{(\w+)\}/g, ":$1"), handler);
}

function describe(endpoint: Endpoint): RouteConfig {
  const { method, path, tag, summary, status = 200 } = endpoint;
  return {
    method,
    path,
    summary,
    tags: [tag],
    operationId: operationId(method, path),
    request: {
      ...(endpoint.params && { params: endpoint.params }),
      ...(endpoint.query && { query: endpoint.query }),
      ...(endpoint.rawBody && { body: { content: rawContent } }),
      ...(endpoint.body && { body: { content: { "application/json": { schema: endpoint.body } } } }),
    },
    responses: {
      [status]: { description: summary, content: answerContent(endpoint) },
      default: {
        description: "What went wrong",
        content: { "application/problem+json": { schema: problemSchema } },
      },
    },
  };
}

function answerContent(
  endpoint: Endpoint,
): Record<string, { schema: z.ZodType | { type: "string"; format?: string } }> {
  return {
    ...(endpoint.answer && { "application/json": { schema: endpoint.answer } }),
    ...(endpoint.rawAnswer && rawContent),
    ...(endpoint.streams && { "application/x-ndjson": { schema: { type: "string" } } }),
  };
}

/** `post /sandboxes/{id}/start` → `postSandboxesIdStart`. */
function operationId(method: string, path: string): string {
  const words = path.split(/[^A-Za-z0-9]+/).filter((word) => word !== "");
  return method + words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join("");
}
