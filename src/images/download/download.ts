/** Downloads one file into a partial file beside its later place, going on where an earlier attempt ended. */
import { readFile, statfs } from "node:fs/promises";
import { dirname } from "node:path";

import { timeoutSignal } from "../../core/deadline.ts";
import { formatSize } from "../../config/size.ts";
import { AbortedError, DiskFullError, HeyvmError } from "../../errors/index.ts";
import { type Checksum, formatChecksum } from "../catalogue/checksum.ts";
import { isMarkup } from "../inspect/disk-signatures.ts";
import {
  type DownloadSubject,
  OversizedAnswerError,
  ServerSilentError,
  TruncatedAnswerError,
  UnexpectedAnswerError,
} from "./download-errors.ts";
import { ImageChecksumMismatchError } from "../errors.ts";
import {
  checkEncoding,
  connectionError,
  discard,
  type Http,
  type HttpAnswer,
  lengthOf,
  parseContentRange,
  withRetries,
} from "./http.ts";
import {
  openPartial,
  type PartialFile,
  type PartialOrigin,
  rangeHeaders,
  validatorOf,
} from "./partial-file.ts";
import type { DownloadTimeouts } from "../types.ts";

export interface Download {
  url: URL;
  subject: DownloadSubject;
  /** What it must have, and who says so. */
  expected: { checksum: Checksum; source: string } | undefined;
  partialPath: string;
  http: Http;
  timeouts: DownloadTimeouts;
  /** Where the server does not announce how many there are. */
  maxUnannouncedBytes: number;
  signal: AbortSignal;
  onProgress: (action: "download" | "verify", doneBytes: number, totalBytes?: number) => void;
}

const progressEveryMs = 100;

/**
 * Leaves the whole, verified file at `partialPath`, and returns its digest. When it fails, what came stays there for
 * the next attempt if that can use it: after a broken connection or an abort, not after a wrong answer or a full disk.
 */
export async function download(options: Download): Promise<Checksum> {
  const deadline = timeoutSignal(options.timeouts.totalMs);
  const signal = AbortSignal.any([options.signal, deadline]);
  const work = { ...options, signal };
  await using partial = await openPartial(
    options.partialPath,
    options.expected?.checksum.algorithm ?? "sha256",
  );
  try {
    const resumed = await prepareResume(partial, work);
    try {
      return await transferAndVerify(partial, work);
    } catch (error) {
      // The beginning may have been another build's, or damaged: that is no fault of the server.
      if (!resumed || !(error instanceof ImageChecksumMismatchError)) throw error;
      await partial.restart();
      return await transferAndVerify(partial, work);
    }
  } catch (error) {
    const ours = inOurTerms(error, options, deadline);
    if (!isResumable(ours)) await removeContent(partial);
    throw ours;
  }
}

/** Whether bytes that are there will be used. */
async function prepareResume(partial: PartialFile, work: Download): Promise<boolean> {
  if (partial.sizeBytes === 0) return false;
  const { origin, sizeBytes } = partial;
  if (origin === undefined || !(await isSameFile(origin, work))) {
    await partial.restart();
    return false;
  }
  const totalBytes = origin.totalBytes;
  await partial.hashExisting(
    throttled((doneBytes) => work.onProgress("verify", doneBytes, sizeBytes)),
    work.signal,
  );
  if (totalBytes !== undefined && sizeBytes > totalBytes) await partial.restart();
  return true;
}

async function isSameFile(origin: PartialOrigin, { url, expected }: Download): Promise<boolean> {
  if (origin.url !== url.href || origin.checksum !== checksumText(expected)) return false;
  // The checksum will tell whether the bytes fit.
  if (expected !== undefined) return true;
  // Without one the server must be able to say so, and no power cut may have eaten bytes that were not yet on disk.
  return validatorOf(origin) !== undefined && origin.bootId === (await bootId());
}

async function transferAndVerify(partial: PartialFile, work: Download): Promise<Checksum> {
  await transfer(partial, work);
  const actual = await partial.complete();
  const { expected } = work;
  if (expected !== undefined && actual.hex !== expected.checksum.hex) {
    throw new ImageChecksumMismatchError(work.subject.url, {
      algorithm: actual.algorithm,
      expected: expected.checksum.hex,
      actual: actual.hex,
      source: expected.source,
    });
  }
  return actual;
}

async function transfer(partial: PartialFile, work: Download): Promise<void> {
  let before = { sizeBytes: partial.sizeBytes, restarts: partial.restarts };
  await withRetries(
    {
      timeouts: work.timeouts,
      signal: work.signal,
      // Who has to begin anew each time may get a little farther each time, and never to the end.
      progressed: () => partial.sizeBytes > before.sizeBytes && partial.restarts === before.restarts,
    },
    async () => {
      before = { sizeBytes: partial.sizeBytes, restarts: partial.restarts };
      if (partial.sizeBytes > 0 && partial.sizeBytes === partial.origin?.totalBytes) return;
      await receive(partial, work);
    },
  );
}

