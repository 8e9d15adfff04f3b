import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { Duplex } from "node:stream";
import { describe, expect, test } from "vitest";

import { agentSourcePath, agentVersion } from "./agent-source.ts";
import { connectAgent } from "./connect.ts";
import { connectSocket, startLocalAgent } from "./testing/local-agent.ts";
import { runCommand } from "./testing/read-all.ts";
import type { AgentSession } from "./types.ts";

const unshare = "/usr/bin/unshare";
const canUnshare = spawnSync(unshare, ["--mount", "--uts", "true"]).status === 0;

describe("the machine", () => {
  test("tells its statistics", async () => {
    await using agent = startLocalAgent();
    await using session = await agent.connect();
    const found = await session.statistics();
    expect(found.memoryTotalBytes).toBeGreaterThan(found.memoryAvailableBytes);
    expect(found.diskTotalBytes).toBeGreaterThan(0);
    expect(found.processes).toBeGreaterThan(1);
    expect(found.loadAverage.length).toBe(3);
    await session.sync();
  });

  test("names the kernel and the module when a folder cannot be mounted", async () => {
    await using agent = startLocalAgent();
    await using session = await agent.connect();
    const kernel = process.getuid?.() === 0 ? session.info.kernel.replace("Linux ", "") : undefined;
    const failure: unknown = await session
      .mount("mount0", `${agent.folder}/mnt`, { timeoutMs: 20_000 })
      .catch((caught: unknown) => caught);
    // Without root the kernel does not say what it lacks.
    const expected = kernel === undefined ? {} : { code: "unsupported", details: { module: "9p", kernel } };
    expect(failure).toBeInstanceOf(Error);
    expect(failure).toMatchObject(expected);
  });

  // Needs a hostname and an /etc that may be changed: namespaces of its own, hence root.
  test.skipIf(!canUnshare)(
    "gets an identity: hostname, machine id, clock, entropy and host keys",
    async () => {
      await using stdio = await startAgentWithEtc(
        "printf '127.0.0.1 localhost\\n127.0.1.1 old\\n::1 localhost\\n' > /etc/hosts",
      );
      const { session } = stdio;
      const machineId = randomBytes(16).toString("hex");
      await session.identify({
        hostname: "box.example",
        machineId,
        clockMs: Date.now(),
        entropy: randomBytes(64).toString("base64"),
        sshHostKeys: { ssh_host_ed25519_key: "secret\n", "ssh_host_ed25519_key.pub": "public\n" },
      });
      const shown = "hostname; cat /etc/hostname /etc/hosts /etc/machine-id; stat -c '%a %n' /etc/ssh/*";
      const { stdout } = await runCommand(session, { argv: ["sh", "-c", shown] });
      expect(stdout.split("\n")).toEqual([
        "box.example",
        "box.example",
        "127.0.0.1 localhost",
        "127.0.1.1\tbox.example box",
        "::1 localhost",
        machineId,
        "600 /etc/ssh/ssh_host_ed25519_key",
        "644 /etc/ssh/ssh_host_ed25519_key.pub",
        "",
      ]);
    },
  );

  test.skipIf(!canUnshare)("whose disk is full keeps the identity that it has", async () => {
    await using stdio = await startAgentWithEtc(
      "printf '127.0.0.1 localhost\\n127.0.1.1 box alias\\n' > /etc/own-hosts",
      "echo box > /etc/own-hostname",
      "ln -s own-hosts /etc/hosts",
      "ln -s own-hostname /etc/hostname",
      "hostname other",
      fillEtc,
    );
    await stdio.session.identify({ hostname: "box" });
    const shown = "hostname; cat /etc/hostname /etc/hosts; ls /etc";
    const { stdout } = await runCommand(stdio.session, { argv: ["sh", "-c", shown] });
    expect(stdout).toBe(
      "box\nbox\n127.0.0.1 localhost\n127.0.1.1 box alias\nfill\nhostname\nhosts\nown-hostname\nown-hosts\n",
    );
  });

  test.skipIf(!canUnshare)("takes another name where files are links, mounts or large", async () => {
    await using stdio = await startAgentWithEtc(
      "echo old > /etc/own-hostname",
      "ln -s own-hostname /etc/hostname",
      "{ echo 127.0.0.1 localhost; printf '# caf\\351\\n'; yes 10.0.0.1 x | head -n 9000; } > /etc/large",
      "touch /etc/hosts",
      "mount --bind /etc/large /etc/hosts",
    );
    await stdio.session.identify({ hostname: "box" });
    const shown =
      "cat /etc/own-hostname; sed -n 2p /etc/large; grep -c '' /etc/hosts; LC_ALL=C grep -acP '\\xe9' /etc/hosts; ls /etc";
    const { stdout } = await runCommand(stdio.session, { argv: ["sh", "-c", shown] });
    expect(stdout).toBe("box\n127.0.1.1\tbox\n9003\n1\nhostname\nhosts\nlarge\nown-hostname\n");
  });

  test.skipIf(!canUnshare)("says what could not be written, and sets all else", async () => {
    await using stdio = await startAgentWithEtc(
      "echo old > /etc/hostname",
      "echo uninitialized-but-as-long-as-one > /etc/machine-id",
      fillEtc,
    );
    const machineId = randomBytes(16).toString("hex");
    const failure: unknown = await stdio.session
      .identify({ hostname: "box", machineId })
      .catch((caught: unknown) => caught);
    expect(failure).toMatchObject({ details: { reason: "no_space" } });
    expect(failure).toHaveProperty("message", expect.stringContaining("/etc/hosts"));
    const { stdout } = await runCommand(stdio.session, {
      argv: ["sh", "-c", "hostname; cat /etc/hostname /etc/machine-id; ls /etc"],
    });
    expect(stdout).toBe(`box\nbox\n${machineId}\nfill\nhostname\nmachine-id\n`);
  });
});

