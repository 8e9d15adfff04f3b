/** A real sshd of one's own on the loopback, for the user of a session host. */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, chownSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { findProgram } from "../daemon/supervisor.ts";
import { findFreePort } from "./free-port.ts";
import { asUser, type SessionHost } from "./session-daemon.ts";
import { waitForPort } from "./wait-for-port.ts";

export interface SshServer extends AsyncDisposable {
  port: number;
  keyFile: string;
  /** A program to use instead of `ssh`: it trusts this server only. */
  command: string;
}

/** Logs the host's user in with `keyFile`, in an environment in which `qemu:///session` is the host's. */
export async function startSshServer(host: SessionHost): Promise<SshServer> {
  const folder = join(host.folder, "ssh");
  mkdirSync(folder, { mode: 0o755 });
  const keyFile = join(folder, "key");
  const hostKeyFile = join(folder, "host");
  for (const path of [keyFile, hostKeyFile]) {
    execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", path]);
  }
  const authorizedKeys = join(folder, "authorized_keys");
  writeFileSync(authorizedKeys, readFileSync(`${keyFile}.pub`));
  const port = await findFreePort();
  const configPath = join(folder, "sshd_config");
  const variables = ["XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"]
    .map((name) => `${name}=${host.env[name] ?? ""}`)
    .join(" ");
  const config = [
    `Port ${port}`,
    "ListenAddress 127.0.0.1",
    `HostKey ${hostKeyFile}`,
    "PidFile none",
    `AuthorizedKeysFile ${authorizedKeys}`,
    "StrictModes no",
    "PasswordAuthentication no",
    "UsePAM no",
    `SetEnv ${variables}`,
    "",
  ];
  writeFileSync(configPath, config.join("\n"));
  const knownHosts = join(folder, "known_hosts");
  const [type = "", key = ""] = readFileSync(`${hostKeyFile}.pub`, "utf8").split(" ");
  writeFileSync(knownHosts, `[127.0.0.1]:${port} ${type} ${key}\n`);
  const command = join(folder, "ssh");
  writeFileSync(command, `#!/bin/sh\nexec ssh -F none -o UserKnownHostsFile=${knownHosts} "$@"\n`);
  chmodSync(command, 0o755);

  chownSync(hostKeyFile, host.user.uid, host.user.gid);
  // As the user: then it needs no privileges, and does not mind that the account has no password.
  const sshd = [findProgram("sshd", process.env) ?? "sshd", "-D", "-f", configPath];
  const [program = "", ...args] = asUser(host.user, sshd);
  const child = spawn(program, args, { stdio: "ignore" });
  await waitForPort(port);
  return {
    port,
    keyFile,
    command,
    async [Symbol.asyncDispose]() {
      const exited = once(child, "exit");
      child.kill("SIGTERM");
      await exited;
    },
  };
}
