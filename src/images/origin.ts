/** Where an image is to be had, by which names its file is known on this host, and which file that is. */
import {
  catalogue,
  type CatalogueEntry,
  type FileNames,
  findInCatalogue,
  namesOf,
} from "./catalogue/catalogue.ts";
import { type Checksum, parseChecksum } from "./catalogue/checksum.ts";
import { findFirst } from "./folders.ts";
import { type Architecture, architectures } from "./image.ts";
import type { ImageIndex, NameRecord } from "./index-file.ts";
import { fileNameOfUrl, parseReference, redactUrl } from "./catalogue/reference.ts";
import type { StoreContext } from "./store-context.ts";

export type ImageOrigin = {
  reference: string;
  architecture: Architecture;
  /** Where it is looked for. */
  folders: readonly string[];
  names: FileNames;
} & (
  | { kind: "catalogue"; entry: CatalogueEntry }
  | { kind: "url"; url: URL; fileName: string; checksum: Checksum | undefined }
);

/** An entry of the catalogue, for one architecture. */
export function catalogueOrigin(
  context: StoreContext,
  name: string,
  architecture: Architecture,
): ImageOrigin | undefined {
  const entry = findInCatalogue(name);
  if (entry === undefined) return undefined;
  return {
    kind: "catalogue",
    reference: name,
    architecture,
    folders: context.searchFolders,
    names: namesOf(entry.fileName(architecture)),
    entry,
  };
}

/** All that the catalogue has, for every architecture. */
export function catalogueOrigins(context: StoreContext): ImageOrigin[] {
  return catalogue.flatMap(({ name }) =>
    architectures.flatMap((architecture) => catalogueOrigin(context, name, architecture) ?? []),
  );
}

export function urlOrigin(
  context: StoreContext,
  url: URL,
  label: { reference: string; architecture: Architecture },
  checksum?: string,
): ImageOrigin {
  const fileName = fileNameOfUrl(url);
  return {
    kind: "url",
    reference: label.reference.includes("://") ? redactUrl(url) : label.reference,
    architecture: label.architecture,
    folders: [context.downloadFolder],
    names: namesOf(fileName),
    url,
    fileName,
    checksum: checksum === undefined ? undefined : parseChecksum(checksum),
  };
}

/** The file that a name of the user's stands for now. */
export async function pathOfName(context: StoreContext, named: NameRecord): Promise<string | undefined> {
  const source = parseReference(named.source);
  if (source.kind === "path") return source.path;
  if (source.kind === "name") return undefined;
  const origin = urlOrigin(context, source.url, { reference: named.name, architecture: named.architecture });
  return (await findFirst(origin.folders, origin.names))?.path;
}

/** The files of all names beside this one, the catalogue's included. */
export async function otherPaths(
  context: StoreContext,
  index: ImageIndex,
  named: NameRecord,
): Promise<string[]> {
  const paths: (string | undefined)[] = [];
  for (const other of index.names) {
    if (other.name !== named.name) paths.push(await pathOfName(context, other));
  }
  for (const { folders, names } of catalogueOrigins(context)) {
    paths.push((await findFirst(folders, names))?.path);
  }
  return paths.filter((path) => path !== undefined);
}
