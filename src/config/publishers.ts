/** Whose images can be had by name. URLs, mirrors, their settings and the places of checksums derive from this table. */
export const publishers = {
  debian: { host: "cloud.debian.org", checksumAlgorithm: "sha512", checksumFile: "SHA512SUMS" },
  ubuntu: { host: "cloud-images.ubuntu.com", checksumAlgorithm: "sha256", checksumFile: "SHA256SUMS" },
  alpine: { host: "dl-cdn.alpinelinux.org", checksumAlgorithm: "sha512", checksumFile: "*.sha512" },
} as const satisfies Record<string, PublisherPlaces>;

interface PublisherPlaces {
  /** Speaks HTTPS. */
  host: string;
  checksumAlgorithm: "sha256" | "sha512";
  /** Beside an image; `*` stands for the image's own name, and then the file is about that image alone. */
  checksumFile: string;
}

export type Publisher = keyof typeof publishers;

export const publisherNames: readonly Publisher[] = Object.keys(publishers).filter(isPublisher);

/** The environment variable of a publisher's mirror; the setting is `mirrors.` and its name. */
export function mirrorVariable(publisher: Publisher): string {
  return `HEYVM_MIRROR_${publisher.toUpperCase()}`;
}

function isPublisher(name: string): name is Publisher {
  return Object.hasOwn(publishers, name);
}
