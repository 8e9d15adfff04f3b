/** Who may use the TCP listener: whoever has the token, and no web page of another origin. */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { IncomingMessage } from "node:http";

import { errnoOf, HeyvmError } from "../errors/index.ts";
import { writeFileAtomic } from "../core/atomic-file.ts";

/** A request over TCP without the token, or from a foreign web page. */
export class UnauthorizedError extends HeyvmError {
  constructor(message: string) {
    super("unauthorized", message, {
      // Not where this daemon has it: a stranger may ask.
      hint: `send the header "Authorization: Bearer $(cat "\${MVM_DATA_DIR:-$HOME/.heyo}/token")"`,
    });
  }
}

/** Throws when a request may not come in. A stranger has no token. */
export type RequestCheck = (request: IncomingMessage) => "known" | "stranger";

const loopbackNames = ["127.0.0.1", "localhost", "[::1]"];

/** The token of this state folder; made at the first use, in a file that only its owner reads. */
export async function ensureToken(path: string): Promise<string> {
  try {
    const token = (await readFile(path, "utf8")).trim();
    if (token.length >= 32) return token;
  } catch (error) {
    if (errnoOf(error) !== "ENOENT") throw error;
  }
  const token = randomBytes(32).toString("base64url");
  await writeFileAtomic(path, `${token}\n`);
  return token;
}

/** Throws `unauthorized` unless the request has the token and comes from no other site. Strangers may ask for `/health`. */
export function createRequestCheck(options: {
  token: string;
  /** The address that the listener was told to use. */
  host: string;
  /** With TLS, the certificate tells whose name it is. */
  hasTls: boolean;
}): RequestCheck {
  const { host } = options;
  const expected = digest(`Bearer ${options.token}`);
  const hosts = new Set([...loopbackNames, host, `[${host}]`]);
  const isAnyName = options.hasTls || host === "0.0.0.0" || host === "::";
  return (request) => {
    const named = request.headers.host ?? "";
    // A name that an attacker's DNS server points at us (DNS rebinding) is not ours.
    if (!isAnyName && !hosts.has(named.replace(/:\d+$/, ""))) {
      throw new UnauthorizedError(`host ${JSON.stringify(named)} is not this daemon's`);
    }
    const { origin } = request.headers;
    if (origin !== undefined && originHost(origin) !== named) {
      throw new UnauthorizedError(`requests of web pages from ${JSON.stringify(origin)} are refused`);
    }
    if (timingSafeEqual(digest(request.headers.authorization ?? ""), expected)) return "known";
    if (request.method === "GET" && request.url === "/health") return "stranger";
    throw new UnauthorizedError("this address needs the daemon's token");
  };
}

function originHost(origin: string): string | undefined {
  try {
    return new URL(origin).host;
  } catch {
    return undefined;
  }
}

/** Has the same length whatever was sent, so that comparing takes equal time. */
function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
