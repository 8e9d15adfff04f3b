import { z } from "@hono/zod-openapi";

/** `GET /sandboxes/:id/files/stat?path=`. */
export const fileStatusSchema = z
  .object({
    path: z.string(),
    type: z.enum(["file", "directory", "symlink", "other"]),
    /** Bytes. */
    size: z.number(),
    /** Permission bits as a number: 420 is `0644`. */
    mode: z.number(),
    uid: z.number(),
    gid: z.number(),
    /** ISO 8601. */
    modified_at: z.string(),
    link_target: z.string().optional(),
  })
  .openapi("FileStatus");

export const directoryEntrySchema = fileStatusSchema.extend({ name: z.string() }).openapi("DirectoryEntry");

/** `GET /sandboxes/:id/files/list?path=`. */
export const directoryListSchema = z
  .object({ path: z.string(), entries: z.array(directoryEntrySchema) })
  .openapi("DirectoryList");

/** `PUT /sandboxes/:id/files?path=`: the body is the content. */
export const fileWrittenSchema = z.object({ path: z.string(), size: z.number() }).openapi("FileWritten");

/** `POST /sandboxes/:id/files/mkdir`. */
export const makeDirectorySchema = z
  .strictObject({
    path: z.string().min(1),
    recursive: z.boolean().optional(),
    /** Permission bits as a number: 493 is `0755`. */
    mode: z.int().min(0).max(0o7777).optional(),
  })
  .openapi("MakeDirectory");

/** `POST /sandboxes/:id/files/rename`. */
export const renameFileSchema = z
  .strictObject({ from: z.string().min(1), to: z.string().min(1) })
  .openapi("RenameFile");

/** Answer of the file operations that have nothing else to say. */
export const fileDoneSchema = z.object({ path: z.string() }).openapi("FileDone");

export type FileStatusAnswer = z.infer<typeof fileStatusSchema>;
export type DirectoryEntryAnswer = z.infer<typeof directoryEntrySchema>;
export type DirectoryList = z.infer<typeof directoryListSchema>;
export type FileWritten = z.infer<typeof fileWrittenSchema>;
export type MakeDirectoryRequest = z.infer<typeof makeDirectorySchema>;
export type RenameFileRequest = z.infer<typeof renameFileSchema>;
export type FileDone = z.infer<typeof fileDoneSchema>;
