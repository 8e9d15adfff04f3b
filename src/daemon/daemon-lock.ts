import type { StatePaths } from "../config/paths.ts";
import { tryLockForProcess } from "../core/process-lock.ts";
import { ensureStateFolder } from "../config/state-folder.ts";
import { HeyvmError } from "../errors/index.ts";

/** Another daemon owns this state folder. */
export class DaemonRunningError extends HeyvmError {
  constructor(state: StatePaths) {
    super("wrong_state", `another heyvm daemon already serves ${state.root}`, {
      hint: `every heyvm command uses it; its process id is in ${state.daemonInfo}`,
      details: { data_dir: state.root },
    });
  }
}

/** One daemon per state folder: throws `DaemonRunningError` when another process has it. */
export async function lockStateFolder(state: StatePaths): Promise<AsyncDisposable> {
  await ensureStateFolder(state.root);
  const lock = await tryLockForProcess(state.root, "daemon");
  if (lock === undefined) throw new DaemonRunningError(state);
  return lock;
}
