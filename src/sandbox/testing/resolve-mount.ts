/** Resolves one mount as the user that this process is, and prints the outcome. For tests, as another user. */
import { toHeyvmError } from "../../errors/index.ts";
import { resolveMounts } from "../mounts.ts";

const [hostPath = "", readOnly = ""] = process.argv.slice(2);

try {
  await resolveMounts([{ hostPath, guestPath: "/data", readOnly: readOnly === "ro" }], {
    forbidden: [],
    others: () => [],
  });
  process.stdout.write(JSON.stringify({ ok: true }));
} catch (error) {
  const { code, message, hint, details } = toHeyvmError(error);
  process.stdout.write(JSON.stringify({ code, message, hint, details }));
}
