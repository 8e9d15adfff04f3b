/** Whether new sandboxes are clones, and if not, why. */
import type { DoctorCheck } from "../../backend.ts";
import type { LibvirtHost } from "../host.ts";
import { hostArchitecture } from "../acceleration/kvm-check.ts";
import { obstacleToCloning } from "../template/obstacle.ts";

/** What was found out of cloning here. */
export interface CloningRecord {
  /** Where is remembered that QEMU cannot do it. */
  refusalPath: string;
  /** The kinds of which machines boot because their template does not work, with the reasons. */
  doubts: () => Promise<string[]>;
}

/** Without it everything works: machines boot, which takes longer. */
export async function cloningCheck(
  host: LibvirtHost,
  { refusalPath, doubts }: CloningRecord,
  signal: AbortSignal,
): Promise<DoctorCheck> {
  const check = { id: "libvirt.cloning", title: "Sandboxes are cloned", fixable: false };
  const obstacle = await obstacleToCloning(host, hostArchitecture(), refusalPath, signal);
  if (obstacle !== undefined) {
    return { ...check, verdict: "warning", message: `a new sandbox boots: ${obstacle}` };
  }
  const doubted = await doubts();
  if (doubted.length > 0) {
    const message = `these boot, because of their template (heyvm templates build tries again): ${doubted.join("; ")}`;
    return { ...check, verdict: "warning", message };
  }
  const message = "a new sandbox is a clone of a machine that was booted before";
  return { ...check, verdict: "ok", message };
}
