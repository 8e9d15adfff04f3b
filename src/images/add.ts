/** Names of the user's own for images. */
import { resolve } from "node:path";

import type { WorkContext } from "../core/step.ts";
import { findInCatalogue } from "./catalogue/catalogue.ts";
import { formatChecksum, parseChecksum } from "./catalogue/checksum.ts";
import { ImageNameTakenError } from "./errors.ts";
import type { ImageIndex, NameRecord } from "./index-file.ts";
import { checkImageName, parseImageUrl } from "./catalogue/reference.ts";
import { resolveNamed } from "./resolve.ts";
import { hostArchitecture, type StoreContext } from "./store-context.ts";
import type { AddOptions, StoredImage } from "./types.ts";

/** The name is only taken when its image is there and can be used. */
export async function addImage(
  context: StoreContext,
  name: string,
  source: string,
  options: AddOptions & WorkContext,
): Promise<StoredImage> {
  checkImageName(name);
  const named: NameRecord = {
    name,
    source: /^[A-Za-z][A-Za-z0-9+.-]*:\/\//.test(source) ? parseImageUrl(source).href : resolve(source),
    checksum: options.checksum === undefined ? undefined : formatChecksum(parseChecksum(options.checksum)),
    architecture: options.architecture ?? hostArchitecture(),
  };
  refuseTaken(await context.index.read(), named);
  const image = await resolveNamed(context, named, options);
  await context.index.change(options.signal, (index) => {
    refuseTaken(index, named);
    index.names = [...index.names.filter((other) => other.name !== name), named];
  });
  return image;
}

/** Giving the same name to the same thing again is no conflict. */
function refuseTaken(index: ImageIndex, named: NameRecord): void {
  if (findInCatalogue(named.name) !== undefined) throw new ImageNameTakenError(named.name, "the catalogue");
  const other = index.names.find(({ name }) => name === named.name);
  if (other !== undefined && other.source !== named.source) {
    throw new ImageNameTakenError(named.name, other.source.includes("://") ? "another URL" : other.source);
  }
}
