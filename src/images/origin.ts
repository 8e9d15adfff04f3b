/** Where an image is to be had, and by which names its file is known on this host. */
import { type CatalogueEntry, type FileNames, findInCatalogue, namesOf } from "./catalogue/catalogue.ts";
import { type Checksum, parseChecksum } from "./catalogue/checksum.ts";
import type { Architecture } from "./image.ts";
import { fileNameOfUrl, redactUrl } from "./catalogue/reference.ts";
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
