/** All sandboxes of this daemon in memory: found by reference, with names that are taken by one only. */
import { HeyvmError } from "../errors/index.ts";
import { createLock, type Lock } from "../core/lock.ts";
import { freeSlug } from "./names.ts";
import type { PublishedPorts } from "./ports.ts";
import type { SandboxRecord } from "./record.ts";
import type { SandboxStatus } from "./shape.ts";
import type { SessionHolder } from "./sessions.ts";
import type { Standing } from "./states.ts";

/** One sandbox with what only a living daemon has. */
export interface LiveSandbox {
  record: SandboxRecord;
  /** Held by whatever changes the sandbox's status. */
  readonly lock: Lock;
  readonly session: SessionHolder;
  /** Why its backend cannot be asked at the moment: the status is then `unknown`. */
  unreachable: string | undefined;
  /** What happened to it that no record has: a daemon that failed. */
  notices: readonly string[];
  /** Its record could not be read: the one in memory stands in for it. */
  readonly damaged: boolean;
  /** Waits in the warm pool: nobody sees it, and its names are free. */
  warm: boolean;
  /** A start is under way: its record says `stopped` until its guest is set up. */
  starting: boolean;
  /** Its guest's agent has answered this daemon: a console has more than its first boot by then. */
  hasAnswered: boolean;
  /** How many reboots of its guest are followed: it may take as long as a boot to answer. */
  reboots: number;
  /** Ends a create that is under way, which then undoes itself. */
  creating: AbortController | undefined;
  /** Host ports that lead into the guest while it runs. */
  ports: PublishedPorts | undefined;
  /** For the use of CPU between two looks. */
  cpuSample: { cpuSeconds: number; atMs: number } | undefined;
}

export interface SandboxRegistry {
  /** Those that users know of. */
  list(): readonly LiveSandbox[];
  /** Also those that wait in the warm pool. */
  all(): readonly LiveSandbox[];
  /** One that users know of, by id, name, slug, or a prefix of the id that only one has. Throws `sandbox_not_found` or `ambiguous_reference`. */
  resolve(reference: string): LiveSandbox;
  /** By its whole id, also one that waits in the warm pool. */
  find(id: string): LiveSandbox | undefined;
  /** Adds a sandbox whose names are reserved, or were on disk. */
  add(
    record: SandboxRecord,
    session: SessionHolder,
    options?: { damaged?: boolean; warm?: boolean },
  ): LiveSandbox;
  /** Keeps a name and a slug until `release`; `slug` may be changed to a free one unless it was asked for. */
  reserve(names: { name: string; slug: string; slugGiven: boolean }): NameReservation;
  delete(id: string): void;
}

export interface NameReservation {
  name: string;
  slug: string;
  release(): void;
}

/** No sandbox has this id, name or slug. */
export class SandboxNotFoundError extends HeyvmError {
  constructor(reference: string) {
    super("sandbox_not_found", `there is no sandbox ${JSON.stringify(reference.slice(0, 80))}`, {
      hint: "heyvm list --all",
      details: { reference },
    });
  }
}

/** A name or slug that another sandbox has. */
export class NameTakenError extends HeyvmError {
  constructor(field: "name" | "slug", value: string) {
    super("name_taken", `${field} ${JSON.stringify(value)} belongs to another sandbox`, {
      hint: `choose another --${field}, or: heyvm rm ${JSON.stringify(value)}`,
      details: { field, value },
    });
  }
}

/** Whether its guest may be at work, now or in a moment. */
export function mayRun(sandbox: LiveSandbox): boolean {
  return sandbox.starting || statusOf(sandbox) !== "stopped";
}

/** The status that users see. */
export function statusOf(sandbox: LiveSandbox): SandboxStatus {
  return sandbox.unreachable === undefined ? sandbox.record.status : "unknown";
}

/** What a verb is judged by. */
export function standingOf(sandbox: LiveSandbox): Standing {
  const { id, errorMessage } = sandbox.record;
  return { id, status: statusOf(sandbox), why: sandbox.unreachable ?? errorMessage };
}

export function createSandboxRegistry(): SandboxRegistry {
  const byId = new Map<string, LiveSandbox>();
  const reserved = new Set<NameReservation>();
  const list = (): LiveSandbox[] => [...byId.values()].filter(({ warm }) => !warm);
  const holders = (): { name: string; slug: string }[] => [
    ...list().map(({ record }) => record.spec),
    ...reserved,
  ];
  const isTaken = (text: string): boolean =>
    holders().some(({ name, slug }) => name === text || slug === text);

  return {
    list,
    all: () => [...byId.values()],
    find: (id) => byId.get(id),
    resolve(reference) {
      const all = list();
      const exact = byId.get(reference);
      if (exact?.warm === false) return exact;
      const named = all.filter(({ record: { spec } }) => spec.name === reference || spec.slug === reference);
      if (named[0] !== undefined) return onlyOne(reference, named);
      const prefixed =
        reference.length < 2 ? [] : all.filter(({ record }) => hasPrefix(record.id, reference));
      return onlyOne(reference, prefixed);
    },
    reserve({ name, slug, slugGiven }) {
      if (isTaken(name)) throw new NameTakenError("name", name);
      if (slugGiven && isTaken(slug)) throw new NameTakenError("slug", slug);
      const reservation: NameReservation = {
        name,
        slug: slugGiven ? slug : freeSlug(slug, isTaken),
        release: () => reserved.delete(reservation),
      };
      reserved.add(reservation);
      return reservation;
    },
    add(record, session, { damaged = false, warm = false } = {}) {
      const sandbox: LiveSandbox = {
        record,
        lock: createLock(),
        session,
        unreachable: undefined,
        notices: [],
        damaged,
        warm,
        starting: false,
        hasAnswered: false,
        reboots: 0,
        creating: undefined,
        ports: undefined,
        cpuSample: undefined,
      };
      byId.set(record.id, sandbox);
      return sandbox;
    },
    delete: (id) => void byId.delete(id),
  };
}

function hasPrefix(id: string, prefix: string): boolean {
  return id.startsWith(prefix) || id.slice("sb-".length).startsWith(prefix);
}

function onlyOne(reference: string, found: readonly LiveSandbox[]): LiveSandbox {
  const [first, second] = found;
  if (first === undefined) throw new SandboxNotFoundError(reference);
  if (second === undefined) return first;
  const ids = found.map(({ record }) => record.id);
  throw new HeyvmError(
    "ambiguous_reference",
    `${JSON.stringify(reference)} may mean any of ${ids.join(", ")}`,
    { hint: "give more of the id", details: { reference, ids } },
  );
}
