/** Who may use the TCP listener: whoever has the token, and no web page of another origin. */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { IncomingMessage } from "node:http";

import { errnoOf, HeyvmError, shellQuoted } from "../errors/index.ts";
import { writeFileAtomic } from "../config/atomic-file.ts";

/** A request over TCP without the token, or from a foreign web page. */
export class UnauthorizedError extends HeyvmError {
  constructor(message: string, tokenPath: string) {
    super("unauthorized", message, {
      hint: `send the header "Authorization: Bearer $(cat ${shellQuoted(tokenPath)})"`,
    });
  }
}

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

/** Throws `unauthorized` unless the request has the token and comes from no other site. `/health` needs no token. */
export function createRequestCheck(options: {
  token: string;
  tokenPath: string;
  /** The address that the listener was told to use. */
  host: string;
}): (request: IncomingMessage) => void {
  const { tokenPath, host } = options;
  const expected = digest(`Bearer ${options.token}`);
  const hosts = new Set([...loopbackNames, host, `[${host}]`]);
  const listensEverywhere = host === "0.0.0.0" || host === "::";
  return (request) => {
    const named = request.headers.host ?? "";
    // A name that an attacker's DNS server points at us (DNS rebinding) is not ours.
    if (!listensEverywhere && !hosts.has(named.replace(/:\d+$/, ""))) {
      throw new UnauthorizedError(`host ${JSON.stringify(named)} is not this daemon's`, tokenPath);
    }
    const { origin } = request.headers;
    if (origin !== undefined && originHost(origin) !== named) {
      throw new UnauthorizedError(
        `requests of web pages from ${JSON.stringify(origin)} are refused`,
        tokenPath,
      );
    }
    if (request.method === "GET" && request.url === "/health") return;
    if (!timingSafeEqual(digest(request.headers.authorization ?? ""), expected)) {
      throw new UnauthorizedError("this address needs the daemon's token", tokenPath);
    }
  };
}

function originHost(origin: string): string | undefined {
  try {
    return new URL(origin).host;
  } catch {
    return undefined;
  }
}

/** Of equal length whatever was sent, so that comparing takes equal time. */
function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
