/** Every name of a file under the state folder, once. */
import { homedir } from "node:os";
import { join, resolve } from "node:path";

/** Where heyvm keeps what it has to remember: `MVM_DATA_DIR`, or `~/.heyo`. */
export function stateFolder(env: NodeJS.ProcessEnv = process.env): string {
  const chosen = env["MVM_DATA_DIR"];
  return chosen === undefined || chosen === "" ? join(homedir(), ".heyo") : resolve(chosen);
}

/** The files and folders directly under the state folder. */
export interface StatePaths {
  root: string;
  settings: string;
  /** Its random id, which marks its machines: see `openStateIdentity`. */
  identity: string;
  /** Tells clients where the running daemon is: `{pid, socket_path, version, started_at}`. */
  daemonInfo: string;
  daemonSocket: string;
  daemonLog: string;
  /** The log before this one; older ones are gone. */
  daemonLogPrevious: string;
  /** Bearer token of the TCP listener. */
  apiToken: string;
  sandboxes: string;
  /** Logs of long steps (downloads, prepared disks), told to the user while they run. */
  stepLogs: string;
  /** Names that the user gave to their own images. */
  imageIndex: string;
  /** Copies of images that others could change where they lie. */
  imageCopies: string;
}

/** All paths of one state folder. */
export function statePaths(root: string = stateFolder()): StatePaths {
  return {
    root,
    settings: join(root, "settings.json"),
    identity: join(root, "identity.json"),
    daemonInfo: join(root, "daemon.json"),
    daemonSocket: join(root, "heyvm.sock"),
    daemonLog: join(root, "daemon.log"),
    daemonLogPrevious: join(root, "daemon.log.1"),
    apiToken: join(root, "token"),
    sandboxes: join(root, "sandboxes"),
    stepLogs: join(root, "logs"),
    imageIndex: join(root, "images.json"),
    imageCopies: join(root, "images"),
  };
}

/** The files of one sandbox: `sandboxes/<id>/…`. */
export interface SandboxPaths {
  folder: string;
  record: string;
}

/** All paths of one sandbox. `id` must be a checked id (`sb-` and 8 hex digits). */
export function sandboxPaths(state: StatePaths, id: string): SandboxPaths {
  const folder = join(state.sandboxes, id);
  return { folder, record: join(folder, "record.json") };
}

/** Where images are looked for, in this order; the last is made when missing and receives downloads. */
export function imageSearchFolders(env: NodeJS.ProcessEnv = process.env): readonly string[] {
  const dataHome = env["XDG_DATA_HOME"];
  const userData =
    dataHome === undefined || dataHome === "" ? join(homedir(), ".local", "share") : resolve(dataHome);
  return [
    "/var/lib/libvirt/images",
    "/var/lib/libvirt/boot",
    "/home/libvirt/images",
    join(userData, "libvirt", "images"),
  ];
}
