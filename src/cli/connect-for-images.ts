import { stat } from "node:fs/promises";

import { statePaths } from "../config/paths.ts";
import type { Heyvm } from "../sdk/index.ts";
import type { Invocation } from "./invocation.ts";

/** Settings that only the daemon uses, and reads when it starts. */
const settingsOfDaemon = /^(mirrors|templates|pool)\.|^image_folders$/;
const variables = /^HEYVM_(MIRROR_|TEMPLATES_|POOL_|IMAGE_FOLDERS$)/;

/** Connects for work with images and what is made from them; tells of settings for them that the daemon has not, because it runs already. */
export async function connectForImages(invocation: Invocation): Promise<Heyvm> {
  const heyvm = await invocation.connect();
  const { signal } = invocation;
  const { settings: path } = statePaths();
  const isSet = Object.keys(process.env).some((name) => variables.test(name));
  const changed = await timeOfChange(path);
  if (!isSet && changed === undefined) return heyvm;
  const { pid, started_at: startedAt } = await heyvm.health({ signal });
  if (!isSet && changed !== undefined && changed <= new Date(startedAt)) return heyvm;
  const { loadSettings } = await import("../config/settings.ts");
  const [{ entries }, inForce] = await Promise.all([loadSettings({ path }), heyvm.config({ signal })]);
  const unknown = entries.filter(({ key, value, source }) => {
    if (source === "default" || !settingsOfDaemon.test(key)) return false;
    const theirs = inForce.settings.find((setting) => setting.key === key)?.value;
    return JSON.stringify(theirs) !== JSON.stringify(value);
  });
  if (unknown.length > 0) {
    const origins = unknown.map(({ key, origin }) => (origin === undefined ? key : `${key} (${origin})`));
    invocation.note(
      `${invocation.errorStyle.yellow("note:")} the daemon has run since before ${origins.join(", ")} was set, and does ` +
        `not use it; the next command starts one that does after: kill ${pid}`,
    );
  }
  return heyvm;
}

/** `undefined` for a file that is not there. */
async function timeOfChange(path: string): Promise<Date | undefined> {
  return await stat(path).then(
    ({ mtime }) => mtime,
    () => undefined,
  );
}
