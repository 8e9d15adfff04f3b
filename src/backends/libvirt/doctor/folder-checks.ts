/** The folders where images are looked for: searchable, and the last one writable. */
import { constants, stat } from "node:fs/promises";

import { errnoOf, shellQuoted } from "../../../errors/index.ts";
import type { DoctorCheck } from "../../backend.ts";
import { existingParent, opens } from "./opens.ts";

/** One check a folder; downloads go to the last. */
export async function folderChecks(folders: readonly string[]): Promise<DoctorCheck[]> {
  return Promise.all(
    folders.map((folder, index) => {
      const check = {
        id: `libvirt.image_folder_${index}`,
        title: `Image folder ${folder}`,
        fixable: false,
      };
      return index === folders.length - 1 ? downloadFolder(folder, check) : searchFolder(folder, check);
    }),
  );
}

type Subject = Pick<DoctorCheck, "id" | "title" | "fixable">;

async function searchFolder(folder: string, check: Subject): Promise<DoctorCheck> {
  const problem = await statProblem(folder);
  if (problem === "ENOENT") return { ...check, verdict: "ok", message: "does not exist, which is fine" };
  if (problem === "EACCES") {
    const message = "a folder above it is closed to this user";
    return { ...check, verdict: "warning", message };
  }
  if (await opens(folder, constants.X_OK)) {
    return { ...check, verdict: "ok", message: "may be looked into" };
  }
  // Not for --fix: whoever closed it may have had a reason.
  const remedy = { any: `sudo chmod o+x ${shellQuoted(folder)}` };
  return { ...check, verdict: "warning", message: "this user may not look into it", remedy };
}

async function downloadFolder(folder: string, check: Subject): Promise<DoctorCheck> {
  const mode = constants.W_OK | constants.X_OK;
  if ((await statProblem(folder)) === "ENOENT") {
    const parent = await existingParent(folder);
    if (await opens(parent, mode)) {
      return { ...check, verdict: "ok", message: "will be made when the first image is downloaded" };
    }
    const remedy = { any: `sudo install -d -o "$USER" ${shellQuoted(folder)}` };
    const message = `downloads go here; it is missing, and this user may not write in ${parent}`;
    return { ...check, verdict: "failure", message, remedy };
  }
  if (await opens(folder, mode)) return { ...check, verdict: "ok", message: "downloads go here" };
  const remedy = { any: `sudo chown "$USER" ${shellQuoted(folder)}` };
  const message = "downloads go here, and this user may not write";
  return { ...check, verdict: "failure", message, remedy };
}

async function statProblem(path: string): Promise<string | undefined> {
  return stat(path).then(
    () => undefined,
    (error: unknown) => errnoOf(error) ?? "ENOENT",
  );
}
