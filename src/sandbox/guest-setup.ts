/** What a guest needs after its machine started and before anyone may use it. */
import { randomBytes } from "node:crypto";

import type { AgentSession } from "../agent/types.ts";
import type { StartedMachine } from "../backends/backend.ts";
import { HeyvmError, messageOf } from "../errors/index.ts";
import type { SandboxContext } from "./context.ts";
import { inStep, type Progress } from "./progress.ts";
import { publishPorts } from "./ports.ts";
import type { LiveSandbox } from "./registry.ts";
import { collectOutput } from "./output.ts";
import { startLogPaths } from "./logs.ts";
import { waitForAgent } from "./wait-for-agent.ts";
import { waitForNetwork } from "./wait-for-network.ts";

const shell = "/bin/sh";
/** A hook may install packages under emulation. */
const hookTimeoutMs = 1_800_000;
const hookOutputBytes = 4096;
const hostKeysTimeoutMs = 300_000;

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

/** Identity, mounts, working directory, hooks (of a new sandbox), ports, start command: in this order. */
export async function setUpGuest(
  context: SandboxContext,
  sandbox: LiveSandbox,
  started: StartedMachine,
  progress: Progress,
  isNew: boolean,
): Promise<void> {
  const { signal } = progress;
  const { spec } = sandbox.record;
  const agent = await inStep(
    progress,
    { id: "agent", title: "Waiting for the guest" },
    async () => await waitForAgent(context, sandbox, signal),
  );
  await inStep(progress, { id: "guest", title: "Setting up the guest" }, async () => {
    await identify(agent, sandbox, isNew, signal);
    for (const { tag, guestPath, readOnly } of started.guestMounts) {
      await agent.mount(tag, guestPath, { readOnly, signal });
    }
    await agent.files.makeDirectory(spec.workingDirectory, { recursive: true, signal });
  });
  if (spec.network) {
    const title = "Waiting for the guest's network";
    const isUp = await inStep(progress, { id: "network", title }, () => waitForNetwork(agent, signal));
    if (!isUp) progress.onWarning("the guest has no route yet: its network may not work");
  }
  if (isNew) {
    makeHostKeys(context, sandbox, agent);
    for (const [index, hook] of spec.setupHooks.entries()) {
      const title = `Running setup hook ${index + 1} of ${spec.setupHooks.length}`;
      await inStep(progress, { id: `hook-${index + 1}`, title }, async () => {
        await runHook(agent, sandbox, hook, signal);
      });
    }
  }
  sandbox.ports = await publishPorts(spec.openPorts, async (signal) => await sandbox.session.get(signal));
  const { startCommand } = spec;
  if (startCommand !== undefined) {
    await inStep(progress, { id: "start-command", title: "Starting the start command" }, async () => {
      await agent.exec(
        {
          argv: [shell, "-c", startCommand],
          cwd: spec.workingDirectory,
          env: spec.env,
          detached: { stdoutPath: startLogPaths.stdout, stderrPath: startLogPaths.stderr },
        },
        { signal },
      );
    });
  }
}

async function identify(
  agent: AgentSession,
  { record }: LiveSandbox,
  isNew: boolean,
  signal: AbortSignal,
): Promise<void> {
  const entropy = randomBytes(64).toString("base64");
  const lasting = isNew
    ? { hostname: record.spec.slug, machineId: randomBytes(16).toString("hex") }
    : { hostname: record.spec.slug };
  await agent.identify({ ...lasting, clockMs: Date.now(), entropy }, { signal });
}

/** An ssh server that the image starts at boot had no keys then. */
const startSshScript = `
for server in ssh sshd; do
  if systemctl is-enabled --quiet $server 2> /dev/null; then systemctl --no-block start $server
  elif rc-update show default 2> /dev/null | grep -qw $server; then rc-service --quiet $server start
  fi
done`;

/** Slow in an emulated guest, and nobody waits for it: only a guest with an ssh server needs keys at all. */
function makeHostKeys(context: SandboxContext, { record }: LiveSandbox, agent: AgentSession): void {
  const signal = AbortSignal.any([context.shutdown, AbortSignal.timeout(hostKeysTimeoutMs)]);
  const make = async (): Promise<void> => {
    const sshd = await agent.files.stat("/usr/sbin/sshd", { signal }).catch(() => undefined);
    if (sshd !== undefined) {
      await agent.identify({ sshHostKeys: "generate" }, { signal, timeoutMs: hostKeysTimeoutMs });
      const nowhere = { stdoutPath: "/dev/null", stderrPath: "/dev/null" };
      await agent.exec({ argv: [shell, "-c", startSshScript], detached: nowhere }, { signal });
    }
  };
  make().catch((error: unknown) => {
    // The sandbox may have ended before.
    context.log.info({ id: record.id, reason: messageOf(error) }, "ssh host keys were not made");
  });
}

async function runHook(
  agent: AgentSession,
  { record: { spec } }: LiveSandbox,
  hook: string,
  signal: AbortSignal,
): Promise<void> {
  const command = await agent.exec(
    { argv: [shell, "-c", hook], cwd: spec.workingDirectory, env: spec.env, timeoutMs: hookTimeoutMs },
    { signal },
  );
  const kill = (): void => command.kill("SIGKILL");
  signal.addEventListener("abort", kill, { once: true });
  try {
    command.stdin.end();
    const [stdout, stderr, exit] = await Promise.all([
      collectOutput(command.stdout, hookOutputBytes),
      collectOutput(command.stderr, hookOutputBytes),
      command.exit,
    ]);
    signal.throwIfAborted();
    if (exit.code === 0) return;
    const ending = exit.timedOut
      ? `took longer than ${hookTimeoutMs / 60_000} minutes`
      : exit.code === undefined
        ? `was ended by ${exit.signal}`
        : `ended with code ${exit.code}`;
    throw new SetupHookError(hook, ending, `${stdout.bytes.toString()}${stderr.bytes.toString()}`);
  } finally {
    signal.removeEventListener("abort", kill);
  }
}
