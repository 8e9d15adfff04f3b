/**
 * HTTP to the daemon. Node's own client, not undici: loading undici costs 110 ms of a CLI command's start on a slow
 * machine, and over a unix socket it gains nothing.
 */
import { Agent, type IncomingMessage, request as httpRequest } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import { PassThrough, Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";

import { encodeQueryText } from "../config/file-names.ts";
import { HeyvmError } from "../errors/index.ts";
import { errnoOf, messageOf } from "../errors/thrown.ts";
import { CertificateUntrustedError, ClientTimeoutError, DaemonUnavailableError } from "./client-errors.ts";
import { answeredError, daemonLost } from "./daemon-lost.ts";
import { type CallOptions, type Deadline, startDeadline } from "../core/deadline.ts";
import { describeEndpoint, type Endpoint } from "./endpoint.ts";
import { problemFromAnswer } from "./remote-error.ts";
import { parseMessage } from "./wire.ts";

/** Told of each request when it has been answered or has failed. */
export type RequestLog = (line: string) => void;

export interface RequestOptions extends CallOptions {
  query?: Readonly<Record<string, string | number | boolean | undefined>> | undefined;
  /** An object goes as JSON, a stream as raw bytes. */
  body?: object | undefined;
  accept?: string | undefined;
  /** For a stream that broke off: asked for what the caller is told. */
  explain?: ((lost: HeyvmError) => Promise<HeyvmError>) | undefined;
}

export interface Transport {
  readonly endpoint: Endpoint;
  /** Sends and reads a JSON answer. `T` is what the API's schema promises for this route. */
  json<T>(method: string, path: string, options?: RequestOptions): Promise<T>;
  /**
   * Sends and hands over the answer as it comes. The signal, and `timeoutMs` when given, also end the reading; without
   * it, only the answer's beginning has a deadline: how long the rest takes is the reader's matter.
   */
  stream(method: string, path: string, options?: RequestOptions): Promise<Readable>;
  close(): void;
}

const defaultTimeoutMs = 60_000;

export function createTransport(endpoint: Endpoint, log: RequestLog = () => undefined): Transport {
  const isHttps = endpoint.kind === "url" && endpoint.url.protocol === "https:";
  // A connection that is kept may be closed by the daemon in the moment that it is used again, and a request that is lost
  // then is a sandbox that is not removed. On a unix socket, a new one costs nothing.
  const agent = new (isHttps ? HttpsAgent : Agent)({ keepAlive: endpoint.kind === "url", maxFreeSockets: 4 });

  async function open(
    method: string,
    path: string,
    options: RequestOptions,
    deadline: Deadline,
  ): Promise<IncomingMessage> {
    const startedMs = performance.now();
    const note = (outcome: string): void =>
      log(`${method} ${path} → ${outcome} in ${Math.round(performance.now() - startedMs)} ms`);
    try {
      const answer = await sendSafely(endpoint, agent, method, path, options, deadline.signal);
      note(String(answer.statusCode));
      if ((answer.statusCode ?? 500) < 400) return answer;
      const reason = await text(answer);
      if (options.body instanceof Readable) options.body.destroy();
      throw answeredError(endpoint, `${method} ${path}`, problemFromAnswer(answer.statusCode ?? 500, reason));
    } catch (error) {
      if (deadline.signal.aborted) throw deadline.error();
      if (error instanceof BodyFailure) throw error.cause;
      if (isConnectionFailure(error) || isTrustFailure(error)) {
        note(messageOf(error));
        throw isBrokenOff(error)
          ? daemonLost(endpoint, `${method} ${path}`, { cause: error })
          : unreachable(endpoint, error);
      }
      throw error;
    }
  }

  return {
    endpoint,
    async json<T>(method: string, path: string, options: RequestOptions = {}): Promise<T> {
      // An upload takes as long as its bytes do; the daemon watches the guest's side, and its death ends the socket.
      const defaultMs = options.body instanceof Readable ? Number.POSITIVE_INFINITY : defaultTimeoutMs;
      using deadline = startDeadline(`${method} ${path}`, options, {
        defaultMs,
        TimeoutError: ClientTimeoutError,
      });
      const answer = await open(method, path, options, deadline);
      try {
        return parseMessage<T>(await text(answer));
      } catch (error) {
        if (deadline.signal.aborted) throw deadline.error();
        throw daemonLost(endpoint, `${method} ${path}`, { cause: error });
      }
    },
    async stream(method, path, options = {}) {
      const deadline = startDeadline(`${method} ${path}`, options, {
        defaultMs: defaultTimeoutMs,
        TimeoutError: ClientTimeoutError,
      });
      try {
        const answer = await open(method, path, options, deadline);
        if (options.timeoutMs === undefined) deadline.lift();
        const onAbort = (): void => void answer.destroy(deadline.error());
        deadline.signal.addEventListener("abort", onAbort, { once: true });
        answer.once("close", () => {
          deadline.signal.removeEventListener("abort", onAbort);
          deadline[Symbol.dispose]();
        });
        return withTypedEnd(answer, async (cause) => {
          if (deadline.signal.aborted) return deadline.error();
          const lost = daemonLost(endpoint, `${method} ${path}`, { cause });
          return options.explain === undefined ? lost : await options.explain(lost);
        });
      } catch (error) {
        deadline[Symbol.dispose]();
        throw error;
      }
    },
    close: () => agent.destroy(),
  };
}

/** RFC 9110, 9.2.2: may be done twice. */
const idempotent = new Set(["GET", "DELETE"]);

/** Once more when a connection that was kept turns out to be closed (RFC 9112, 9.3.1). */
async function sendSafely(...request: Parameters<typeof send>): Promise<IncomingMessage> {
  try {
    return await send(...request);
  } catch (error) {
    const [, , method, , , signal] = request;
    if (!(error instanceof ClosedMeanwhile)) throw error;
    if (!idempotent.has(method) || signal.aborted) throw error.cause;
    return await send(...request).catch((again: unknown) => {
      throw again instanceof ClosedMeanwhile ? again.cause : again;
    });
  }
}

/** By the daemon, before it had the request. */
class ClosedMeanwhile extends Error {
  constructor(cause: unknown) {
    super("a connection that was kept was closed", { cause });
  }
}

async function send(
  endpoint: Endpoint,
  agent: Agent,
  method: string,
  path: string,
  options: RequestOptions,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const { body } = options;
  const json = body === undefined || body instanceof Readable ? undefined : JSON.stringify(body);
  const headers: Record<string, string> = { accept: options.accept ?? "application/json" };
  if (body instanceof Readable) headers["content-type"] = "application/octet-stream";
  if (json !== undefined) {
    headers["content-type"] = "application/json";
    headers["content-length"] = String(Buffer.byteLength(json));
  }
  const target = path + queryString(options.query);
  const request =
    endpoint.kind === "socket"
      ? httpRequest({ socketPath: endpoint.socketPath, agent, method, path: target, headers, signal })
      : (endpoint.url.protocol === "https:" ? httpsRequest : httpRequest)(new URL(target, endpoint.url), {
          agent,
          method,
          headers: { ...headers, ...bearer(endpoint.token) },
          signal,
        });
  let brokeFirst: "body" | "request" | undefined;
  const answered = new Promise<IncomingMessage>((resolve, reject) => {
    request.once("response", resolve);
    // Stays for good: an error after the answer ends the answer's stream, and must not end the process.
    request.on("error", (error) => {
      brokeFirst ??= "request";
      reject(request.reusedSocket && isBrokenOff(error) ? new ClosedMeanwhile(error) : error);
    });
  });
  if (!(body instanceof Readable)) {
    request.end(json);
    return await answered;
  }
  body.once("error", () => (brokeFirst ??= "body"));
  const sent = pipeline(body, request).then(
    () => answered,
    async (error: unknown) => {
      if (brokeFirst === "body") throw new BodyFailure(error);
      // The daemon may refuse before it has read the whole body: its answer counts, not the broken pipe.
      return await withinMoment(answered, error);
    },
  );
  return await Promise.race([answered, sent]);
}

/** The caller's own stream failed: that error must not look like one of the connection. */
class BodyFailure extends Error {
  constructor(cause: unknown) {
    super("the request's body failed", { cause });
  }
}

/** An answer that was on its way when the request's body broke; `error` when there is none. */
async function withinMoment(answered: Promise<IncomingMessage>, error: unknown): Promise<IncomingMessage> {
  let timer: NodeJS.Timeout | undefined;
  const expired = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(error), 1000);
  });
  return await Promise.race([answered, expired]).finally(() => clearTimeout(timer));
}

