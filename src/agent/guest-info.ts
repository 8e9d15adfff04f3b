import { type GuestObject, guestInteger, guestObject, guestString } from "./guest-json.ts";
import { guestText } from "./guest-text.ts";
import type { AgentInfo } from "./types.ts";

/** Reads what the agent says of itself and its guest in its answer to the hello. */
export function agentInfo(reply: GuestObject): AgentInfo {
  const osRelease: Record<string, string> = {};
  for (const [name, value] of Object.entries(guestObject(reply, "os_release")).slice(0, 16)) {
    if (/^[A-Z_]{1,32}$/u.test(name) && typeof value === "string") osRelease[name] = guestText(value, 256);
  }
  return {
    protocol: guestInteger(reply, "protocol", 1, 1000),
    agentVersion: text(reply, "agent_version"),
    kernel: text(reply, "kernel"),
    osRelease,
    hostname: text(reply, "hostname"),
    bootId: text(reply, "boot_id"),
  };
}

function text(reply: GuestObject, field: string): string {
  return guestText(guestString(reply, field, 1024), 256);
}