describe("an agent in a strange place", () => {
  test.skipIf(!canUnshare)("goes on without /proc", async () => {
    const script = 'umount --lazy /proc && exec python3 -B "$1" --stdio';
    const argv = ["--mount", "sh", "-c", script, "sh", agentSourcePath()];
    await using stdio = await startStdioAgent(unshare, argv);
    const { session } = stdio;
    expect(await runCommand(session, { argv: ["ls", "/proc"] })).toMatchObject({ stdout: "", code: 0 });
    const late = await runCommand(session, { argv: ["sleep", "4712"], timeoutMs: 100 });
    expect(late).toMatchObject({ timedOut: true });
    await session.statistics().catch(() => undefined);
    expect(await session.ping()).toBeGreaterThan(0);
  });

  test.skipIf(!canUnshare)("takes a name also where a FIFO is in a file's place", async () => {
    await using stdio = await startAgentWithEtc("mkfifo /etc/hosts /etc/hostname");
    await stdio.session.identify({ hostname: "box" });
    const { stdout } = await runCommand(stdio.session, { argv: ["cat", "/etc/hostname"] });
    expect(stdout).toBe("box\n");
  });
});

describe("an agent at stdin and stdout", () => {
  test("serves its host, and leaves with its commands when the host is gone", async () => {
    await using stdio = await startStdioAgent("python3", ["-B", agentSourcePath(), "--stdio"]);
    expect(await runCommand(stdio.session, { argv: ["cat"] }, "through")).toMatchObject({
      stdout: "through",
    });
    await stdio.session.exec({ argv: ["sleep", "4711"] });
    const left = once(stdio.process, "exit");
    stdio.process.stdin?.end();
    expect(await left).toEqual([0, null]);
  });
});

describe("a session", () => {
  test("with an agent that falls silent opens the pipe again, and finishes its calls", async () => {
    await using agent = startLocalAgent();
    let opened = 0;
    const open = (signal: AbortSignal) => {
      opened++;
      if (opened === 2) agent.process.kill("SIGCONT");
      return connectSocket(agent.socketPath, signal);
    };
    await agent.connect().then((session) => session.close()); // it is up
    await using session = await connectAgent(open, { timeoutMs: 60_000, keepAliveMs: 100 });
    agent.process.kill("SIGSTOP");
    await session.ping();
    // Once more, perhaps, where it answers late.
    expect(opened).toBeGreaterThan(1);
  });

  test("fails a call at its deadline, and goes on", async () => {
    await using agent = startLocalAgent();
    await using session = await agent.connect();
    agent.process.kill("SIGSTOP");
    await expect(session.ping({ timeoutMs: 50 })).rejects.toMatchObject({ code: "timeout" });
    await expect(session.ping({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "aborted" });
    agent.process.kill("SIGCONT");
    expect(await session.ping()).toBeGreaterThan(0);
  });

  test("that was closed says so to every later call, and once", async () => {
    await using agent = startLocalAgent();
    const session = await agent.connect();
    await session.close();
    await session.close();
    expect(await session.closed).toBeUndefined();
    await expect(session.ping()).rejects.toMatchObject({ code: "guest_failed" });
    await expect(session.exec({ argv: ["true"] })).rejects.toThrow(/closed/u);
  });
});

test("the agent's own tests pass: Python 3.6 compatibility, choices by init system", () => {
  const folder = agentSourcePath().replace(/\/agent\.py$/u, "");
  const { status, stderr } = spawnSync("python3", ["-B", "-m", "unittest", "discover", "-s", folder], {
    encoding: "utf8",
  });
  expect([status, stderr.split("\n").at(-2)]).toEqual([0, "OK"]);
  expect(agentVersion()).toMatch(/^[0-9a-f]{16}$/u);
});

interface StdioAgent extends AsyncDisposable {
  process: ChildProcess;
  session: AgentSession;
}

/** For `startAgentWithEtc`: leaves no room in it. */
const fillEtc = "{ dd if=/dev/zero of=/etc/fill 2> /dev/null || true; }";

/** An agent with a host name and a small /etc of its own, which these shell commands fill: namespaces, hence root. */
async function startAgentWithEtc(...commands: string[]): Promise<StdioAgent> {
  const script = ["mount -t tmpfs -o size=1m tmpfs /etc", ...commands, 'exec python3 -B "$1" --stdio'].join(
    " && ",
  );
  return await startStdioAgent(unshare, ["--mount", "--uts", "sh", "-c", script, "sh", agentSourcePath()]);
}

/** An agent that is a child of this process and talks through its standard streams. */
async function startStdioAgent(program: string, args: string[]): Promise<StdioAgent> {
  const child = spawn(program, args, { stdio: ["pipe", "pipe", "inherit"] });
  const exited = once(child, "exit");
  const open = () => Promise.resolve(Duplex.from({ readable: child.stdout, writable: child.stdin }));
  const session = await connectAgent(open, { timeoutMs: 60_000 });
  return {
    process: child,
    session,
    async [Symbol.asyncDispose]() {
      await session.close();
      child.stdin.end();
      await exited;
    },
  };
}
