/** GET with redirects and retries, and with every failure in our own terms. */
import type { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";

import { EnvHttpProxyAgent, request } from "undici";

import { AbortedError, errnoOf, HeyvmError, messageOf } from "../../errors/index.ts";
import {
  ConnectionFailedError,
  DownloadFailedError,
  type DownloadSubject,
  HttpStatusError,
  ServerSilentError,
  UnexpectedAnswerError,
} from "./download-errors.ts";
import type { DownloadTimeouts } from "../types.ts";

export interface HttpAnswer {
  status: number;
  header: (name: string) => string | undefined;
  /** To be read to its end, or destroyed. */
  body: Readable;
}

export interface HttpGet {
  url: URL;
  subject: DownloadSubject;
  signal: AbortSignal;
  headers?: Record<string, string> | undefined;
  /** Statuses that the caller deals with, beside 200. */
  accept?: readonly number[] | undefined;
}

export interface Http extends AsyncDisposable {
  get(options: HttpGet): Promise<HttpAnswer>;
  /** A small text file. */
  text(options: HttpGet): Promise<string>;
}

const maxRedirects = 5;
const maxDelayMs = 15_000;
const maxTextBytes = 8 * 2 ** 20;
const redirects = new Set([301, 302, 303, 307, 308]);

/** Honours `http_proxy`, `https_proxy` and `no_proxy`. */
export function openHttp(timeouts: DownloadTimeouts): Http {
  const dispatcher = new EnvHttpProxyAgent({ connect: { timeout: timeouts.connectMs } });

  async function send(url: URL, { headers, signal, subject }: HttpGet): Promise<HttpAnswer> {
    try {
      const answer = await request(url, {
        dispatcher,
        signal,
        headersTimeout: timeouts.answerMs,
        bodyTimeout: timeouts.stallMs,
        headers: { "user-agent": "heyvm", "accept-encoding": "identity", ...headers },
      });
      const header = (name: string): string | undefined => {
        const value = answer.headers[name];
        return Array.isArray(value) ? value[0] : value;
      };
      return { status: answer.statusCode, header, body: answer.body };
    } catch (error) {
      throw connectionError(error, subject, signal, timeouts);
    }
  }

  async function get(options: HttpGet): Promise<HttpAnswer> {
    let { url } = options;
    for (let hop = 0; hop <= maxRedirects; hop += 1) {
      const answer = await send(url, options);
      if (answer.status === 200 || options.accept?.includes(answer.status) === true) return answer;
      const location = redirects.has(answer.status) ? answer.header("location") : undefined;
      discard(answer.body);
      if (location === undefined) {
        throw new HttpStatusError(options.subject, answer.status, retryAfterMs(answer.header("retry-after")));
      }
      url = redirectTarget(location, url, options.subject);
    }
    throw new UnexpectedAnswerError(options.subject, `it was redirected more than ${maxRedirects} times`);
  }

  return {
    get,
    async text(options) {
      const { body, header } = await get(options);
      checkEncoding(header("content-encoding"), options.subject, body);
      const chunks: Buffer[] = [];
      let bytes = 0;
      try {
        for await (const chunk of body) {
          // A body without an encoding yields buffers.
          if (!Buffer.isBuffer(chunk)) continue;
          bytes += chunk.length;
          if (bytes > maxTextBytes) throw new UnexpectedAnswerError(options.subject, "it is far too long");
          chunks.push(chunk);
        }
      } catch (error) {
        throw connectionError(error, options.subject, options.signal, timeouts);
      }
      return Buffer.concat(chunks).toString("utf8");
    },
    async [Symbol.asyncDispose]() {
      await dispatcher.destroy();
    },
  };
}

/**
 * Tries again, ever later, what failed for a reason that may pass. Attempts in a row are counted; `progressed` tells
 * whether the last one brought something, and then the count begins anew.
 */
export async function withRetries<T>(
  options: { timeouts: DownloadTimeouts; signal: AbortSignal; progressed?: () => boolean },
  attempt: () => Promise<T>,
): Promise<T> {
  const { timeouts, signal, progressed } = options;
  for (let failures = 1; ; failures += 1) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof DownloadFailedError) || !error.temporary) throw error;
      if (progressed?.() === true) failures = 1;
      if (failures >= timeouts.attempts) throw error;
      const asked = error instanceof HttpStatusError ? (error.retryAfterMs ?? 0) : 0;
      const delayMs = Math.min(maxDelayMs, Math.max(asked, timeouts.retryDelayMs * 2 ** (failures - 1)));
      try {
        await sleep(delayMs, undefined, { signal });
      } catch {
        throw new AbortedError("the download", signal.reason);
      }
    }
  }
}

