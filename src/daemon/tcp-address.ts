/** Where the TCP listener may listen: everybody who can reach it could read the token on its way. */
import { lookup } from "node:dns/promises";
import { BlockList, isIPv6 } from "node:net";

import { type LoadedSettings, originOf } from "../config/settings.ts";
import { SettingsInvalidError } from "../config/settings-error.ts";
import { messageOf } from "../errors/index.ts";
import { readTlsFiles, tlsKeyWarning, type TlsFiles } from "./tls-files.ts";

export interface TcpAddress {
  /** As the settings have it. */
  host: string;
  /** What that stands for: a numeric address, so that the name cannot come to stand for another one. */
  address: string;
  tls: TlsFiles | undefined;
  /** For whoever starts the daemon. */
  warning: string | undefined;
}

const loopback = new BlockList();
loopback.addSubnet("127.0.0.0", 8, "ipv4");
loopback.addAddress("::1", "ipv6");

/** Throws `settings_invalid` for one that other machines can reach, unless it has TLS or `insecureHttp` was asked for. */
export async function findTcpAddress(settings: LoadedSettings, insecureHttp: boolean): Promise<TcpAddress> {
  const tls = await readTlsFiles(settings);
  const host = settings.values["api.host"];
  const origin = originOf(settings, "api.host");
  const { address } = await lookup(host).catch((error: unknown) => {
    throw new SettingsInvalidError(`${host} is no address of this host: ${messageOf(error)}`, {
      key: "api.host",
      origin,
      cause: error,
    });
  });
  if (tls === undefined && !insecureHttp && !isLoopback(address)) {
    throw new SettingsInvalidError(
      `${host} can be reached from other machines, and without TLS nothing on it would be encrypted, the token included`,
      {
        key: "api.host",
        origin,
        hint: "add --tls-cert FILE --tls-key FILE, or keep 127.0.0.1 and use ssh -L; --insecure-http serves it as it is",
      },
    );
  }
  return { host, address, tls, warning: await tlsKeyWarning(settings) };
}

/** Whether only this host can reach it. */
export function isLoopback(address: string): boolean {
  return loopback.check(address, isIPv6(address) ? "ipv6" : "ipv4");
}
