/** Resolves one mount as the user and in the mount namespace of this process, and prints the outcome. For tests. */
import { toHeyvmError } from "../../errors/index.ts";
import { resolveMounts } from "../mounts.ts";
import { checkMountsApart } from "../replaceable-mounts.ts";

/** Those that another sandbox may write to come after; the last argument may be a folder that no guest may see. */
const [hostPath = "", readOnly = "", writable = "", ...forbidden] = process.argv.slice(2);
const mounts = writable === "" ? [] : [{ hostPath: writable, guestPath: "/data", readOnly: false }];
const others = [{ name: "other", mounts }];

try {
  const resolved = await resolveMounts([{ hostPath, guestPath: "/data", readOnly: readOnly === "ro" }], {
    forbidden,
    others: () => others,
  });
  checkMountsApart(resolved.mounts, others);
  process.stdout.write(JSON.stringify({ ok: true }));
} catch (error) {
  const { code, message, hint, details } = toHeyvmError(error);
  process.stdout.write(JSON.stringify({ code, message, hint, details }));
}
