import { createHash } from "node:crypto";
import { once } from "node:events";
import { release } from "node:os";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";

import { pressCtrlC } from "../../fixtures/press-ctrl-c.ts";
import { expectFailure, inGuest, soonInGuest, type Subject, succeed } from "./subject.ts";

/** Commands of every kind, in one sandbox. */
export function commandSuite(subject: () => Subject): void {
  const heyvm = (...args: string[]) => subject().host.heyvm(...args);
  const exec = (...command: string[]) => heyvm("exec", subject().box, "--", ...command);

  describe("a command", () => {
    test("runs on the guest's own kernel", async () => {
      const { stdout } = await exec("python3", "-c", "import platform; print(platform.uname())");
      expect(stdout).toContain("system='Linux'");
      expect(stdout).toContain(`node='${subject().box}'`);
      expect(stdout).not.toContain(release());
    });

    test("has separate outputs and an exit code of its own", async () => {
      expect(await exec("sh", "-c", "echo out; echo err >&2; exit 7")).toMatchObject({
        stdout: "out\n",
        stderr: "err\n",
        code: 7,
      });
      expect(await exec("sh", "-c", "kill -KILL $$")).toMatchObject({ code: 137 });
    });

    test("gets environment, working directory and user", async () => {
      const { box } = subject();
      const script = 'echo "$GREETING|$PWD|$(id -un)"';
      const flags = ["--env", "GREETING=a 'b' $c", "--cwd", "/usr/lib", "--user", "nobody"];
      expect(await heyvm("exec", ...flags, box, "--", "sh", "-c", script)).toMatchObject({
        stdout: "a 'b' $c|/usr/lib|nobody\n",
        code: 0,
      });
      expect(await exec("pwd")).toMatchObject({ stdout: "/workspace\n" });
    });

    test("reads binary input to its end and gives binary output", async () => {
      const { host, box } = subject();
      const input = Buffer.from(Array.from({ length: 3_000_000 }, (_, index) => (index * index) % 256));
      const result = await host.run(host.heyvmCommand("exec", box, "--", "cat"), { stdin: input });
      expect(result).toMatchObject({ code: 0, stderr: "" });
      expect(result.stdoutBytes.equals(input)).toBe(true);
    });

    test("that is missing, or has no working directory or user, says so", async () => {
      const { host, box } = subject();
      await expectFailure(
        host,
        ["exec", box, "--", "no-such-program"],
        127,
        "there is no program no-such-program",
      );
      await expectFailure(host, ["exec", "--cwd", "/nowhere", box, "--", "true"], 125, "/nowhere");
      await expectFailure(host, ["exec", "--user", "nobody-here", box, "--", "true"], 125, "nobody-here");
      await expectFailure(host, ["exec", box, "--", "/etc/passwd"], 126, "/etc/passwd");
      await expectFailure(
        host,
        ["exec", "no-such-sandbox", "--", "true"],
        125,
        "no-such-sandbox",
        "heyvm list --all",
      );
    });

    test("that takes too long ends with all its children, and what it printed arrives", async () => {
      const { host, box } = subject();
      const script = "echo before; sleep 4567 & sleep 4567";
      let printed = "";
      // How long it takes to print something is the machine's business.
      for (let seconds = 2; printed === ""; seconds *= 2) {
        const result = await host.heyvm("exec", "--timeout", `${seconds}s`, box, "--", "sh", "-c", script);
        expect(result).toMatchObject({ code: 124, stderr: expect.stringContaining("timeout") });
        expect(await inGuest(subject(), "pgrep -f 'sleep [4]567' || true")).toBe("");
        printed = result.stdout;
      }
      expect(printed).toBe("before\n");
    });

    test("gets the Ctrl-C of whoever runs it", async () => {
      const { host, box } = subject();
      const script = "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.1; done";
      const child = host.spawn(host.heyvmCommand("exec", box, "--", "sh", "-c", script));
      const output: string[] = [];
      child.stdout?.on("data", (chunk: Buffer) => {
        if (output.push(chunk.toString()) === 1) child.kill("SIGINT");
      });
      const [code] = await once(child, "close");
      expect({ code, output: output.join("") }).toEqual({ code: 3, output: "ready\ncaught\n" });
    });

    test("ends when its client is killed", async () => {
      const { host, box } = subject();
      const child = host.spawn(host.heyvmCommand("exec", box, "--", "sh", "-c", "echo ready; sleep 7654"));
      if (child.stdout === null) throw new Error("a child without pipes");
      const closed = once(child, "close");
      await once(child.stdout, "data");
      // The client's own command line, not that of whatever starts it for this test.
      const pattern = `^[^ ]*node .+ exec ${box} -- sh -c echo ready`;
      expect(await host.run(["pkill", "-KILL", "-f", pattern])).toMatchObject({ code: 0 });
      await closed;
      await soonInGuest(subject(), "! pgrep -f 'sleep [7]654'");
    });

    test("gets a terminal when asked", async () => {
      const { host, box } = subject();
      const line = shellLine(host.heyvmCommand("exec", "--tty", box, "--", "sh", "-c", "tty; stty size"));
      const { stdout } = await host.run(["script", "-qec", line, "/dev/null"]);
      expect(stdout).toMatch(/\/dev\/pts\/\d+/);
    });
  });

  test("a shell reads what is typed, and its exit code is sh's", async () => {
    const { host, box } = subject();
    const line = shellLine(host.heyvmCommand("sh", box));
    const result = await host.run(["script", "-qec", line, "/dev/null"], {
      stdin: "echo $((6 * 7))-from-$(hostname)\nexit 5\n",
    });
    expect(result.stdout).toContain(`42-from-${box}`);
    expect(result.code).toBe(5);
  });

  test("a sandbox says what it is, to people and to programs", async () => {
    const { host, box } = subject();
    expect(await succeed(host, "list")).toMatch(new RegExp(`^sb-[0-9a-f]{8} +${box} +running`, "m"));
    expect(JSON.parse(await succeed(host, "get", box, "--format", "json"))).toMatchObject({
      name: box,
      status: "running",
      sandbox_type: "python",
      image: "debian:12",
      backend_type: "libvirt",
      cpus: 1,
      memory: 1024 ** 3,
    });
    // What its boot, or as a clone its resume, printed on the console.
    expect(await succeed(host, "logs", box)).toMatch(/Debian GNU\/Linux 12|virtual machine fork/);
  });

  test("logs can be followed until a Ctrl-C", async () => {
    const { host, box } = subject();
    const following = pressCtrlC(host, "a new line", "logs", "--follow", box);
    await inGuest(subject(), "echo a new line > /dev/console");
    expect(await following).toMatchObject({
      code: 130,
      stdout: expect.stringContaining("a new line"),
      stderr: "",
    });
  });
}

