/** What a user may write to name an image, and what it means. */
import { createHash } from "node:crypto";
import { basename, resolve } from "node:path";

import { InvalidArgumentError } from "../../errors/index.ts";

export type ImageReference =
  | { kind: "name"; name: string }
  | { kind: "path"; path: string }
  | { kind: "url"; url: URL };

const maxReferenceLength = 2048;
const namePattern = /^[A-Za-z0-9][A-Za-z0-9._-]*(?::[A-Za-z0-9][A-Za-z0-9._-]*)?$/;
const maxNameLength = 128;
const imageSuffix = /\.(?:qcow2|img|raw)$/i;

/** Throws `invalid_argument` for what can be none of them. */
export function parseReference(text: string): ImageReference {
  const shown = JSON.stringify(text.slice(0, 200));
  if (text === "") throw new InvalidArgumentError("image", "the image must not be empty");
  if (text.length > maxReferenceLength || hasControlCharacter(text)) {
    throw new InvalidArgumentError("image", `${shown} is no image: too long, or with control characters`);
  }
  if (/^[A-Za-z][A-Za-z0-9+.-]*:\/\//.test(text)) return { kind: "url", url: parseImageUrl(text) };
  if (text.includes("/")) return { kind: "path", path: resolve(text) };
  if (!namePattern.test(text) || text.length > maxNameLength) {
    throw new InvalidArgumentError("image", `${shown} is neither a name, a path nor a URL of an image`, {
      hint: "names look like debian:12, paths have a slash (./disk.qcow2); see heyvm images supported",
    });
  }
  return { kind: "name", name: text };
}

/** A name that a user may give to an image. */
export function checkImageName(name: string): string {
  const shown = JSON.stringify(name.slice(0, 200));
  const hint = "use letters, digits, '.', '_', '-' and at most one ':', as in my-debian:12";
  if (!namePattern.test(name) || name.includes("..") || name.length > maxNameLength) {
    throw new InvalidArgumentError("name", `${shown} can't be the name of an image`, { hint });
  }
  if (imageSuffix.test(name)) {
    throw new InvalidArgumentError("name", `${shown} can't be the name of an image: it looks like a file`, {
      hint,
    });
  }
  return name;
}

/** http and https only, and no credentials: they would end up in logs and in the index. */
export function parseImageUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined) {
    throw new InvalidArgumentError("image", `${JSON.stringify(text.slice(0, 200))} is no valid URL`);
  }
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    throw new InvalidArgumentError("image", `images can't be had by ${url.protocol}// (${redactUrl(url)})`, {
      hint: "use an http:// or https:// URL, or the path of a file",
    });
  }
  if (url.username !== "" || url.password !== "") {
    throw new InvalidArgumentError("image", `credentials in a URL are not supported (${redactUrl(url)})`, {
      hint: "download the file yourself, then: heyvm images add NAME FILE",
    });
  }
  url.hash = "";
  return url;
}

/** A URL that may be shown and kept: queries carry tokens. */
export function redactUrl(url: URL): string {
  return `${url.protocol}//${url.host}${url.pathname}${url.search === "" ? "" : "?…"}`;
}

/**
 * The name of a URL's file in the download folder: recognisable, different for different URLs, and never one that an
 * image of the catalogue may have, whatever the URL is.
 */
export function fileNameOfUrl(url: URL): string {
  const last = basename(url.pathname).replaceAll(/[^A-Za-z0-9._-]/g, "_");
  const suffix = imageSuffix.exec(last)?.[0].toLowerCase() ?? ".img";
  const stem =
    last
      .replace(imageSuffix, "")
      .replace(/^[._-]+/, "")
      .slice(0, 80) || "image";
  return `${stem}-url-${createHash("sha256").update(url.href).digest("hex").slice(0, 12)}${suffix}`;
}

function hasControlCharacter(text: string): boolean {
  for (let index = 0; index < text.length; index += 1) {
    const code = text.charCodeAt(index);
    if (code < 0x20 || code === 0x7f) return true;
  }
  return false;
}
