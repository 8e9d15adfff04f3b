/** Reads what a client sent, against the schema. Errors name the field and, for an unknown one, the nearest known. */
import { parse } from "node:querystring";

import { z } from "@hono/zod-openapi";

import { decodeQueryText } from "../config/file-names.ts";
import { nearest } from "../config/nearest.ts";
import { AbortedError, InvalidArgumentError } from "../errors/index.ts";
import type { ApiContext } from "./api-env.ts";
import { bodyOf } from "./unread-body.ts";

/** How long a JSON body may be; files go as raw bytes and have no limit. */
const bodyLimitBytes = 16 * 1_048_576;

/** The body of a request; an absent one is `{}`. */
export async function readBody<T extends z.ZodType>(c: ApiContext, schema: T): Promise<z.infer<T>> {
  const text = (await readLimited(c)).toString("utf8");
  return validate(schema, text.trim() === "" ? {} : parseJson(text, "body"));
}

/** The query's parameters, all of them text; the first counts. File names in it need not be UTF-8, so that Hono's reader won't do. */
export function readQuery<T extends z.ZodType>(c: ApiContext, schema: T): z.infer<T> {
  const [, query = ""] = c.req.url.split(/\?(.*)/s, 2);
  const parameters = Object.entries(parse(query, "&", "=", { decodeURIComponent: decodeQueryText }));
  return validate(
    schema,
    Object.fromEntries(parameters.map(([name, value]) => [name, Array.isArray(value) ? value[0] : value])),
  );
}

/** Throws `invalid_argument` for what is not JSON. */
export function parseJson(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new InvalidArgumentError(what, `the ${what} is not valid JSON`, {
      cause: error,
      hint: "send a JSON object",
    });
  }
}

/** Throws `invalid_argument` for the first thing that does not fit. */
export function validate<T extends z.ZodType>(schema: T, value: unknown): z.infer<T> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  // A misspelt field explains the missing one, so it goes first.
  const { issues } = result.error;
  const issue = issues.find(({ code }) => code === "unrecognized_keys") ?? issues[0];
  if (issue === undefined) throw new InvalidArgumentError("body", "the request does not fit the schema");
  throw toError(issue, schema);
}

function toError(issue: z.core.$ZodIssue, schema: z.ZodType): InvalidArgumentError {
  const place = fieldName(issue.path);
  if (issue.code === "unrecognized_keys") {
    const [key = ""] = issue.keys;
    const known = knownKeys(schema, issue.path);
    const suggestion = nearest(key, known);
    return new InvalidArgumentError(
      fieldName([...issue.path, key]),
      `there is no field ${JSON.stringify(key.slice(0, 80))}${place === "" ? "" : ` in ${place}`}`,
      {
        hint:
          suggestion === undefined ? `known fields: ${known.join(", ")}` : `did you mean "${suggestion}"?`,
      },
    );
  }
  const field = place === "" ? "body" : place;
  return new InvalidArgumentError(field, `${field}: ${issue.message}`);
}

/** `["mounts", 0, "host_path"]` → `mounts[0].host_path`. */
function fieldName(path: readonly PropertyKey[]): string {
  return path.reduce<string>((name, part) => {
    if (typeof part === "number") return `${name}[${part}]`;
    return name === "" ? String(part) : `${name}.${String(part)}`;
  }, "");
}

function knownKeys(schema: z.ZodType, path: readonly PropertyKey[]): string[] {
  let current: unknown = schema;
  for (const part of path) {
    current = unwrap(current);
    if (current instanceof z.ZodArray) current = current.element;
    else if (current instanceof z.ZodObject) current = current.shape[String(part)];
  }
  const target = unwrap(current);
  return target instanceof z.ZodObject ? Object.keys(target.shape) : [];
}

function unwrap(schema: unknown): unknown {
  let current = schema;
  while (
    current instanceof z.ZodOptional ||
    current instanceof z.ZodNullable ||
    current instanceof z.ZodDefault
  ) {
    current = current.unwrap();
  }
  return current;
}

async function readLimited(c: ApiContext): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  try {
    for await (const chunk of bodyOf(c.env.incoming)) {
      sizeBytes += chunk.length;
      if (sizeBytes > bodyLimitBytes) {
        throw new InvalidArgumentError("body", `the body is larger than ${bodyLimitBytes} bytes`, {
          hint: "send large contents with PUT /sandboxes/{id}/files",
        });
      }
      chunks.push(chunk);
    }
  } catch (error) {
    if (error instanceof InvalidArgumentError) throw error;
    throw new AbortedError("reading the request", error);
  }
  return Buffer.concat(chunks);
}
