export const architectures = ["x86_64", "aarch64"] as const;

export type Architecture = (typeof architectures)[number];

/** A cloud image that machines can be made from: a verified file on this host that nobody writes to. */
export interface Image {
  /** As the user named it: `debian:12`, a path or a URL. */
  reference: string;
  path: string;
  format: "qcow2" | "raw";
  virtualSizeBytes: number;
  /** Changes whenever the bytes do: `sha256:…`, or size and modification time for a user's own file. */
  fingerprint: string;
  architecture: Architecture;
  /** What its user should know before trusting it. */
  warning?: string | undefined;
}