/** What a failure of undici, of the system or of TLS means. */
export function connectionError(
  error: unknown,
  subject: DownloadSubject,
  signal: AbortSignal,
  timeouts: DownloadTimeouts,
): Error {
  if (signal.aborted) return new AbortedError(`the download of ${subject.url}`, signal.reason);
  if (error instanceof HeyvmError) return error;
  const code = errnoOf(error) ?? "";
  if (code === "UND_ERR_CONNECT_TIMEOUT") {
    return new ServerSilentError(subject, `no connection within ${timeouts.connectMs} ms`, error);
  }
  if (code === "UND_ERR_HEADERS_TIMEOUT") {
    return new ServerSilentError(subject, `the server did not answer within ${timeouts.answerMs} ms`, error);
  }
  if (code === "UND_ERR_BODY_TIMEOUT") {
    return new ServerSilentError(subject, `the server sent nothing for ${timeouts.stallMs} ms`, error);
  }
  return new ConnectionFailedError(subject, error, `the connection failed: ${causeInWords(error)}`);
}

/** Bodies that are encoded on the way are not the bytes that the publisher has a checksum of. */
export function checkEncoding(encoding: string | undefined, subject: DownloadSubject, body: Readable): void {
  if (encoding === undefined || encoding === "identity") return;
  discard(body);
  throw new UnexpectedAnswerError(subject, `it came encoded (${encoding}), which was not asked for`);
}

/** Ends a body that nobody wants. */
export function discard(body: Readable): void {
  body.on("error", () => undefined);
  body.destroy();
}

/** Which part of the file an answer has; `undefined` for what says nothing that makes sense. */
export function parseContentRange(
  header: string | undefined,
): { start: number; endBytes: number; totalBytes: number | undefined } | undefined {
  const match = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(header ?? "");
  if (match === null) return undefined;
  const start = Number(match[1]);
  const endBytes = Number(match[2]) + 1;
  const totalBytes = match[3] === "*" ? undefined : Number(match[3]);
  return start < endBytes && endBytes <= (totalBytes ?? endBytes)
    ? { start, endBytes, totalBytes }
    : undefined;
}

/** Bytes of the whole answer. */
export function lengthOf(header: string | undefined): number | undefined {
  const length = Number(header);
  return header !== undefined && Number.isSafeInteger(length) && length >= 0 ? length : undefined;
}

function causeInWords(error: unknown): string {
  if (error instanceof AggregateError && error.message === "") return error.errors.map(messageOf).join("; ");
  return messageOf(error);
}

function redirectTarget(location: string, from: URL, subject: DownloadSubject): URL {
  const target = URL.canParse(location, from.href) ? new URL(location, from) : undefined;
  if (target === undefined || (target.protocol !== "http:" && target.protocol !== "https:")) {
    throw new UnexpectedAnswerError(subject, "it was redirected to what is no http or https URL");
  }
  if (from.protocol === "https:" && target.protocol === "http:") {
    throw new UnexpectedAnswerError(subject, `it was redirected from https to http (${target.host})`);
  }
  return target;
}

function retryAfterMs(header: string | undefined): number | undefined {
  const seconds = Number(header);
  return header !== undefined && Number.isInteger(seconds) && seconds >= 0 ? seconds * 1000 : undefined;
}
