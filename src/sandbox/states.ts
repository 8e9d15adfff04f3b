/** Which verb a sandbox takes in which status. */
import { HeyvmError } from "../errors/index.ts";
import type { SandboxStatus } from "./shape.ts";

export type Verb = "start" | "stop" | "restart" | "pause" | "resume" | "kill" | "use";

/** Statuses from which a verb has something to do, and those in which it already holds. */
const transitions: Record<Verb, { from: readonly SandboxStatus[]; holds: readonly SandboxStatus[] }> = {
  start: { from: ["stopped", "failed"], holds: ["running"] },
  stop: { from: ["running", "paused", "failed"], holds: ["stopped"] },
  restart: { from: ["running", "paused", "stopped", "failed"], holds: [] },
  pause: { from: ["running"], holds: ["paused"] },
  resume: { from: ["paused"], holds: ["running"] },
  kill: { from: ["running", "paused", "failed"], holds: ["stopped"] },
  use: { from: ["running"], holds: [] },
};

/** How a sandbox is, and why, where nobody has asked for that: its host's disk is full, say. */
export interface Standing {
  id: string;
  status: SandboxStatus;
  why: string | undefined;
}

/** A verb that the sandbox's status does not allow. */
export class WrongStateError extends HeyvmError {
  constructor({ id, status, why }: Standing, verb: Verb) {
    const because = why === undefined ? "" : ` (${why})`;
    super("wrong_state", `sandbox ${id} is ${status}: ${doing[verb]} needs it ${neededFor(verb)}${because}`, {
      hint: remedy(id, status),
      details: { id, status },
    });
  }
}

/** `true`: there is something to do; `false`: it already is so. Throws `wrong_state` for anything else. */
export function needsTransition(standing: Standing, verb: Verb): boolean {
  const { status } = standing;
  const { from, holds } = transitions[verb];
  if (holds.includes(status)) return false;
  if (from.includes(status)) return true;
  throw new WrongStateError(standing, verb);
}

const doing: Record<Verb, string> = {
  start: "a start",
  stop: "a stop",
  restart: "a restart",
  pause: "a pause",
  resume: "a resume",
  kill: "a kill",
  use: "using it",
};

function neededFor(verb: Verb): string {
  return transitions[verb].from.join(" or ");
}

function remedy(id: string, status: SandboxStatus): string {
  if (status === "paused") return `heyvm resume ${id}`;
  if (status === "stopped" || status === "failed") return `heyvm start ${id}`;
  return `heyvm get ${id}`;
}