/** Commands that print much, and many commands at the same time. */
export function heavyCommandSuite(subject: () => Subject): void {
  const exec = (...command: string[]) => subject().host.heyvm("exec", subject().box, "--", ...command);

  describe("a command", () => {
    test("prints two million lines, whole and in order", async () => {
      const { stdoutBytes, code } = await exec("seq", "1", "2000000");
      const expected = createHash("sha256");
      for (let line = 1; line <= 2_000_000; line += 1) expected.update(`${line}\n`);
      expect({ code, sum: sha256(stdoutBytes) }).toEqual({ code: 0, sum: expected.digest("hex") });
    });

    test("prints 200 MiB", async () => {
      const { stdoutBytes, code } = await exec("sh", "-c", "yes | head -c 200M");
      expect({ code, bytes: stdoutBytes.length }).toEqual({ code: 0, bytes: 200 * 1024 ** 2 });
      expect(sha256(stdoutBytes)).toBe(sha256(Buffer.alloc(200 * 1024 ** 2, "y\n")));
    });

    test("runs beside 199 others", async () => {
      const { host, box } = subject();
      // One client process for all: two hundred Node.js processes would measure this machine.
      const program = `
        import { Heyvm } from ${JSON.stringify(join(dirname(host.heyvmCommand().at(-1) ?? ""), "../dist/sdk/index.js"))};
        const heyvm = await Heyvm.connect();
        const sandbox = await heyvm.sandboxes.get(process.argv[1]);
        const results = await Promise.all(Array.from({ length: 200 }, (_, n) => sandbox.exec("echo", [String(n)])));
        console.log(JSON.stringify(results.map(({ stdout }) => stdout)));
        heyvm[Symbol.dispose]();
      `;
      const result = await host.run(["node", "--input-type=module", "-e", program, box]);
      expect(result).toMatchObject({ code: 0, stderr: "" });
      expect(JSON.parse(result.stdout)).toEqual(Array.from({ length: 200 }, (_, n) => `${n}\n`));
    });
  });
}

function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

function shellLine(argv: readonly string[]): string {
  return argv.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(" ");
}