function queryString(query: RequestOptions["query"]): string {
  const entries = Object.entries(query ?? {}).flatMap(([key, value]) =>
    value === undefined ? [] : [`${key}=${encodeQueryText(String(value))}`],
  );
  return entries.length === 0 ? "" : `?${entries.join("&")}`;
}

export function bearer(token: string | undefined): Record<string, string> {
  return token === undefined ? {} : { authorization: `Bearer ${token}` };
}

function isConnectionFailure(error: unknown): boolean {
  const code = errnoOf(error);
  return code !== undefined && /^(E[A-Z]+|HPE_[A-Z_]+|UND_ERR[A-Z_]*)$/.test(code);
}

/** Node's names: OpenSSL's of a verification that failed (`X509_V_ERR_…`), and Node's own of the rest. */
function isTrustFailure(error: unknown): boolean {
  return /^(CERT_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|ERR_TLS_|ERR_SSL_)/.test(errnoOf(error) ?? "");
}

/** It was taken, and then ended: nobody listening is another cause. */
function isBrokenOff(error: unknown): boolean {
  return ["ECONNRESET", "EPIPE"].includes(errnoOf(error) ?? "");
}

/** The answer's bytes; what breaks it off comes as a typed error. */
function withTypedEnd(answer: IncomingMessage, lost: (cause: unknown) => Promise<HeyvmError>): Readable {
  const typed = new PassThrough();
  const end = async (error: unknown): Promise<void> =>
    void typed.destroy(error instanceof HeyvmError ? error : await lost(error));
  answer.once("error", (error) => void end(error));
  typed.once("close", () => answer.destroy());
  return answer.pipe(typed);
}

/** Nobody listens there. */
export function unreachable(endpoint: Endpoint, cause: unknown): DaemonUnavailableError {
  const where = describeEndpoint(endpoint);
  if (isTrustFailure(cause)) return new CertificateUntrustedError(where, cause);
  return new DaemonUnavailableError(`cannot talk to the heyvm daemon at ${where}: ${messageOf(cause)}`, {
    hint: "start it with: heyvm serve",
    details: { endpoint: where },
    cause,
  });
}
