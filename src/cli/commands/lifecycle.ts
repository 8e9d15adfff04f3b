/** `start`, `stop`, `restart`, `pause`, `resume` and `kill`: one call to each sandbox that is named. */
import type { Command } from "commander";

import type { ProgressOptions, Sandbox, SandboxActions } from "../../sdk/index.ts";
import { durationOption } from "../arguments/quantity.ts";
import { forEachSandbox, type Outcome } from "../each-sandbox.ts";
import { createInvocation, undone } from "../invocation.ts";
import { forEachWithProgress } from "../with-progress.ts";

interface LifecycleFlags {
  grace?: number;
}

interface LifecycleVerb {
  /** What is printed of each when it is done. */
  done: string;
  /** It has steps to show, and what was begun is undone when it is interrupted. */
  hasSteps?: boolean;
  call: (sandbox: SandboxActions, options: ProgressOptions, flags: LifecycleFlags) => Promise<Sandbox>;
}

const start: LifecycleVerb = {
  done: "started",
  hasSteps: true,
  call: (sandbox, options) => sandbox.start(options),
};
const restart: LifecycleVerb = {
  done: "restarted",
  hasSteps: true,
  call: (sandbox, options) => sandbox.restart(options),
};
const stop: LifecycleVerb = {
  done: "stopped",
  call: (sandbox, options, { grace }) =>
    sandbox.stop(grace === undefined ? options : { ...options, graceSeconds: grace / 1000 }),
};
const pause: LifecycleVerb = { done: "paused", call: (sandbox, options) => sandbox.pause(options) };
const resume: LifecycleVerb = { done: "resumed", call: (sandbox, options) => sandbox.resume(options) };
const kill: LifecycleVerb = { done: "killed", call: (sandbox, options) => sandbox.kill(options) };

export const lifecycle = {
  start: { define: (command: Command) => define(command, start) },
  stop: {
    define: (command: Command) =>
      define(
        command.addOption(
          durationOption("--grace <duration>", "how long the guest may take before it is cut off"),
        ),
        stop,
      ),
  },
  restart: { define: (command: Command) => define(command, restart) },
  pause: { define: (command: Command) => define(command, pause) },
  resume: { define: (command: Command) => define(command, resume) },
  kill: { define: (command: Command) => define(command, kill) },
};

function define(command: Command, { done, hasSteps = false, call }: LifecycleVerb): void {
  command.argument("<id...>", "sandboxes").action(async (ids: string[], flags: LifecycleFlags) => {
    const invocation = createInvocation(command, hasSteps ? undone : {});
    const { signal } = invocation;
    if (hasSteps) {
      await forEachWithProgress(invocation, ids, async (sandbox, options) =>
        outcome(done, await call(sandbox, options, flags)),
      );
    } else {
      await forEachSandbox(invocation, ids, async (sandbox) =>
        outcome(done, await call(sandbox, { signal }, flags)),
      );
    }
  });
}

function outcome(done: string, sandbox: Sandbox): Outcome {
  return { done, id: sandbox.id, name: sandbox.name, document: sandbox };
}