/** One request, and its answer to the end. */
async function receive(partial: PartialFile, work: Download): Promise<void> {
  const { subject, http, url, signal, timeouts } = work;
  const answer = await http.get({ url, subject, signal, headers: rangeHeaders(partial), accept: [206, 416] });
  const { body, header } = answer;
  try {
    const announced = await begin(partial, work, answer);
    if (announced === "again") return await receive(partial, work);
    const { totalBytes, endBytes } = announced;
    const limitBytes = endBytes ?? work.maxUnannouncedBytes;
    const report = throttled((doneBytes) => work.onProgress("download", doneBytes, totalBytes));
    report(partial.sizeBytes, true);
    for await (const chunk of body) {
      // A body without an encoding yields buffers.
      if (!Buffer.isBuffer(chunk)) continue;
      if (partial.sizeBytes === 0) refuseMarkup(chunk, header("content-type"), subject);
      if (partial.sizeBytes + chunk.length > limitBytes) {
        throw new OversizedAnswerError(subject, endBytes !== undefined, limitBytes);
      }
      await partial.append(chunk);
      report(partial.sizeBytes);
    }
    if (partial.sizeBytes === 0) throw new UnexpectedAnswerError(subject, "the file is empty");
    if (totalBytes !== undefined && partial.sizeBytes !== totalBytes) {
      throw new TruncatedAnswerError(subject, partial.sizeBytes, totalBytes);
    }
    report(partial.sizeBytes, true);
  } catch (error) {
    discard(body);
    throw connectionError(error, subject, signal, timeouts);
  }
}

interface Announced {
  /** The size of the whole file. */
  totalBytes: number | undefined;
  /** Where in the file this answer ends. */
  endBytes: number | undefined;
}

/** Fits the partial file to the answer; `again`: the server cannot go on there, and has to be asked from the start. */
async function begin(partial: PartialFile, work: Download, answer: HttpAnswer): Promise<Announced | "again"> {
  const { subject, url, expected } = work;
  const { status, header, body } = answer;
  checkEncoding(header("content-encoding"), subject, body);
  const range = status === 206 ? parseContentRange(header("content-range")) : undefined;
  const fits =
    range?.start === partial.sizeBytes &&
    (partial.origin?.totalBytes === undefined || range.totalBytes === partial.origin.totalBytes);
  if (status === 416 || (status === 206 && !fits)) {
    if (partial.sizeBytes === 0) throw new UnexpectedAnswerError(subject, `it answered ${status} unasked`);
    discard(body);
    await partial.restart();
    return "again";
  }
  if (status === 200 && partial.sizeBytes > 0) await partial.restart();
  const totalBytes = range === undefined ? lengthOf(header("content-length")) : range.totalBytes;
  if (totalBytes !== undefined) await ensureRoom(partial, totalBytes);
  await partial.describe({
    version: 1,
    url: url.href,
    etag: header("etag"),
    lastModified: header("last-modified"),
    totalBytes,
    checksum: checksumText(expected),
    bootId: await bootId(),
  });
  return { totalBytes, endBytes: range === undefined ? totalBytes : range.endBytes };
}

async function ensureRoom(partial: PartialFile, totalBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(dirname(partial.path));
  const neededBytes = totalBytes - partial.sizeBytes;
  if (neededBytes <= bavail * bsize) return;
  const sizes = `${formatSize(neededBytes)} needed, ${formatSize(bavail * bsize)} free`;
  throw new DiskFullError(`downloading an image (${sizes})`, partial.path);
}

function refuseMarkup(chunk: Buffer, contentType: string | undefined, subject: DownloadSubject): void {
  if (contentType?.startsWith("text/html") !== true && !isMarkup(chunk)) return;
  throw new UnexpectedAnswerError(
    subject,
    "the server answered with a web page (a login page or a proxy's?) instead of an image",
  );
}

function inOurTerms(error: unknown, options: Download, deadline: AbortSignal): unknown {
  const { signal, subject, timeouts } = options;
  if (signal.aborted) return new AbortedError(`the download of ${subject.url}`, signal.reason);
  if (deadline.aborted) {
    return new ServerSilentError(subject, `it took longer than ${timeouts.totalMs} ms`, error);
  }
  return error;
}

function isResumable(error: unknown): boolean {
  if (error instanceof AbortedError) return true;
  return error instanceof HeyvmError && error.code === "download_failed" && isTemporary(error);
}

function isTemporary(error: HeyvmError): boolean {
  return "temporary" in error && error.temporary === true;
}

/** Empty, it goes when it is closed. */
async function removeContent(partial: PartialFile): Promise<void> {
  await partial.restart();
  await partial.remove();
}

function checksumText(expected: Download["expected"]): string | undefined {
  return expected === undefined ? undefined : formatChecksum(expected.checksum);
}

/** Not more often than anybody looks; `force` for the first and the last. */
function throttled(report: (doneBytes: number) => void): (doneBytes: number, force?: boolean) => void {
  let lastMs = Number.NEGATIVE_INFINITY;
  return (doneBytes, force = false) => {
    const nowMs = performance.now();
    if (!force && nowMs - lastMs < progressEveryMs) return;
    if (!force) lastMs = nowMs;
    report(doneBytes);
  };
}

async function bootId(): Promise<string> {
  try {
    return (await readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim();
  } catch {
    return "";
  }
}
