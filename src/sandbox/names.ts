/** Names and slugs of sandboxes. Names are for people, slugs for host names and URLs; neither can harm a shell or path. */
import { InvalidArgumentError } from "../errors/index.ts";
import { isSandboxId } from "./ids.ts";

const longest = 63;
const namePattern = /^[A-Za-z0-9](?:[A-Za-z0-9 ._-]*[A-Za-z0-9])?$/;
const slugPattern = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/;

/** Throws `invalid_argument` unless `name` may be a sandbox's name. */
export function checkName(name: string): void {
  const fault = nameFault(name);
  if (fault === undefined) return;
  throw new InvalidArgumentError("name", `name ${JSON.stringify(name.slice(0, 80))} ${fault}`, {
    hint: "use 1 to 63 letters, digits, spaces, dots, dashes and underscores, a letter or digit first and last",
  });
}

/** Throws `invalid_argument` unless `slug` may be a sandbox's slug: a host name's label. */
export function checkSlug(slug: string): void {
  if (slug.length <= longest && slugPattern.test(slug) && !isSandboxId(slug)) return;
  throw new InvalidArgumentError(
    "slug",
    `slug ${JSON.stringify(slug.slice(0, 80))} is not a host name's label of 1 to ${longest} characters`,
    { hint: "use lower-case letters, digits and dashes, a letter or digit first and last" },
  );
}

/** The slug that a name gives: `My Box 2` → `my-box-2`. */
export function slugOf(name: string): string {
  const slug = name.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-");
  return slug.replaceAll(/^-+|-+$/g, "").slice(0, longest);
}

/** `slug`, or with the first free number behind it: `box`, `box-2`, `box-3`. */
export function freeSlug(slug: string, isTaken: (slug: string) => boolean): string {
  for (let number = 1; ; number += 1) {
    const suffix = number === 1 ? "" : `-${number}`;
    const candidate = `${slug.slice(0, longest - suffix.length)}${suffix}`;
    if (!isTaken(candidate)) return candidate;
  }
}

function nameFault(name: string): string | undefined {
  if (name === "") return "is empty";
  if (name.length > longest) return `has ${name.length} characters, ${longest} are allowed`;
  if (isSandboxId(name)) return "looks like a sandbox's id";
  if (name.includes("..")) return 'contains ".."';
  if (!namePattern.test(name)) return "has characters that a name cannot have";
  return undefined;
}
