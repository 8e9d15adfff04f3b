/** What an agent that dies leaves running, and what the one that is started in its place makes of it. */
import { once } from "node:events";
import { expect, onTestFinished, test } from "vitest";

import { SessionLostError } from "./errors.ts";
import { type LocalAgent, startLocalAgent } from "./testing/local-agent.ts";
import { killProcessesWith, processesWith } from "./testing/processes.ts";
import { runCommand } from "./testing/read-all.ts";

const detached = { stdoutPath: "/dev/null", stderrPath: "/dev/null" };

/** A variable for a command's environment, by which the test finds its processes; they end with the test. */
function mark(agent: LocalAgent, name: string) {
  const env = { HEYVM_MARK: `${agent.folder}/${name}` };
  const variable = `HEYVM_MARK=${env.HEYVM_MARK}`;
  const running = async () => await processesWith(variable);
  onTestFinished(async () => await killProcessesWith(variable));
  return { env, running };
}

test("commands end after their agent was killed, and its successor, too: also those that ignore signals or have left their session", async () => {
  await using agent = startLocalAgent();
  await using session = await agent.connect();
  const { env, running } = mark(agent, "command");
  // The third one, and what it begins, does not have the mark of the agent's either.
  const script = `trap '' HUP PIPE TERM
    setsid sh -c 'sleep 4711; sleep 4712' &
    env -i "HEYVM_MARK=$HEYVM_MARK" sleep 4713 &
    wait; sleep 4714`;
  const command = await session.exec({ argv: ["sh", "-c", script], env });
  await expect.poll(async () => (await running()).length).toBe(4);
  await agent.crash();
  await expect(command.exit).rejects.toBeInstanceOf(SessionLostError);
  await agent.crash();
  await expect.poll(running).toEqual([]);
});

test("a detached command outlives its agent, and is known to the next one until it ends", async () => {
  await using agent = startLocalAgent();
  const session = await agent.connect();
  const { env, running } = mark(agent, "detached");
  const argv = ["sh", "-c", "setsid sleep 4711 & sleep 4712; true", "x".repeat(1000)] as const;
  await session.exec({ argv, env, detached });
  await expect.poll(async () => (await running()).length).toBe(3);
  const before = await session.commands();
  const doomed = mark(agent, "doomed");
  await session.exec({ argv: ["sleep", "4713"], env: doomed.env });
  for (const _ of ["once", "twice"]) {
    await agent.crash();
    await expect.poll(doomed.running).toEqual([]);
    await using next = await agent.connect();
    expect(await next.commands()).toEqual(before);
    expect(await running()).toHaveLength(3);
  }
  await using last = await agent.connect();
  for (const { pid } of before) await last.signal(pid, "SIGKILL");
  await expect.poll(async () => await last.commands()).toEqual([]);
  // The one that stays has left the group: as ever, a signal is not for it.
  await expect.poll(async () => (await running()).length).toBe(1);
});

test("what a command left running when it ended outlives the agent, and so does what ignores its terminal's end", async () => {
  await using agent = startLocalAgent();
  const session = await agent.connect();
  const service = mark(agent, "service");
  const script = "setsid sleep 4711 > /dev/null 2>&1 &";
  const begun = await runCommand(session, { argv: ["sh", "-c", script], env: service.env });
  expect(begun).toMatchObject({ code: 0 });
  const shell = mark(agent, "shell");
  // It says so when it has left the terminal's session.
  const login = "setsid sh -c 'echo up; exec sleep 4711' & sleep 4712; true";
  const terminal = { cols: 80, rows: 24 };
  const { stdout } = await session.exec({ argv: ["sh", "-c", login], env: shell.env, terminal });
  await once(stdout, "data");
  const doomed = mark(agent, "doomed");
  const command = await session.exec({ argv: ["sleep", "4713"], env: doomed.env });
  await agent.crash();
  await expect(command.exit).rejects.toBeInstanceOf(SessionLostError);
  // Whatever else the new agent ends is gone by then.
  await expect.poll(doomed.running).toEqual([]);
  expect(await service.running()).toHaveLength(1);
  await expect.poll(async () => (await shell.running()).length).toBe(1);
});
