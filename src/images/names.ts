/** Which files the names of images stand for. */
import { findFirst } from "./folders.ts";
import type { NameRecord } from "./index-file.ts";
import { urlOrigin } from "./origin.ts";
import { parseReference } from "./reference.ts";
import type { StoreContext } from "./store-context.ts";

/** The file that a name of the user's stands for now. */
export async function pathOfName(context: StoreContext, named: NameRecord): Promise<string | undefined> {
  const source = parseReference(named.source);
  if (source.kind === "path") return source.path;
  if (source.kind === "name") return undefined;
  const origin = urlOrigin(context, source.url, { reference: named.name, architecture: named.architecture });
  return (await findFirst(origin.folders, origin.names))?.path;
}
