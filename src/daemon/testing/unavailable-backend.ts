import type { Backend } from "../../backends/backend.ts";

const refuse = async (): Promise<never> => await Promise.reject(new Error("must not be called"));

/** A backend that exists but cannot run here. */
export const unavailableBackend: Backend = {
  name: "microsandbox",
  description: "never here",
  usesImages: false,
  takesUri: false,
  availability: async () =>
    await Promise.resolve({ available: false, reason: "there is no msb", hint: "install msb" }),
  diagnose: async () => await Promise.resolve([]),
  create: refuse,
  checkStart: refuse,
  start: refuse,
  stop: refuse,
  destroy: refuse,
  status: refuse,
  list: async () => await Promise.resolve([]),
  openChannel: refuse,
  readConsole: refuse,
  watch: () => () => {},
  imagesInUse: refuse,
  prune: refuse,
  close: async () => await Promise.resolve(),
};
