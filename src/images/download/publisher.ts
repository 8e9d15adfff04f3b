/** Asks a publisher, or its mirror, which file is current and what checksum it has. */
import { mirrorVariable, publishers } from "../../config/publishers.ts";
import {
  type CatalogueEntry,
  type FileNames,
  type Mirrors,
  namesInListing,
  newestOf,
  publisherUrl,
} from "../catalogue/catalogue.ts";
import { type Checksum, findChecksum } from "../catalogue/checksum.ts";
import { type DownloadSubject, UnexpectedAnswerError } from "./download-errors.ts";
import { isMarkup } from "../inspect/disk-signatures.ts";
import { type Http, withRetries } from "./http.ts";
import { redactUrl } from "../catalogue/reference.ts";
import type { DownloadTimeouts } from "../types.ts";

export interface Publication {
  fileName: string;
  url: URL;
  checksum: Checksum;
  /** Who says what checksum it has. */
  checksumSource: string;
}

export interface PublisherRequest {
  entry: CatalogueEntry;
  names: FileNames;
  mirrors: Mirrors;
  http: Http;
  timeouts: DownloadTimeouts;
  signal: AbortSignal;
}

/** What is current at this moment; never remembered. */
export async function askPublisher(request: PublisherRequest): Promise<Publication> {
  const { entry, names, mirrors } = request;
  const { publisher, folder } = entry;
  const { checksumAlgorithm: algorithm, checksumFile } = publishers[publisher];
  const fileName = names.fileName ?? (await newestInListing(request));
  const url = publisherUrl(publisher, folder + fileName, mirrors);
  const sums = publisherUrl(publisher, folder + checksumFile.replace("*", () => fileName), mirrors);
  const subject = publisherSubject(entry, sums);
  const text = await getText(request, sums, subject);
  const checksum = findChecksum(text, fileName, { algorithm, alone: checksumFile.includes("*") });
  if (checksum === undefined) {
    const what = isMarkup(Buffer.from(text))
      ? "the server answered with a web page"
      : "it has no line for it";
    throw new UnexpectedAnswerError(subject, `no ${algorithm} checksum of ${fileName}: ${what}`);
  }
  return { fileName, url, checksum, checksumSource: redactUrl(sums) };
}

/** What is said when a publisher's server fails. */
export function publisherSubject(entry: CatalogueEntry, url: URL): DownloadSubject {
  return {
    url: redactUrl(url),
    hint: `use a mirror (${mirrorVariable(entry.publisher)}=https://…, or mirrors.${entry.publisher} in the settings), or a file of your own: heyvm images add NAME FILE`,
  };
}

async function newestInListing(request: PublisherRequest): Promise<string> {
  const { entry, names, mirrors } = request;
  const folder = publisherUrl(entry.publisher, entry.folder, mirrors);
  const subject = publisherSubject(entry, folder);
  const newest = newestOf(namesInListing(await getText(request, folder, subject)), names.pattern);
  if (newest === undefined) {
    throw new UnexpectedAnswerError(subject, `the folder's listing has no image of ${entry.name}`);
  }
  return newest;
}

async function getText(request: PublisherRequest, url: URL, subject: DownloadSubject): Promise<string> {
  const { http, timeouts, signal } = request;
  return await withRetries({ timeouts, signal }, async () => await http.text({ url, subject, signal }));
}
