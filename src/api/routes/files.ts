/** Files inside a sandbox, of any size, in flat memory. */
import { pipeline } from "node:stream/promises";

import { RESPONSE_ALREADY_SENT } from "@hono/node-server/utils/response";
import { z } from "@hono/zod-openapi";

import type { AgentFiles } from "../../agent/types.ts";
import { InvalidArgumentError } from "../../errors/index.ts";
import { filesOf, findSandbox } from "../../sandbox/index.ts";
import type { Api, ApiContext } from "../api-env.ts";
import { addEndpoint } from "../endpoint.ts";
import {
  type DirectoryList,
  directoryListSchema,
  type FileDone,
  fileDoneSchema,
  fileStatusSchema,
  type FileWritten,
  fileWrittenSchema,
  makeDirectorySchema,
  renameFileSchema,
} from "../schema.ts";
import type { ApiServices } from "../services.ts";
import { bodyOf } from "../unread-body.ts";
import { readBody, readQuery } from "../validate.ts";
import { toDirectoryEntry, toFileStatus } from "../wire.ts";
import { flag, sandboxParams } from "./parameters.ts";

const path = z
  .string()
  .min(1)
  .max(4096)
  .refine((text) => text.startsWith("/"), "must be an absolute path")
  .refine((text) => !text.includes("\0"), "contains a NUL byte");
const pathQuery = z.strictObject({ path });
const removeQuery = z.strictObject({ path, recursive: flag.optional() });
const writeQuery = z.strictObject({
  path,
  /** Octal, as `chmod` takes it: `0644`. */
  mode: z
    .string()
    .regex(/^[0-7]{1,5}$/, "must be octal, such as 0644")
    .optional(),
  parents: flag.optional(),
  user: z.string().min(1).optional(),
});

export function addFileRoutes(api: Api, { context, log }: ApiServices): void {
  const base = { tag: "files", params: sandboxParams } as const;
  const files = async (c: ApiContext): Promise<AgentFiles> =>
    await filesOf(await findSandbox(context, c.req.param("id") ?? ""), c.get("signal"));

  addEndpoint(
    api,
    {
      ...base,
      method: "get",
      path: "/sandboxes/{id}/files",
      summary: "A file's content",
      query: pathQuery,
      rawAnswer: true,
    },
    async (c) => {
      const query = readQuery(c, pathQuery);
      const signal = c.get("signal");
      const agentFiles = await files(c);
      const status = await agentFiles.stat(query.path, { signal });
      if (status.type === "directory") {
        throw new InvalidArgumentError("path", `${query.path} is a folder, not a file`, {
          hint: "list it with GET /sandboxes/{id}/files/list",
        });
      }
      const content = await agentFiles.read(query.path, { signal });
      const { outgoing } = c.env;
      // No content length: the guest may change the file while it is read.
      outgoing.writeHead(200, {
        "content-type": "application/octet-stream",
        "x-file-mode": status.mode.toString(8),
        "x-request-id": c.get("requestId"),
      });
      try {
        await pipeline(content, outgoing);
      } catch (error) {
        // Too late for a status: the connection is cut, so that the client sees that something is missing.
        outgoing.destroy();
        log.warn({ err: error, request_id: c.get("requestId") }, "download broke off");
      }
      return RESPONSE_ALREADY_SENT;
    },
  );

  addEndpoint(
    api,
    {
      ...base,
      method: "put",
      path: "/sandboxes/{id}/files",
      summary: "Write a file, in one step when all has arrived",
      query: writeQuery,
      rawBody: true,
      answer: fileWrittenSchema,
    },
    async (c) => {
      const query = readQuery(c, writeQuery);
      const agentFiles = await files(c);
      const size = await agentFiles.write(query.path, bodyOf(c.env.incoming), {
        signal: c.get("signal"),
        ...(query.mode !== undefined && { mode: Number.parseInt(query.mode, 8) }),
        ...(query.user !== undefined && { user: query.user }),
        makeParents: query.parents ?? false,
      });
      const written: FileWritten = { path: query.path, size };
      return c.json(written);
    },
  );

  addEndpoint(
    api,
    {
      ...base,
      method: "delete",
      path: "/sandboxes/{id}/files",
      summary: "Remove a file or folder",
      query: removeQuery,
      answer: fileDoneSchema,
    },
    async (c) => {
      const query = readQuery(c, removeQuery);
      const options = { signal: c.get("signal"), recursive: query.recursive ?? false };
      await (await files(c)).remove(query.path, options);
      return c.json({ path: query.path } satisfies FileDone);
    },
  );

  addEndpoint(
    api,
    {
      ...base,
      method: "get",
      path: "/sandboxes/{id}/files/list",
      summary: "What is in a folder",
      query: pathQuery,
      answer: directoryListSchema,
    },
    async (c) => {
      const query = readQuery(c, pathQuery);
      const entries = await (await files(c)).list(query.path, { signal: c.get("signal") });
      return c.json({ path: query.path, entries: entries.map(toDirectoryEntry) } satisfies DirectoryList);
    },
  );

  addEndpoint(
    api,
    {
      ...base,
      method: "get",
      path: "/sandboxes/{id}/files/stat",
      summary: "About one file",
      query: pathQuery,
      answer: fileStatusSchema,
    },
    async (c) => {
      const query = readQuery(c, pathQuery);
      return c.json(toFileStatus(await (await files(c)).stat(query.path, { signal: c.get("signal") })));
    },
  );

  addEndpoint(
    api,
    {
      ...base,
      method: "post",
      path: "/sandboxes/{id}/files/mkdir",
      summary: "Make a folder",
      body: makeDirectorySchema,
      answer: fileDoneSchema,
    },
    async (c) => {
      const body = await readBody(c, makeDirectorySchema);
      await (
        await files(c)
      ).makeDirectory(body.path, {
        signal: c.get("signal"),
        recursive: body.recursive ?? false,
        ...(body.mode !== undefined && { mode: body.mode }),
      });
      return c.json({ path: body.path } satisfies FileDone);
    },
  );

  addEndpoint(
    api,
    {
      ...base,
      method: "post",
      path: "/sandboxes/{id}/files/rename",
      summary: "Rename a file or folder",
      body: renameFileSchema,
      answer: fileDoneSchema,
    },
    async (c) => {
      const body = await readBody(c, renameFileSchema);
      await (await files(c)).rename(body.from, body.to, { signal: c.get("signal") });
      return c.json({ path: body.to } satisfies FileDone);
    },
  );
}
