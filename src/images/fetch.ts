/** Gets an image from its server into the download folder, once for all who want it. */
import { mkdir } from "node:fs/promises";

import { z } from "zod";

import { lockForProcess } from "../core/process-lock.ts";
import type { Step, WorkContext } from "../core/step.ts";
import { DiskFullError, errnoOf, isDiskFull } from "../errors/index.ts";
import { type Checksum, formatChecksum } from "./catalogue/checksum.ts";
import { download } from "./download/download.ts";
import type { DownloadSubject } from "./download/download-errors.ts";
import { ImageFolderError } from "./errors.ts";
import { findFirst } from "./folders.ts";
import { hashFile } from "./inspect/file-bytes.ts";
import { type Http, openHttp } from "./download/http.ts";
import { stampOfFile } from "./inspect/image-file.ts";
import { putRecord, recordOf, stampText } from "./index-file.ts";
import type { ImageOrigin } from "./origin.ts";
import { place } from "./place.ts";
import { askPublisher, publisherSubject } from "./download/publisher.ts";
import { redactUrl } from "./catalogue/reference.ts";
import {
  downloadKey,
  type ImageAction,
  imageStep,
  partialPathOf,
  type StoreContext,
} from "./store-context.ts";

interface Target {
  fileName: string;
  url: URL;
  subject: DownloadSubject;
  expected: { checksum: Checksum; source: string } | undefined;
}

/**
 * The path of the image. `missing`: another may have brought it meanwhile, and then that is it. `always`: what is here
 * must be what the server has now.
 */
export async function fetchImage(
  context: StoreContext,
  origin: ImageOrigin,
  mode: "missing" | "always",
  { signal, onStep }: WorkContext,
): Promise<string> {
  const key = keyOf(origin);
  const checksum = origin.kind === "url" ? (origin.checksum?.hex ?? "") : "";
  return await context.shared.run(
    `${mode} ${key} ${checksum}`,
    { signal, onNews: onStep },
    async (signal, tell) => {
      try {
        await mkdir(context.downloadFolder, { recursive: true });
        return await fetchLocked(context, origin, mode, { signal, onStep: tell });
      } catch (error) {
        throw folderError(error, context.downloadFolder);
      }
    },
  );
}

async function fetchLocked(
  context: StoreContext,
  origin: ImageOrigin,
  mode: "missing" | "always",
  { signal, onStep }: WorkContext,
): Promise<string> {
  const { reference } = origin;
  const { lock } = await lockForProcess({
    folder: context.downloadFolder,
    name: keyOf(origin),
    what: `the download of ${reference}`,
    signal,
    onState: (state) => onStep(imageStep("wait", reference, measureOfOther(state))),
  });
  const report: Report = (action, doneBytes, totalBytes) => {
    const step = imageStep(action, reference, { doneBytes, totalBytes });
    onStep(step);
    lock.tell(step);
  };
  try {
    const found = await findFirst(origin.folders, origin.names);
    if (mode === "missing" && found !== undefined) return found.path;
    await using http = openHttp(context.timeouts);
    const target = await targetOf(context, origin, { http, signal, report });
    if (found !== undefined && (await isCurrent(context, origin, found.path, { target, signal, report }))) {
      return found.path;
    }
    const partialPath = partialPathOf(context, keyOf(origin));
    const { timeouts, maxUnannouncedBytes } = context;
    const digest = await download({
      ...target,
      partialPath,
      http,
      timeouts,
      maxUnannouncedBytes,
      signal,
      onProgress: report,
    });
    return await place(context, { ...target, partialPath, digest, origin, signal });
  } finally {
    await lock[Symbol.asyncDispose]();
  }
}

type Report = (action: ImageAction, doneBytes?: number, totalBytes?: number) => void;

interface Reporting {
  signal: AbortSignal;
  report: Report;
}

async function targetOf(
  context: StoreContext,
  origin: ImageOrigin,
  { http, signal, report }: Reporting & { http: Http },
): Promise<Target> {
  if (origin.kind === "url") {
    const { url, fileName, checksum } = origin;
    const subject = {
      url: redactUrl(url),
      hint: "check the URL, or download it yourself: heyvm images add NAME FILE",
    };
    const expected = checksum === undefined ? undefined : { checksum, source: "the given checksum" };
    return { fileName, url, subject, expected };
  }
  const { entry, names } = origin;
  const { mirrors, timeouts } = context;
  report("checksum");
  const published = await askPublisher({ entry, names, mirrors, http, timeouts, signal });
  return {
    fileName: published.fileName,
    url: published.url,
    subject: publisherSubject(entry, published.url),
    expected: { checksum: published.checksum, source: published.checksumSource },
  };
}

/** Whether a file that is here has exactly the bytes that the server has. */
async function isCurrent(
  context: StoreContext,
  origin: ImageOrigin,
  path: string,
  { target, signal, report }: Reporting & { target: Target },
): Promise<boolean> {
  const stamp = await stampOfFile(path);
  if (target.expected === undefined || stamp === undefined) return false;
  const { checksum } = target.expected;
  const totalBytes = stamp.sizeBytes;
  const actual = await hashFile(path, checksum.algorithm, {
    signal,
    onProgress: (doneBytes) => report("verify", doneBytes, totalBytes),
  });
  if (actual.hex !== checksum.hex) return false;
  await context.index.change(signal, (index) => {
    if (recordOf(index, path, stamp)?.verified === true) return;
    const { architecture } = origin;
    const digest = formatChecksum(actual);
    putRecord(index, { path, stamp: stampText(stamp), digest, verified: true, architecture });
  });
  return true;
}

function keyOf(origin: ImageOrigin): string {
  return downloadKey(
    origin.kind === "url" ? { urlFileName: origin.fileName } : origin.entry,
    origin.architecture,
  );
}

/** Only numbers are taken from another process. */
function measureOfOther(state: unknown): Pick<Step, "doneBytes" | "totalBytes"> {
  const measure = z.object({ doneBytes: z.number().optional(), totalBytes: z.number().optional() });
  return measure.safeParse(state).data ?? {};
}

function folderError(error: unknown, folder: string): unknown {
  if (isDiskFull(error)) return new DiskFullError("storing an image", folder, error);
  const code = errnoOf(error);
  const isFolders =
    code === "EACCES" || code === "EPERM" || code === "EROFS" || code === "ENOTDIR" || code === "EEXIST";
  return isFolders ? new ImageFolderError(folder, error) : error;
}
