/** Connection URIs: `driver[+transport]://[user@][host][:port]/path[?parameters]`. */
import { isIP } from "node:net";

import { LibvirtUriError } from "./errors.ts";

export type TransportName = "unix" | "tcp" | "ssh";

export interface ConnectionUri {
  /** As it was given. */
  text: string;
  transport: TransportName;
  /** What the daemon is asked to open: the URI without transport, host and parameters. */
  driverUri: string;
  scope: "session" | "system";
  host: string | undefined;
  port: number | undefined;
  user: string | undefined;
  /** Path of the daemon's socket, on the host that is connected to. */
  socketPath: string | undefined;
  /** Which daemon's socket is looked for: the modular one, the monolithic one, or whichever is there. */
  mode: "auto" | "direct" | "legacy";
  ssh: SshParameters;
}

export interface SshParameters {
  /** The program to start instead of `ssh`. */
  command: string | undefined;
  keyFile: string | undefined;
  /** Whether the host's key is checked. */
  verifyHost: boolean;
  /** What reaches the daemon on the other side. */
  proxy: "auto" | "native" | "netcat";
  netcat: string;
}

const example =
  "for example qemu:///session, qemu:///system, qemu+ssh://user@host/system, qemu+tcp://host/system";
const knownParameters = [
  "command",
  "keyfile",
  "mode",
  "name",
  "netcat",
  "no_tty",
  "no_verify",
  "proxy",
  "socket",
];

/** Throws a `LibvirtUriError` that says what is wrong. */
export function parseConnectionUri(text: string): ConnectionUri {
  const match = /^([a-z][a-z0-9]*)(?:\+([a-z0-9]+))?:\/\/([^/?#]*)(\/[^?#]*)?(?:\?([^#]*))?$/i.exec(text);
  if (match === null) throw new LibvirtUriError(`not a libvirt URI: ${JSON.stringify(text)}; ${example}`);
  const [, driver = "", transportText, authority = "", path = "", query = ""] = match;
  if (driver.toLowerCase() !== "qemu") {
    throw new LibvirtUriError(`unknown driver "${driver}" in ${text}; only qemu is supported, ${example}`);
  }
  const scope = scopeOf(text, path);
  const { user, host, port } = parseAuthority(text, authority);
  const parameters = parseParameters(text, query);
  const transport = transportOf(text, transportText?.toLowerCase(), host);
  if (transport === "unix" && host !== undefined) {
    throw new LibvirtUriError(`${text} names the host "${host}", but a unix socket has none`);
  }
  if (transport !== "unix" && host === undefined) {
    throw new LibvirtUriError(`${text} names no host for ${transport}`);
  }
  return {
    text,
    transport,
    driverUri: parameters.get("name") ?? `qemu:///${scope}`,
    scope,
    host,
    port,
    user,
    socketPath: parameters.get("socket"),
    mode: oneOf(text, parameters, "mode", ["auto", "direct", "legacy"]) ?? "auto",
    ssh: {
      command: parameters.get("command"),
      keyFile: parameters.get("keyfile"),
      verifyHost: !isSet(text, parameters, "no_verify"),
      proxy: oneOf(text, parameters, "proxy", ["auto", "native", "netcat"]) ?? "auto",
      netcat: parameters.get("netcat") ?? "nc",
    },
  };
}

function scopeOf(text: string, path: string): "session" | "system" {
  if (path === "/session") return "session";
  if (path === "/system") return "system";
  throw new LibvirtUriError(`${text} must end in /session or /system; ${example}`);
}

function transportOf(text: string, name: string | undefined, host: string | undefined): TransportName {
  switch (name) {
    case undefined:
      if (host === undefined) return "unix";
      throw new LibvirtUriError(
        `${text} names a host without a transport, which is TLS to libvirt and is not supported; ` +
          `use qemu+ssh://${host}/…`,
      );
    case "unix":
    case "tcp":
    case "ssh":
      return name;
    case "tls":
    case "libssh":
    case "libssh2":
    case "ext":
      throw new LibvirtUriError(
        `the transport "${name}" in ${text} is not supported; use unix, tcp or ssh, ${example}`,
      );
    default:
      throw new LibvirtUriError(`unknown transport "${name}" in ${text}; use unix, tcp or ssh, ${example}`);
  }
}

function parseAuthority(text: string, authority: string): Pick<ConnectionUri, "user" | "host" | "port"> {
  if (authority === "") return { user: undefined, host: undefined, port: undefined };
  const match = /^(?:([^@]*)@)?(\[[^\]]*\]|[^:@[\]]*)(?::(\d+))?$/.exec(authority);
  if (match === null)
    throw new LibvirtUriError(`can't tell user, host and port in "${authority}" of ${text}`);
  const user = match[1] === undefined ? undefined : decode(text, match[1]);
  const bracketed = match[2] ?? "";
  const host = bracketed.startsWith("[") ? bracketed.slice(1, -1) : decode(text, bracketed);
  if (bracketed.startsWith("[") && isIP(host) !== 6) {
    throw new LibvirtUriError(`"${bracketed}" in ${text} is not an IPv6 address`);
  }
  for (const [what, value] of [
    ["user", user],
    ["host", host],
  ] as const) {
    // ssh would take it for an option.
    if (value?.startsWith("-") === true)
      throw new LibvirtUriError(`the ${what} "${value}" in ${text} starts with "-"`);
    if (value !== undefined && !/^[^\s\p{Cc}]+$/u.test(value)) {
      throw new LibvirtUriError(`the ${what} in ${text} is empty or has a blank in it`);
    }
  }
  const port = match[3] === undefined ? undefined : Number(match[3]);
  if (port !== undefined && (port < 1 || port > 65_535)) {
    throw new LibvirtUriError(`the port ${port} in ${text} is not between 1 and 65535`);
  }
  return { user, host, port };
}

function parseParameters(text: string, query: string): Map<string, string> {
  const parameters = new Map<string, string>();
  for (const part of query.split(/[&;]/)) {
    if (part === "") continue;
    const [name = "", ...rest] = part.split("=");
    const key = decode(text, name).toLowerCase();
    if (!knownParameters.includes(key)) {
      throw new LibvirtUriError(
        `unknown parameter "${key}" in ${text}; known: ${knownParameters.join(", ")}`,
      );
    }
    parameters.set(key, decode(text, rest.join("=")));
  }
  return parameters;
}

function oneOf<const T extends string>(
  text: string,
  parameters: ReadonlyMap<string, string>,
  name: string,
  values: readonly T[],
): T | undefined {
  const value = parameters.get(name);
  if (value === undefined) return undefined;
  const known = values.find((candidate) => candidate === value);
  if (known === undefined) {
    throw new LibvirtUriError(`${name}=${value} in ${text} is not one of ${values.join(", ")}`);
  }
  return known;
}

function isSet(text: string, parameters: ReadonlyMap<string, string>, name: string): boolean {
  return oneOf(text, parameters, name, ["0", "1"]) === "1";
}

function decode(text: string, part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new LibvirtUriError(`"${part}" in ${text} has a false % sequence`);
  }
}
