/**
 * ssh host keys for a guest, made here: in an emulated guest the same takes seconds of the CPU that its user waits for.
 * Ed25519 alone, which every ssh client of today takes.
 */
import { generateKeyPairSync, randomBytes } from "node:crypto";

/** File names in `/etc/ssh` and their contents. */
export function newSshHostKeys(comment: string): Record<string, string> {
  const { privateKey } = generateKeyPairSync("ed25519");
  const { d = "", x = "" } = privateKey.export({ format: "jwk" });
  const publicKey = Buffer.from(x, "base64url");
  const seed = Buffer.from(d, "base64url");
  const blob = Buffer.concat([text(keyType), text(publicKey)]);
  return {
    ssh_host_ed25519_key: privateKeyFile(blob, publicKey, seed, comment),
    "ssh_host_ed25519_key.pub": `${keyType} ${blob.toString("base64")} ${comment}\n`,
  };
}

const keyType = "ssh-ed25519";

/** The format of OpenSSH's file PROTOCOL.key, without a passphrase. */
function privateKeyFile(blob: Buffer, publicKey: Buffer, seed: Buffer, comment: string): string {
  const check = randomBytes(4);
  const secret = Buffer.concat([
    check,
    check,
    text(keyType),
    text(publicKey),
    text(Buffer.concat([seed, publicKey])),
    text(comment),
  ]);
  const padding = Buffer.from(Array.from({ length: (8 - (secret.length % 8)) % 8 }, (_, index) => index + 1));
  const file = Buffer.concat([
    Buffer.from("openssh-key-v1\0"),
    text("none"),
    text("none"),
    text(""),
    number(1),
    text(blob),
    text(Buffer.concat([secret, padding])),
  ]);
  const lines = file.toString("base64").match(/.{1,70}/g) ?? [];
  return ["-----BEGIN OPENSSH PRIVATE KEY-----", ...lines, "-----END OPENSSH PRIVATE KEY-----", ""].join(
    "\n",
  );
}

/** An SSH string (RFC 4251, section 5). */
function text(value: string | Buffer): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([number(bytes.length), bytes]);
}

function number(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
