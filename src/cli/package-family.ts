import { readFileSync } from "node:fs";

export type PackageFamily = "debian" | "fedora" | "arch";

const families: Readonly<Record<string, PackageFamily>> = {
  debian: "debian",
  ubuntu: "debian",
  fedora: "fedora",
  rhel: "fedora",
  centos: "fedora",
  arch: "arch",
};

/** Whose package manager this machine has, by `/etc/os-release`. */
export function packageFamily(osRelease: string = readOsRelease()): PackageFamily | undefined {
  const field = (name: string): string[] =>
    new RegExp(`^${name}=["']?([^"'\n]*)["']?$`, "m").exec(osRelease)?.[1]?.split(/\s+/) ?? [];
  return [...field("ID"), ...field("ID_LIKE")]
    .map((id) => families[id])
    .find((family) => family !== undefined);
}

function readOsRelease(): string {
  try {
    return readFileSync("/etc/os-release", "utf8");
  } catch {
    return "";
  }
}
