import { existsSync } from "node:fs";
import { join } from "node:path";

import type { Doctor } from "../../api/schema.ts";

/** What the doctor finds on a host that lacks two files in a folder; its remedies make them. */
export function patient(folder: string): Doctor {
  const checks = ["first", "second"].map((name) => {
    const path = join(folder, name);
    const common = { id: `test.${name}`, backend: "libvirt", title: `The ${name} file` };
    return existsSync(path)
      ? { ...common, verdict: "ok" as const, message: "there", fixable: false }
      : {
          ...common,
          verdict: "failure" as const,
          message: "missing",
          remedy: { any: `touch ${path}` },
          fixable: true,
        };
  });
  return { verdict: checks.every(({ verdict }) => verdict === "ok") ? "ok" : "failure", checks };
}
