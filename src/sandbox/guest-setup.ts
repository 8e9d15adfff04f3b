/** What a guest needs after its machine started and before anyone may use it. */
import { inStep } from "../core/step.ts";
import { type AgentSession, runToEnd } from "../agent/index.ts";
import type { GuestMount, StartedMachine } from "../backends/backend.ts";
import { waitForNetwork } from "../backends/guest/default-route.ts";
import { HeyvmError } from "../errors/index.ts";
import type { SandboxContext } from "./context.ts";
import { trustMountedRepositories } from "./git-trust.ts";
import { identifyNew, identifyRestarted, isReachableBySsh, makeHostKeys } from "./guest-identity.ts";
import type { Progress } from "./progress.ts";
import { outermostFirst } from "./nested-mounts.ts";
import { publishPorts } from "./ports.ts";
import type { SandboxSpec } from "./record.ts";
import type { LiveSandbox } from "./registry.ts";
import { startLogPaths } from "./logs.ts";
import { waitForAgent } from "./wait-for-agent.ts";

const shell = "/bin/sh";
/** The guest works on what its user wants first; nobody can connect to its ssh server yet. */
const firstCommandMs = 2000;
/** A hook may install packages under emulation. */
const hookTimeoutMs = 1_800_000;
const hookOutputBytes = 4096;

/** A setup hook ended with something else than 0. */
export class SetupHookError extends HeyvmError {
  constructor(hook: string, ending: string, output: string) {
    const tail = output.trim().split("\n").slice(-5).join("\n");
    super("guest_failed", `setup hook ${JSON.stringify(hook)} ${ending}${tail === "" ? "" : `:\n${tail}`}`, {
      hint: "try the command in a sandbox without hooks: heyvm run -- sh -c '…'",
      details: { hook, output },
    });
  }
}

/** What a guest needs whatever it is used for: identity, mounts, working directory. Its network may take longer. */
export async function prepareGuest(
  context: SandboxContext,
  sandbox: LiveSandbox,
  started: StartedMachine,
  progress: Progress,
  isNew: boolean,
): Promise<AgentSession> {
  const { signal } = progress;
  const { spec } = sandbox.record;
  const agent = await inStep(
    progress,
    { id: "agent", title: "Waiting for the guest" },
    async () => await waitForAgent(context, sandbox, signal),
  );
  await inStep(progress, { id: "guest", title: "Setting up the guest" }, async () => {
    const isClone = started.start.how === "cloned";
    const identifying = isNew
      ? identifyNew(agent, spec.slug, { isClone }, { signal })
      : identifyRestarted(agent, spec.slug, progress);
    // The agent works on them in this order, and need not wait for us between the two.
    await Promise.all([identifying, equipGuest(agent, spec, started.guestMounts, signal)]);
    if (spec.mounts.length > 0) await trustMountedRepositories(agent, progress);
  });
  return agent;
}

/** Last of all, and only warns: a guest without a route is of use, too. */
export async function awaitNetwork(
  { record: { spec } }: LiveSandbox,
  agent: AgentSession,
  progress: Progress,
): Promise<void> {
  if (!spec.network) return;
  const title = "Waiting for the guest's network";
  const wait = async (): Promise<boolean> => await waitForNetwork(agent, progress.signal);
  const isUp = await inStep(progress, { id: "network", title }, wait);
  if (!isUp) progress.onWarning("the guest has no route yet: its network may not work");
}

/** Behind the create of a new sandbox. */
export function makeHostKeysLater(context: SandboxContext, sandbox: LiveSandbox, agent: AgentSession): void {
  const afterMs = isReachableBySsh(sandbox.record.spec) ? 0 : firstCommandMs;
  void makeHostKeys(context, sandbox, agent, { afterMs });
}

/** Begins what was asked for: setup hooks (of a new sandbox), ports, start command. */
export async function putToUse(
  sandbox: LiveSandbox,
  agent: AgentSession,
  progress: Progress,
  isNew: boolean,
): Promise<void> {
  const { signal } = progress;
  const { spec } = sandbox.record;
  if (isNew) {
    for (const [index, hook] of spec.setupHooks.entries()) {
      const title = `Running setup hook ${index + 1} of ${spec.setupHooks.length}`;
      await inStep(progress, { id: `hook-${index + 1}`, title }, async () => {
        await runHook(agent, sandbox, hook, signal);
      });
    }
  }
  sandbox.ports = await publishPorts(spec.openPorts, async (signal) => await sandbox.session.get(signal));
  if (spec.startCommand !== undefined) {
    await inStep(progress, { id: "start-command", title: "Starting the start command" }, async () => {
      await beginStartCommand(agent, spec, signal);
    });
  }
}

/** What every boot of it needs: mounts, those first that others lie below, and the working directory. */
export async function equipGuest(
  agent: AgentSession,
  { workingDirectory }: SandboxSpec,
  mounts: readonly GuestMount[],
  signal: AbortSignal,
): Promise<void> {
  for (const { tag, guestPath, readOnly } of outermostFirst(mounts)) {
    await agent.mount(tag, guestPath, { readOnly, signal });
  }
  await agent.files.makeDirectory(workingDirectory, { recursive: true, signal });
}

/** Does nothing without one. It goes on by itself, and writes where `logs` looks. */
export async function beginStartCommand(
  agent: AgentSession,
  { startCommand, workingDirectory, env }: SandboxSpec,
  signal: AbortSignal,
): Promise<void> {
  if (startCommand === undefined) return;
  const detached = { stdoutPath: startLogPaths.stdout, stderrPath: startLogPaths.stderr };
  await agent.exec({ argv: [shell, "-c", startCommand], cwd: workingDirectory, env, detached }, { signal });
}

/** Whether this guest runs it. The agent tells the first 256 characters of each argument. */
export async function isStartCommandUp(
  agent: AgentSession,
  { startCommand = "" }: SandboxSpec,
  signal: AbortSignal,
): Promise<boolean> {
  const commands = await agent.commands({ signal });
  return commands.some(
    ({ detached, argv: [program, , script = ""] }) =>
      detached && program === shell && script !== "" && startCommand.startsWith(script),
  );
}

async function runHook(
  agent: AgentSession,
  { record: { spec } }: LiveSandbox,
  hook: string,
  signal: AbortSignal,
): Promise<void> {
  const { timedOut, code, ...ended } = await runToEnd(
    agent,
    { argv: [shell, "-c", hook], cwd: spec.workingDirectory, env: spec.env, timeoutMs: hookTimeoutMs },
    { signal, keptBytes: hookOutputBytes },
  );
  if (code === 0) return;
  const ending = timedOut
    ? `took longer than ${hookTimeoutMs / 60_000} minutes`
    : code === undefined
      ? `was ended by ${ended.signal}`
      : `ended with code ${code}`;
  throw new SetupHookError(hook, ending, ended.output);
}
