/** From what a user wrote to an image that can be used. */
import { nearest } from "../config/nearest.ts";
import { publishers } from "../config/publishers.ts";
import type { WorkContext } from "../core/step.ts";
import { catalogue, type FileNames } from "./catalogue/catalogue.ts";
import { type ChecksumAlgorithm, formatChecksum, parseChecksum } from "./catalogue/checksum.ts";
import { ImageChecksumMismatchError, ImageInvalidError, ImageNotFoundError } from "./errors.ts";
import { fetchImage } from "./fetch.ts";
import { findFirst } from "./folders.ts";
import { hashFile } from "./inspect/file-bytes.ts";
import type { Architecture } from "./image.ts";
import { inspectImageFile, stampOfFile } from "./inspect/image-file.ts";
import { type NameRecord, putRecord, recordOf, stampText } from "./index-file.ts";
import { fileToUse } from "./own-copy.ts";
import { catalogueOrigin, type ImageOrigin, urlOrigin } from "./origin.ts";
import { parseReference, redactUrl } from "./catalogue/reference.ts";
import {
  hostArchitecture,
  type ImageLabel,
  imageStep,
  type StoreContext,
  toStoredImage,
} from "./store-context.ts";
import type { ResolveOptions, StoredImage } from "./types.ts";

export async function resolveImage(
  context: StoreContext,
  reference: string,
  options: ResolveOptions & WorkContext,
): Promise<StoredImage> {
  const parsed = parseReference(reference);
  const architecture = options.architecture ?? hostArchitecture();
  if (parsed.kind === "path") {
    return await resolvePath(context, parsed.path, { ...options, reference, architecture });
  }
  if (parsed.kind === "url") {
    const origin = urlOrigin(context, parsed.url, { reference, architecture });
    return await resolveOrigin(
      context,
      origin,
      { name: redactUrl(parsed.url), reference, architecture },
      options,
    );
  }
  const origin = catalogueOrigin(context, parsed.name, architecture);
  if (origin !== undefined) {
    return await resolveOrigin(context, origin, { name: parsed.name, reference, architecture }, options);
  }
  const named = (await context.index.read()).names.find(({ name }) => name === parsed.name);
  if (named !== undefined) return await resolveNamed(context, named, options);
  const file = await findFirst(context.searchFolders, exactly(parsed.name));
  if (file !== undefined)
    return await resolvePath(context, file.path, { ...options, reference, architecture });
  const names = [...catalogue, ...(await context.index.read()).names].map(({ name }) => name);
  const near = nearest(parsed.name, names);
  throw new ImageNotFoundError(
    reference,
    `the catalogue has ${catalogue.map(({ name }) => name).join(", ")}; no image was added under that name, and no search folder has such a file`,
    near === undefined
      ? undefined
      : `did you mean ${near}? All that can be had by name: heyvm images supported`,
  );
}

/** An image that the user gave a name to. */
export async function resolveNamed(
  context: StoreContext,
  named: NameRecord,
  options: ResolveOptions & WorkContext,
): Promise<StoredImage> {
  const { name, architecture } = named;
  const label = { name, reference: name, architecture };
  const source = parseReference(named.source);
  if (source.kind === "url") {
    const origin = urlOrigin(context, source.url, label, named.checksum);
    return await resolveOrigin(context, origin, label, options);
  }
  if (source.kind === "name") throw new ImageNotFoundError(name, "its source is no file");
  if (named.checksum === undefined) {
    return await resolvePath(context, source.path, { ...options, ...label });
  }
  // What can't be read can't be hashed, and says so better here.
  await inspectImageFile(source.path);
  const { algorithm } = parseChecksum(named.checksum);
  const path = await fileToUse(context, source.path, { ...options, ...label, algorithm });
  const { checksum } = named;
  await verifyFile(context, path, { ...options, ...label, checksum, knownAs: source.path });
  return await toStoredImage(path, await context.index.read(), label);
}

