/** Which files the names of images stand for. */
import { catalogue } from "./catalogue/catalogue.ts";
import { findFirst } from "./folders.ts";
import { architectures } from "./image.ts";
import type { ImageIndex, NameRecord } from "./index-file.ts";
import { catalogueOrigin, urlOrigin } from "./origin.ts";
import { parseReference } from "./catalogue/reference.ts";
import type { StoreContext } from "./store-context.ts";

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
  for (const { name } of catalogue) {
    for (const architecture of architectures) {
      const origin = catalogueOrigin(context, name, architecture);
      if (origin !== undefined) paths.push((await findFirst(origin.folders, origin.names))?.path);
    }
  }
  return paths.filter((path) => path !== undefined);
}
