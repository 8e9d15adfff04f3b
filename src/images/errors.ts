/** Each way in which getting an image fails, with what mends it. */
import { HeyvmError, messageOf, shellQuoted } from "../errors/index.ts";

/** No name, file or URL answers to the reference. */
export class ImageNotFoundError extends HeyvmError {
  constructor(reference: string, reason: string, hint = "heyvm images supported") {
    super("image_not_found", `image ${JSON.stringify(reference)} not found: ${reason}`, {
      hint,
      details: { image: reference },
    });
  }
}

/** A file that cannot be used as an image. */
export class ImageInvalidError extends HeyvmError {
  readonly reason: string;

  constructor(path: string, reason: string, context: { hint?: string; cause?: unknown } = {}) {
    super("image_invalid", `${path} can't be used as an image: ${reason}`, {
      hint: context.hint ?? `look at it: qemu-img info ${shellQuoted(path)}`,
      details: { path, reason },
      cause: context.cause,
    });
    this.reason = reason;
  }
}

/** A sandbox or a prepared disk stands on the image. */
export class ImageInUseError extends HeyvmError {
  constructor(reference: string, path: string) {
    super("image_in_use", `image ${reference} (${path}) is in use by a sandbox or a prepared disk`, {
      hint: "remove those first: heyvm list --all, then heyvm rm ID and heyvm prune",
      details: { image: reference, path },
    });
  }
}

export class ImageNameTakenError extends HeyvmError {
  constructor(name: string, by: string) {
    super("name_taken", `the image name ${name} is taken by ${by}`, {
      hint: `choose another name, or free it: heyvm images rm ${name}`,
      details: { name },
    });
  }
}

/** The file of names and origins is not what heyvm wrote. */
export class ImageIndexDamagedError extends HeyvmError {
  constructor(path: string, cause: unknown) {
    super("internal", `the index of images ${path} is damaged`, {
      hint: `move it away; names given to images are then forgotten: mv ${shellQuoted(path)} ${shellQuoted(`${path}.bad`)}`,
      details: { path },
      cause,
    });
  }
}

/** The bytes are not those that the publisher, or the user, gave the checksum of. */
export class ImageChecksumMismatchError extends HeyvmError {
  constructor(
    what: string,
    sums: { algorithm: string; expected: string; actual: string; source: string },
    hint = "try again; if it stays so, the server or something on the way changes files: use another mirror",
  ) {
    const { algorithm, expected, actual, source } = sums;
    super(
      "image_checksum_mismatch",
      `${what} has the wrong checksum: ${algorithm} ${actual}, but ${source} says ${expected}`,
      {
        hint,
        details: { algorithm, expected, actual, source },
      },
    );
  }
}

/** The folder that receives downloads can't be written to. */
export class ImageFolderError extends HeyvmError {
  constructor(folder: string, cause: unknown) {
    super("permission_denied", `images can't be stored in ${folder}: ${messageOf(cause)}`, {
      hint: `make it yours, or choose another last folder (HEYVM_IMAGE_FOLDERS, image_folders in the settings)`,
      details: { path: folder },
      cause,
    });
  }
}
