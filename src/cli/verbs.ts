/** Every verb, in the order of the help. A verb's module is loaded only when it is used. */
import type { Command } from "commander";

import type { LoadVerb } from "./completion-candidates.ts";

export interface Verb {
  name: string;
  group: string;
  summary: string;
  hidden?: boolean;
  load: () => Promise<{ define: (command: Command, load: LoadVerb) => void }>;
}

const sandboxes = "Sandboxes:";
const inside = "Inside a sandbox:";
const images = "Images:";
const machine = "This machine:";

export const verbs: readonly Verb[] = [
  { name: "create", group: sandboxes, summary: "make a sandbox", load: () => import("./commands/create.ts") },
  {
    name: "run",
    group: sandboxes,
    summary: "make a sandbox, run a command in it, remove it",
    load: () => import("./commands/run.ts"),
  },
  { name: "list", group: sandboxes, summary: "list sandboxes", load: () => import("./commands/list.ts") },
  {
    name: "get",
    group: sandboxes,
    summary: "show everything about sandboxes",
    load: () => import("./commands/get.ts"),
  },
  {
    name: "start",
    group: sandboxes,
    summary: "start stopped sandboxes",
    load: () => lifecycleVerb("start"),
  },
  {
    name: "stop",
    group: sandboxes,
    summary: "shut sandboxes down",
    load: () => lifecycleVerb("stop"),
  },
  {
    name: "restart",
    group: sandboxes,
    summary: "stop sandboxes and start them again",
    load: () => lifecycleVerb("restart"),
  },
  { name: "pause", group: sandboxes, summary: "freeze sandboxes", load: () => lifecycleVerb("pause") },
  {
    name: "resume",
    group: sandboxes,
    summary: "let paused sandboxes go on",
    load: () => lifecycleVerb("resume"),
  },
  {
    name: "kill",
    group: sandboxes,
    summary: "cut sandboxes off at once; their disks stay",
    load: () => lifecycleVerb("kill"),
  },
  {
    name: "rm",
    group: sandboxes,
    summary: "remove sandboxes and all that belongs to them",
    load: () => import("./commands/rm.ts"),
  },
  { name: "exec", group: inside, summary: "run a command", load: () => import("./commands/exec.ts") },
  { name: "sh", group: inside, summary: "open an interactive shell", load: () => import("./commands/sh.ts") },
  { name: "cp", group: inside, summary: "copy files in and out", load: () => import("./commands/cp.ts") },
  { name: "logs", group: inside, summary: "show a sandbox's log", load: () => import("./commands/logs.ts") },
  {
    name: "images",
    group: images,
    summary: "manage cloud images",
    load: () => import("./commands/images.ts"),
  },
  {
    name: "pull",
    group: images,
    summary: "download an image and verify it",
    load: () => import("./commands/pull.ts"),
  },
  {
    name: "templates",
    group: images,
    summary: "manage what sandboxes are cloned from",
    load: () => import("./commands/templates.ts"),
  },
  {
    name: "backends",
    group: machine,
    summary: "show what can run sandboxes here",
    load: () => import("./commands/backends.ts"),
  },
  {
    name: "doctor",
    group: machine,
    summary: "look for what is missing, and what mends it",
    load: () => import("./commands/doctor.ts"),
  },
  {
    name: "config",
    group: machine,
    summary: "show the settings and where each comes from",
    load: () => import("./commands/config.ts"),
  },
  {
    name: "prune",
    group: machine,
    summary: "remove what nobody owns",
    load: () => import("./commands/prune.ts"),
  },
  { name: "serve", group: machine, summary: "run the daemon", load: () => import("./commands/serve.ts") },
  {
    name: "completion",
    group: machine,
    summary: "print the completion script for a shell",
    load: () => import("./commands/completion.ts"),
  },
  {
    name: "__complete",
    group: machine,
    summary: "candidates for shell completion",
    hidden: true,
    load: () => import("./commands/complete.ts"),
  },
];

/** Other names that people type. */
export const verbAliases: Readonly<Record<string, string>> = {
  doctor: "system",
  list: "ls",
  rm: "remove",
};

async function lifecycleVerb(
  name: "start" | "stop" | "restart" | "pause" | "resume" | "kill",
): Promise<{ define: (command: Command) => void }> {
  const { lifecycle } = await import("./commands/lifecycle.ts");
  return lifecycle[name];
}
