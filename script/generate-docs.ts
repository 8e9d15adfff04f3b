/** Writes docs/reference/openapi.json and errors.md from the sources. `--check` fails when a page is stale. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { createApp, openApiDocument } from "../src/api/app.ts";
import { createImageStore } from "../src/images/index.ts";
import { statePaths } from "../src/config/paths.ts";
import { loadSettings } from "../src/config/settings.ts";
import { type ErrorCode, errorCodes } from "../src/errors/index.ts";
import { openSandboxes } from "../src/sandbox/index.ts";

const meanings: Record<ErrorCode, string> = {
  invalid_argument: "A value cannot be accepted; `details.field` is its name.",
  unauthorized: "The token is missing or wrong, or the request comes from another site's web page.",
  sandbox_not_found: "No sandbox has this id, prefix, slug or name.",
  image_not_found: "No image has this name, path or URL.",
  template_not_found: "No template has this key.",
  shell_not_found: "A client came back to a shell that has ended, or had waited a minute for it.",
  path_not_found: "There is no such file or folder in the guest.",
  route_not_found: "The API has no such route.",
  ambiguous_reference: "Several sandboxes (or templates) fit; `details.ids` (or `details.keys`) names them.",
  name_taken: "The name, slug or port belongs to something else.",
  image_in_use: "A sandbox or a prepared disk stands on the image.",
  template_in_use: "A sandbox stands on the template.",
  wrong_state: "The status does not allow it; the hint says what does.",
  unsupported: "This backend, guest or host cannot do it.",
  settings_invalid:
    "A setting is unknown or has a wrong value; the message has file and line, or the variable.",
  image_invalid: "The file is no image that a machine could boot.",
  image_checksum_mismatch: "The bytes are not the ones that the publisher vouches for.",
  download_failed: "The server did not deliver.",
  backend_unavailable: "The backend cannot run here; the message says why, and which can.",
  backend_failed: "The backend was there and failed.",
  disk_full: "The host's file system has no room left.",
  permission_denied: "This user may not do that on the host.",
  daemon_unavailable: "The daemon cannot be reached, cannot listen, or ended in the middle of the work.",
  guest_unresponsive: "The guest's agent does not answer.",
  guest_misbehaved: "The guest broke the agent's protocol; the session was ended.",
  guest_failed: "An operation failed inside the guest.",
  command_not_startable: "The command could not be started: missing program or folder, no permission.",
  timeout: "It took longer than allowed.",
  aborted: "The caller ended it.",
  internal: "A fault in heyvm itself; please report it, with the daemon's log.",
};

const folder = fileURLToPath(new URL("../docs/reference/", import.meta.url));
const pages = { "openapi.json": await openApiPage(), "errors.md": errorsPage() };
const stale: string[] = [];
await mkdir(folder, { recursive: true });
for (const [name, content] of Object.entries(pages)) {
  const path = join(folder, name);
  if ((await readFile(path, "utf8").catch(() => "")) === content) continue;
  stale.push(`docs/reference/${name}`);
  if (!process.argv.includes("--check")) await writeFile(path, content);
}
if (process.argv.includes("--check") && stale.length > 0) {
  process.stderr.write(
    `stale: ${stale.join(", ")}; write them anew: node --import tsx script/generate-docs.ts\n`,
  );
  process.exitCode = 1;
}

function errorsPage(): string {
  const rows = Object.entries(errorCodes).map(
    ([code, { status, exit, retryable }]) =>
      `| \`${code}\` | ${status} | ${exit} | ${retryable ? "yes" : "no"} | ${meaningOf(code)} |`,
  );
  return [
    "# Errors",
    "",
    "Made from `src/errors/codes.ts` by `script/generate-docs.ts`; don't edit.",
    "",
    "The API answers every error as an RFC 9457 problem document (`application/problem+json`), which also has `error` (the",
    "message), `code`, `hint` (the one command or setting that mends it), `details`, `retryable` and `request_id`. The CLI",
    "prints message and hint and ends with the exit code; `exec`, `run` and `sh` end with the command's own exit code once it has",
    "started, and with 125 when heyvm failed before.",
    "",
    "| code | HTTP status | exit code | may succeed later | meaning |",
    "| --- | --- | --- | --- | --- |",
    ...rows,
    "",
  ].join("\n");
}

function meaningOf(code: string): string {
  return Object.entries(meanings).find(([known]) => known === code)?.[1] ?? "";
}

/** From the real routes, on an empty state folder and without any backend. */
async function openApiPage(): Promise<string> {
  const state = statePaths(await mkdtemp(join(tmpdir(), "heyvm-docs-")));
  try {
    const settings = await loadSettings({ path: state.settings, env: {} });
    const log = { info: () => {}, warn: () => {}, error: () => {} };
    const sandboxes = await openSandboxes({
      state,
      settings: settings.values,
      backends: [],
      images: createImageStore({
        searchFolders: [state.root],
        indexPath: state.imageIndex,
        copyFolder: state.imageCopies,
      }),
      connectAgent: absent,
      log,
    });
    const daemon = { pid: 1, socket_path: state.daemonSocket, version: "", started_at: "" };
    const api = createApp({
      context: sandboxes.context,
      settings,
      daemon,
      onDemand: true,
      activeRequests: () => 0,
      log,
    });
    const document = openApiDocument(api);
    await sandboxes.close();
    return `${JSON.stringify(document, undefined, 2)}\n`;
  } finally {
    await rm(state.root, { recursive: true, force: true });
  }
}

async function absent(): Promise<never> {
  return await Promise.reject(new Error("only the routes' descriptions are wanted"));
}
