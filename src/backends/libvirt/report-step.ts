import type { MachineContext } from "../backend.ts";

/** Tells of the begin and the end of work. */
export async function reportStep<T>(
  onStep: MachineContext["onStep"],
  id: string,
  title: string,
  work: () => Promise<T>,
): Promise<T> {
  onStep({ id, title, state: "started" });
  const result = await work();
  onStep({ id, title, state: "done" });
  return result;
}