async function resolveOrigin(
  context: StoreContext,
  origin: ImageOrigin,
  label: ImageLabel,
  options: ResolveOptions & WorkContext,
): Promise<StoredImage> {
  const { download = "missing", ...work } = options;
  const found = download === "always" ? undefined : await findFirst(origin.folders, origin.names);
  if (found === undefined && download === "never") {
    throw new ImageNotFoundError(label.reference, "it is not on this host", `heyvm pull ${label.reference}`);
  }
  const mode = download === "always" ? "always" : "missing";
  const there = found?.path ?? (await fetchImage(context, origin, mode, work));
  if (origin.kind === "url" && origin.checksum !== undefined) {
    const checksum = formatChecksum(origin.checksum);
    const { reference, architecture } = origin;
    await verifyFile(context, there, { ...work, reference, architecture, checksum });
  }
  try {
    const { architecture } = label;
    const algorithm = algorithmOf(origin);
    const path = await fileToUse(context, there, {
      ...work,
      reference: origin.reference,
      architecture,
      algorithm,
    });
    const image = await toStoredImage(path, await context.index.read(), label);
    const isUnverified = origin.kind === "catalogue" && !image.verified;
    return isUnverified ? { ...image, warning: neverVerified(label.reference, there) } : image;
  } catch (error) {
    if (!(error instanceof ImageInvalidError)) throw error;
    const hint = `move that file away, or fetch a good one: heyvm pull --force ${label.reference}`;
    throw new ImageInvalidError(there, error.reason, { cause: error, hint });
  }
}

async function resolvePath(
  context: StoreContext,
  path: string,
  options: WorkContext & Omit<ImageLabel, "name"> & Partial<ImageLabel>,
): Promise<StoredImage> {
  const { name = path, reference, architecture } = options;
  const used = await fileToUse(context, path, { ...options, algorithm: "sha256" });
  return await toStoredImage(used, await context.index.read(), { name, reference, architecture });
}

function algorithmOf(origin: ImageOrigin): ChecksumAlgorithm {
  return origin.kind === "catalogue"
    ? publishers[origin.entry.publisher].checksumAlgorithm
    : (origin.checksum?.algorithm ?? "sha256");
}

function neverVerified(reference: string, path: string): string {
  return `the image ${reference} was found at ${path} and never compared with its publisher's checksum: heyvm pull --force ${reference} does that`;
}

/** Compares a file with a checksum once, and again when the file is not the same any more. */
export async function verifyFile(
  context: StoreContext,
  path: string,
  options: WorkContext & {
    reference: string;
    architecture: Architecture;
    checksum: string;
    /** The file that the user gave, when this is a copy. */
    knownAs?: string;
  },
): Promise<void> {
  const { algorithm, hex } = parseChecksum(options.checksum);
  const stamp = await stampOfFile(path);
  if (stamp === undefined) return;
  const record = recordOf(await context.index.read(), path, stamp);
  if (record?.verified === true && record.digest === `${algorithm}:${hex}`) return;
  const { reference, signal, onStep } = options;
  const totalBytes = stamp.sizeBytes;
  const actual = await hashFile(path, algorithm, {
    signal,
    onProgress: (doneBytes) => onStep(imageStep("verify", reference, { doneBytes, totalBytes })),
  });
  if (actual.hex !== hex) {
    const sums = { algorithm, expected: hex, actual: actual.hex, source: "the given checksum" };
    const hint =
      "compare the given checksum with the publisher's, and the file's size with what it should be";
    throw new ImageChecksumMismatchError(options.knownAs ?? path, sums, hint);
  }
  await context.index.change(signal, (index) => {
    const { architecture } = options;
    const digest = formatChecksum(actual);
    const { download, copyOf } = recordOf(index, path, stamp) ?? {};
    putRecord(index, {
      path,
      stamp: stampText(stamp),
      digest,
      verified: true,
      download,
      copyOf,
      architecture,
    });
  });
}

function exactly(fileName: string): FileNames {
  return { fileName, pattern: new RegExp(`^${fileName.replaceAll(".", "\\.")}$`) };
}
