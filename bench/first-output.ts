/** From `create` to the first byte of a command's output. */
import type { CreateSandboxOptions, Heyvm, OwnedSandbox } from "../src/sdk/index.ts";

/** One way from `create` to the first output. */
export interface FirstOutput {
  /** Still there; the caller removes it. */
  sandbox: OwnedSandbox;
  totalMs: number;
  /** Until `create` answered. */
  createMs: number;
  /** What the daemon reported of its work: a step's title → how long it took. */
  stepsMs: ReadonlyMap<string, number>;
}

/** Of a clone, with the shell type and default size; throws when the sandbox boots instead. */
export async function cloneToFirstOutput(heyvm: Heyvm, image: string): Promise<FirstOutput> {
  const made = await createToFirstOutput(heyvm, { image, backend: "libvirt", type: "shell" });
  const { startMode, startReason } = made.sandbox.info;
  if (startMode === "cloned") return made;
  await made.sandbox.remove();
  throw new Error(`the sandbox was not cloned: ${startReason}`);
}

export async function createToFirstOutput(heyvm: Heyvm, options: CreateSandboxOptions): Promise<FirstOutput> {
  const stepsMs = new Map<string, number>();
  const begunMs = new Map<string, number>();
  const begin = performance.now();
  const sandbox = await heyvm.sandboxes.create(options, {
    onStep: ({ id, title, state, elapsedMs }) => {
      if (state === "started") begunMs.set(id, elapsedMs);
      if (state === "done") stepsMs.set(title, elapsedMs - (begunMs.get(id) ?? 0));
    },
  });
  try {
    const createMs = performance.now() - begin;
    const command = await sandbox.spawn("echo", ["ready"], { stdin: false });
    await new Promise((resolve) => command.stdout.once("data", resolve));
    const totalMs = performance.now() - begin;
    command.stdout.resume();
    await command.exit;
    return { sandbox, totalMs, createMs, stepsMs };
  } catch (error) {
    await sandbox[Symbol.asyncDispose]();
    throw error;
  }
}
