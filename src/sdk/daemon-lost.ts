/** What a caller is told whose daemon ended, or left, in the middle of the work. */
import { existsSync } from "node:fs";

import { statePaths } from "../config/paths.ts";
import type { HeyvmError } from "../errors/index.ts";
import { DaemonUnavailableError } from "./client-errors.ts";
import { describeEndpoint, type Endpoint } from "./endpoint.ts";
import { type ProblemBody, remoteError } from "./remote-error.ts";

/** The connection to a daemon that had taken the work broke before the work's end. `details.path` is the API's path. */
export class DaemonLostError extends DaemonUnavailableError {}

interface Consequence {
  path: RegExp;
  work: string;
  /** What becomes of the sandbox and of the work. */
  means: string;
  next: string;
}

const list = "see how it is: heyvm list --all (a new daemon is started)";

/**
 * The first whose path fits. A pipe that merely breaks ends no command in the guest, but the next daemon's session does
 * (docs/agent-protocol.md, "The end"); a record that is still provisioning is removed by the next daemon.
 */
const consequences: readonly Consequence[] = [
  {
    path: /^POST \/sandboxes$/,
    work: "the create was under way",
    means:
      "what was half made is removed, at the latest by the next daemon, unless the sandbox had just become ready",
    next: list,
  },
  {
    path: /^POST \/sandboxes\/[^/]+\/(start|restart)$/,
    work: "the start was under way",
    means:
      "the sandbox stays, and is stopped again, at the latest by the next daemon, unless it had just become ready",
    next: list,
  },
  {
    path: /\/shell-stream$/,
    work: "a shell was open",
    means:
      "the sandbox goes on; what ran in the shell ends within a minute, or with the next use of the sandbox",
    next: list,
  },
  {
    path: /\/(exec|execute)$/,
    work: "a command ran in the sandbox",
    means:
      "the sandbox goes on, the command's end is not known and its output since is lost; if it still runs, the next use of the sandbox ends it",
    next: list,
  },
  {
    path: /\/files(\/[a-z]+)?$/,
    work: "files were copied",
    means: "the sandbox goes on; a file that was not finished is not there, or is the old one",
    next: "copy again",
  },
  { path: /\/logs/, work: "the logs were read", means: "the sandbox goes on", next: "read them again" },
  {
    path: /^POST \/images/,
    work: "an image was fetched",
    means: "what was downloaded is kept, and the next pull goes on from there",
    next: "pull it again",
  },
  { path: /(?:)/, work: "this was under way", means: "whether it was done is not known", next: list },
];

/** `request` is a method and a path: `POST /sandboxes`. `inOrder`: the daemon said that it leaves (or begins anew). */
export function daemonLost(
  endpoint: Endpoint,
  request: string,
  { cause, inOrder = false }: { cause?: unknown; inOrder?: boolean } = {},
): DaemonLostError {
  const where = describeEndpoint(endpoint);
  const found = consequences.find(({ path }) => path.test(request));
  const { work, means, next } = found ?? { work: request, means: "", next: list };
  const how = inOrder ? "left in order" : "ended unexpectedly, or the connection to it broke,";
  return new DaemonLostError(`the heyvm daemon at ${where} ${how} while ${work}: ${means}`, {
    hint: `${next}; ${whyHint(endpoint)}`,
    details: { endpoint: where, request },
    cause,
  });
}

/**
 * The typed error of a problem document. Work of ours that the daemon itself has aborted was not ended by this side's
 * signal: the daemon leaves.
 */
export function answeredError(endpoint: Endpoint, request: string, problem: ProblemBody): HeyvmError {
  const error = remoteError(problem);
  return problem.code === "aborted" ? daemonLost(endpoint, request, { cause: error, inOrder: true }) : error;
}

function whyHint(endpoint: Endpoint): string {
  const { daemonLog } = statePaths();
  const isHere = endpoint.kind === "socket" && existsSync(daemonLog);
  return `why it ended may be in ${isHere ? daemonLog : "daemon.log in its state folder"}`;
}
