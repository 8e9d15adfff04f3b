/** The certificate and key of the TCP listener. */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { createSecureContext } from "node:tls";

import { type LoadedSettings, originOf } from "../config/settings.ts";
import { SettingsInvalidError } from "../config/settings-error.ts";
import { errnoOf, messageOf, shellQuoted } from "../errors/index.ts";

/** PEM: a certificate, with those between it and a root if there are any, and its private key. */
export interface TlsFiles {
  cert: Buffer;
  key: Buffer;
}

const othersMayRead = 0o004;

type TlsKey = "api.tls_cert" | "api.tls_key";

/** Reads and checks what the settings name; `undefined` without any. Throws `settings_invalid`, which says what is wrong with which. */
export async function readTlsFiles(settings: LoadedSettings): Promise<TlsFiles | undefined> {
  const { "api.tls_cert": certPath, "api.tls_key": keyPath } = settings.values;
  if (certPath === null && keyPath === null) return undefined;
  const refuse = (key: TlsKey, message: string, more: { hint?: string; cause?: unknown } = {}): never => {
    throw new SettingsInvalidError(message, { key, origin: originOf(settings, key), ...more });
  };
  const hint = "give both: heyvm serve --api --tls-cert FILE --tls-key FILE";
  if (certPath === null) return refuse("api.tls_cert", "there is a TLS key, and no certificate", { hint });
  if (keyPath === null) return refuse("api.tls_key", "there is a TLS certificate, and no key", { hint });

  const read = async (key: TlsKey, what: string, path: string): Promise<Buffer> =>
    await readFile(path).catch((error: unknown) =>
      refuse(key, `cannot read the TLS ${what} ${path}: ${errnoOf(error) ?? messageOf(error)}`, {
        cause: error,
        hint: `ls -l ${shellQuoted(path)}`,
      }),
    );
  const [cert, key] = [
    await read("api.tls_cert", "certificate", certPath),
    await read("api.tls_key", "key", keyPath),
  ];
  const parse = <T>(name: TlsKey, message: string, work: () => T): T => {
    try {
      return work();
    } catch (error) {
      return refuse(name, `${message}: ${messageOf(error)}`, { cause: error });
    }
  };
  const certificate = parse(
    "api.tls_cert",
    `${certPath} has no certificate in PEM`,
    () => new X509Certificate(cert),
  );
  const privateKey = parse(
    "api.tls_key",
    `${keyPath} has no private key in PEM that opens without a passphrase`,
    () => createPrivateKey(key),
  );
  if (!certificate.checkPrivateKey(privateKey)) {
    refuse("api.tls_key", `the TLS key ${keyPath} does not belong to the certificate ${certPath}`);
  }
  const [from, to] = [new Date(certificate.validFrom), new Date(certificate.validTo)];
  const now = new Date();
  if (now > to) refuse("api.tls_cert", `the certificate ${certPath} ended on ${certificate.validTo}`);
  if (now < from) refuse("api.tls_cert", `the certificate ${certPath} begins on ${certificate.validFrom}`);
  parse("api.tls_cert", `${certPath} and ${keyPath} cannot be used for TLS`, () =>
    createSecureContext({ cert, key }),
  );
  return { cert, key };
}

/** What is wrong with the mode of the key that the settings name. Its group may be one that is there for keys. */
export async function tlsKeyWarning({ values }: LoadedSettings): Promise<string | undefined> {
  const { "api.tls_key": path } = values;
  if (path === null) return undefined;
  const { mode } = await stat(path);
  if ((mode & othersMayRead) === 0) return undefined;
  const bits = (mode & 0o7777).toString(8).padStart(4, "0");
  return `mode ${bits} lets every user read the TLS key ${path}, unless its folder is closed: chmod 600 ${shellQuoted(path)}`;
}
