import { callAgent } from "./calls.ts";
import { GuestMisbehavedError } from "./errors.ts";
import { type GuestObject, guestArray, guestInteger, guestNumber, isObject } from "./guest-json.ts";
import { guestText } from "./guest-text.ts";
import type { Mux } from "./mux.ts";
import type { CallOptions } from "../core/deadline.ts";
import type { GuestCommand, GuestStatistics } from "./types.ts";

const maxNumber = Number.MAX_SAFE_INTEGER;

/** Load, memory and disk as the guest tells them. */
export async function readStatistics(mux: Mux, options?: CallOptions): Promise<GuestStatistics> {
  const call = { operation: "statistics", params: {}, what: "asking the guest for its statistics" };
  return mux.read(async () => statisticsOf(await callAgent(mux, call, options)));
}

/** Commands that the agent started, of this session and detached ones of earlier sessions, while they run. */
export async function listCommands(mux: Mux, options?: CallOptions): Promise<GuestCommand[]> {
  const call = { operation: "commands", params: {}, what: "asking the guest for its commands" };
  return mux.read(async () => {
    const from = await callAgent(mux, call, options);
    return guestArray(from, "commands", 256).map(commandOf);
  });
}

function statisticsOf(from: GuestObject): GuestStatistics {
  const load = guestArray(from, "load_average", 3);
  return {
    uptimeSeconds: guestNumber(from, "uptime_seconds"),
    loadAverage: [loadOf(load[0]), loadOf(load[1]), loadOf(load[2])],
    cpuSeconds: guestNumber(from, "cpu_seconds"),
    memoryTotalBytes: guestInteger(from, "memory_total", 0, maxNumber),
    memoryAvailableBytes: guestInteger(from, "memory_available", 0, maxNumber),
    diskTotalBytes: guestInteger(from, "disk_total", 0, maxNumber),
    diskAvailableBytes: guestInteger(from, "disk_available", 0, maxNumber),
    processes: guestInteger(from, "processes", 0, maxNumber),
  };
}

function commandOf(from: unknown): GuestCommand {
  if (!isObject(from)) throw new GuestMisbehavedError("a command is no object");
  return {
    pid: guestInteger(from, "pid", 1, 2 ** 31),
    argv: guestArray(from, "argv", 32).map((part) => guestText(String(part), 256)),
    startedMs: guestInteger(from, "started_ms", 0, maxNumber),
    detached: from["detached"] === true,
  };
}

function loadOf(value: unknown): number {
  if (typeof value === "number" && Number.isFinite(value) && value >= 0) return value;
  throw new GuestMisbehavedError("load_average is no list of three numbers");
}
